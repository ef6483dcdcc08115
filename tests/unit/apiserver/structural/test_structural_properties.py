"""For any structural schema and any JSON: normalising is idempotent, checking never fails, and the two checks agree."""

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controller.apiserver.structural import checking
from controller.apiserver.structural.complaints import Complainer
from controller.apiserver.structural.structural import Structural
from lattice.testing import schemas

NAMES = st.sampled_from(["a", "b", "spec", "status", "name", "x.y", "é"])
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=6)
)  # fmt: skip
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(st.characters(codec="utf-8"), max_size=3), inner, max_size=5)
    ),
)


@st.composite
def scalar_schemas(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["string", "integer", "number", "boolean", "int-or-string"]))
    if kind == "int-or-string":
        return schemas.int_or_string() if draw(st.booleans()) else {"x-kubernetes-int-or-string": True}
    out: dict[str, Any] = {"type": kind}
    if kind == "string":
        out |= draw(st.fixed_dictionaries({}, optional={
            "minLength": st.integers(0, 3), "maxLength": st.integers(0, 5), "pattern": st.sampled_from(["^a", "[0-9]+", "(a|b)*$"]),
            "format": st.sampled_from(["date-time", "ipv4", "uri", "hostname", "byte", "nonsense"]), "enum": st.just(["a", "b"]),
        }))  # fmt: skip
    elif kind in {"integer", "number"}:
        out |= draw(st.fixed_dictionaries({}, optional={
            "minimum": st.integers(-5, 5), "maximum": st.integers(-5, 5), "exclusiveMinimum": st.booleans(),
            "multipleOf": st.integers(1, 5),
            "format": st.sampled_from(["int32", "int64", "float", "double"]),
        }))  # fmt: skip
    if draw(st.booleans()):
        out["nullable"] = True
    return out


def _combined(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    objects = st.builds(
        lambda properties, required, more: {
            "type": "object", "properties": properties, "required": sorted(required & properties.keys()), **more,
        },
        st.dictionaries(NAMES, inner, min_size=1, max_size=4), st.sets(NAMES),
        st.fixed_dictionaries({}, optional={
            "x-kubernetes-preserve-unknown-fields": st.just(True), "nullable": st.just(True), "minProperties": st.integers(0, 2),
            "not": st.just({"required": ["a"]}), "anyOf": st.just([{"required": ["a"]}, {"required": ["b"]}]),
        }),
    )  # fmt: skip
    maps = st.builds(lambda child: {"type": "object", "additionalProperties": child}, inner)
    lists = st.builds(
        lambda child, more: {"type": "array", "items": child, **more}, inner,
        st.fixed_dictionaries({}, optional={
            "minItems": st.integers(0, 2), "maxItems": st.integers(0, 3),
            "x-kubernetes-list-type": st.sampled_from(["set", "atomic", "map"]),
            "x-kubernetes-list-map-keys": st.just(["a"]),
        }),
    )  # fmt: skip
    return objects | maps | lists


@st.composite
def with_default(draw: st.DrawFn, inner: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    out = dict(draw(inner))
    if draw(st.integers(0, 3)) == 0:
        out["default"] = draw({"string": st.text(max_size=3), "integer": st.integers(-9, 9), "object": st.just({}), "array": st.just([])}
                              .get(out.get("type", ""), st.just("x")))  # fmt: skip
    return out


SCHEMAS = st.recursive(with_default(scalar_schemas()), lambda inner: with_default(_combined(inner)), max_leaves=8)
ROOTS = st.builds(lambda child: {"type": "object", "properties": {"spec": child}}, SCHEMAS)


@given(ROOTS, JSON)
def test_normalising_twice_changes_nothing_more(schema: dict[str, Any], value: Any) -> None:
    structural = Structural(schema)
    obj = {"spec": value}
    structural.normalise(obj)
    once = copy.deepcopy(obj)
    assert structural.normalise(obj) == []
    assert obj == once


@given(ROOTS, JSON, JSON)
def test_checking_never_fails_and_agrees_with_the_fast_check(schema: dict[str, Any], value: Any, before: Any) -> None:
    structural = Structural(schema)
    obj, old = {"spec": value}, {"spec": before}
    structural.check(obj)
    structural.check(obj, old)
    structural.check(obj, old, subresource="status")
    slow = checking.Checker(Complainer()).check(schema, obj, "", None).causes
    if structural._fast.is_valid(obj):
        assert slow == []


@given(ROOTS, JSON)
def test_an_object_is_never_refused_for_what_it_was_before(schema: dict[str, Any], value: Any) -> None:
    structural = Structural(schema)
    obj = {"spec": value}
    assert structural.check(obj, copy.deepcopy(obj)) == []


@given(st.dictionaries(NAMES, JSON, max_size=4))
def test_any_specimen_can_be_normalised_and_checked(spec: dict[str, Any]) -> None:
    structural = Structural(schemas.specimen_schema())
    obj = {**schemas.specimen(), "spec": spec}
    structural.normalise(obj)
    for cause in structural.check(obj):
        assert cause.field
        assert cause.message
