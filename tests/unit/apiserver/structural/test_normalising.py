"""Defaults, nulls and unknown fields."""

import copy
import tracemalloc
from typing import Any

import pytest

from controller.apiserver.structural import normalising
from controller.apiserver.structural.structural import Structural
from lattice.api import errors
from lattice.testing import schemas
from lattice.testing.schemas import INTEGER, STRING, make_list, make_object

OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


@pytest.mark.parametrize(
    ("schema", "value", "expected", "unknown"),
    [
        (make_object(a=STRING), {"a": "x", "b": 1}, {"a": "x"}, ["f.b"]),
        (make_object(a=STRING), {"b": {"c": 1}, "d": 2}, {}, ["f.b", "f.d"]),
        (make_list(make_object(a=STRING)), [{"a": "x"}, {"x": 1}], [{"a": "x"}, {}], ["f[1].x"]),
        ({"type": "object", "additionalProperties": make_object(a=STRING)}, {"k": {"z": 1}}, {"k": {}}, ["f.k.z"]),
        (make_list(make_list(make_object(a=STRING))), [[{"z": 1}]], [[{}]], ["f[0][0].z"]),
        (OPEN, {"x": {"y": [1, None]}}, {"x": {"y": [1, None]}}, []),
        ({**make_object(a=make_object(b=STRING)), **OPEN}, {"z": 1, "a": {"b": "x", "c": 1}}, {"z": 1, "a": {"b": "x"}}, ["f.a.c"]),
        ({"type": "object"}, {"a": 1}, {}, ["f.a"]),
        (STRING, {"a": 1}, {}, ["f.a"]),
        (make_object(a={**STRING, "default": "d"}), {}, {"a": "d"}, []),
        (make_object(a={**STRING, "default": "d"}), {"a": None}, {"a": "d"}, []),
        (make_object(a={**STRING, "default": "d", "nullable": True}), {"a": None}, {"a": None}, []),
        (make_object(a=STRING), {"a": None}, {}, []),
        (make_object(a={**STRING, "nullable": True}), {"a": None}, {"a": None}, []),
        (make_object(a={**INTEGER, "default": 0}, b={"type": "boolean", "default": False}), {}, {"a": 0, "b": False}, []),
        (make_list({**STRING, "default": "d"}), ["x", None], ["x", "d"], []),
        (make_list(STRING), ["x", None], ["x", None], []),
        ({"type": "object", "additionalProperties": STRING}, {"a": None, "b": "x"}, {"b": "x"}, []),
        ({"type": "object", "additionalProperties": {**INTEGER, "default": 3}}, {"a": None}, {"a": 3}, []),
        (make_object(o={**make_object(a={**STRING, "default": "x"}), "default": {}}), {}, {"o": {"a": "x"}}, []),
        (make_object(o={**make_object(a=STRING), "default": {"a": "x", "bogus": 1}}), {}, {"o": {"a": "x"}}, []),
        (make_list(make_object(p={**STRING, "default": "TCP"})), [{}, {"p": "UDP"}], [{"p": "TCP"}, {"p": "UDP"}], []),
        (make_object(a={**STRING, "default": "d"}), "wrong type", "wrong type", []),
    ],
)  # fmt: skip
def test_an_object_gets_the_shape_of_its_schema(schema: dict[str, Any], value: Any, expected: Any, unknown: list[str]) -> None:
    obj = {"f": copy.deepcopy(value)}
    assert Structural(make_object(f=schema)).normalise(obj) == unknown
    assert obj == {"f": expected}


def test_defaults_are_not_shared_between_objects() -> None:
    structural = Structural(make_object(f={**make_list(STRING), "default": ["a"]}))
    first: dict[str, Any] = {}
    second: dict[str, Any] = {}
    structural.normalise(first), structural.normalise(second)
    first["f"].append("b")
    assert second == {"f": ["a"]}


def test_a_read_fills_in_defaults_and_removes_nothing() -> None:
    structural = Structural(schemas.specimen_schema())
    obj = schemas.specimen(ports=[{"containerPort": 80}], kept=1)
    structural.default(obj)
    assert obj["spec"] == {"image": "nginx:1", "replicas": 1, "ports": [{"containerPort": 80, "protocol": "TCP"}], "kept": 1}


def test_unknown_fields_are_named_in_order() -> None:
    obj = schemas.specimen(other=2, bogus=1, ports=[{"containerPort": 80, "x": 1}])
    assert Structural(schemas.specimen_schema()).normalise(obj) == ["spec.bogus", "spec.other", "spec.ports[0].x"]


def test_a_schema_nested_beyond_reason_is_refused() -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(1000):
        schema = make_object(a=schema)
    with pytest.raises(ValueError, match="levels deep"):
        Structural(schema)


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"k": inner}], ids=["lists", "maps"])
@pytest.mark.parametrize("depth", [300, 5000])
def test_values_nested_beyond_reason_do_no_harm(wrap: Any, depth: int) -> None:
    structural = Structural(
        make_object(
            text=STRING,
            texts=make_list(STRING, kind="set"),
            open=OPEN,
            opens=make_list({"x-kubernetes-preserve-unknown-fields": True}, kind="set"),
            enum={"enum": [1], "x-kubernetes-preserve-unknown-fields": True},
        )
    )
    value: Any = "x"
    for _ in range(depth):
        value = wrap(value)
    for name in ("text", "texts", "open", "opens", "enum"):
        obj = {name: [value, value] if name == "opens" else value}
        structural.normalise(obj)
        structural.check(obj)
        structural.check(obj, {name: value})


def test_what_stands_in_a_list_of_unknown_content_is_emptied_and_named() -> None:
    obj = {"text": [[{"a": 1}], {"b": 2}]}
    assert Structural(make_object(text=STRING)).normalise(obj) == ["text[0][0].a", "text[1].b"]
    assert obj == {"text": [[{}], {}]}


def test_unknown_fields_are_named_up_to_a_bound():
    """A path for each of many values below a field with a long name would be the square of the body."""
    name = "k" * 50_000
    schema = {"type": "object", "properties": {"m": {"type": "object", "additionalProperties": {"type": "object"}}, "l": {"type": "array"}}}
    obj = {"m": {name: {f"u{index}": 1 for index in range(50_000)}}, "l": [[{"a": 1}]] * 50_000}
    tracemalloc.start()
    try:
        unknown = Structural(schema).normalise(obj)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert len(unknown) <= 2 * normalising.MAX_REPORTED
    assert max(map(len, unknown)) <= 1_000
    assert obj["m"] == {name: {}}


def test_defaults_do_not_grow_an_object_without_bound():
    large = {"type": "object", "properties": {"d": {"type": "string", "default": "x" * 100_000}}}
    structural = Structural({"type": "object", "properties": {"l": {"type": "array", "items": large}}})
    obj = {"l": [{} for _ in range(10)]}
    structural.normalise(obj)
    assert all(len(item["d"]) == 100_000 for item in obj["l"])
    with pytest.raises(errors.InternalError, match="too large"):
        structural.normalise({"l": [{} for _ in range(1_000)]})
    stored = {"l": [{} for _ in range(1_000)]}
    structural.renew(stored)  # it is stored already, and must stay readable
    assert 10 < sum("d" in item for item in stored["l"]) < 100
    structural.normalise({"l": [{}]})
