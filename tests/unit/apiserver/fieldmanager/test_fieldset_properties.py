"""The trie of ``fieldsV1`` against plain sets of paths."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.apiserver.fieldmanager import elements, fieldset

STEPS = st.sampled_from(["f:a", "f:b", "f:c", 'k:{"name":"x"}', 'v:"y"'])
PATHS = st.frozensets(st.lists(STEPS, min_size=1, max_size=4).map(tuple), max_size=8)


def trie(paths: frozenset[tuple[str, ...]]) -> dict[str, Any]:
    """Build by hand what holds exactly ``paths``."""
    root: dict[str, Any] = {}
    for path in paths:
        node = root
        for step in path:
            node = node.setdefault(step, {})
        node["."] = {}
    return _canonical(root)


def _canonical(node: dict[str, Any]) -> dict[str, Any]:
    return {step: {} if below == {".": {}} else _canonical(below) for step, below in node.items()}


@given(PATHS)
def test_paths_of_a_set_are_what_it_was_made_of(paths: Any) -> None:
    fields = trie(paths)
    assert set(fieldset.paths(fields)) == paths
    assert all(fieldset.has(fields, path) for path in paths)
    assert fieldset.parse(fields) == fields


@given(PATHS, PATHS)
def test_union(left: Any, right: Any) -> None:
    assert fieldset.union(trie(left), trie(right)) == trie(left | right)


@given(PATHS, PATHS)
def test_difference(left: Any, right: Any) -> None:
    assert fieldset.difference(trie(left), trie(right)) == trie(left - right)


@given(PATHS, PATHS)
def test_intersection(left: Any, right: Any) -> None:
    assert fieldset.intersection(trie(left), trie(right)) == trie(left & right)


@given(PATHS)
def test_leaves(paths: Any) -> None:
    longest = {path for path in paths if not any(len(other) > len(path) and other[: len(path)] == path for other in paths)}
    assert fieldset.leaves(trie(paths)) == trie(frozenset(longest))


@given(PATHS, PATHS)
def test_what_does_not_change_is_shared_and_arguments_stay_as_they_are(left: Any, right: Any) -> None:
    fields, other = trie(left), trie(right)
    if not left & right:
        assert fieldset.difference(fields, other) is fields
    for function in (fieldset.union, fieldset.difference, fieldset.intersection):
        function(fields, other)
    assert (fields, other) == (trie(left), trie(right))


def test_the_order_of_paths_is_members_first_then_what_is_below() -> None:
    fields = trie(frozenset({("f:b",), ("f:a", "f:z"), ("f:a", 'k:{"name":"x"}'), ("f:a",)}))
    assert list(fieldset.paths(fields)) == [("f:a",), ("f:b",), ("f:a", "f:z"), ("f:a", 'k:{"name":"x"}')]


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("f:any thing.at/all", "f:any thing.at/all"),
        ('k:{"b": 1.0, "a":"<&>"}', 'k:{"a":"\\u003c\\u0026\\u003e","b":1}'),
        ("v: true", "v:true"),
        ("i:03", "i:3"),
        ("z:from-the-future", None),
    ],
)
def test_a_step_has_one_way_to_be_written(text: str, canonical: str | None) -> None:
    assert elements.canonical(text) == canonical


@pytest.mark.parametrize("text", ["", "f", "fa", "k:[1]", "k:{", "v:{", "i:x", "i:½"])
def test_what_is_no_step_is_refused(text: str) -> None:
    with pytest.raises(elements.ElementError):
        elements.canonical(text)


@pytest.mark.parametrize(
    ("fields", "canonical"),
    [
        (None, {}),
        ({".": {}}, {}),
        ({"f:a": None, "z:b": {}}, {"f:a": {}}),
        ({"f:a": {".": {}}}, {"f:a": {}}),
        ({'k:{"b":1,"a":2}': {}, 'k:{"a":2,"b":1}': {"f:x": {}}}, {'k:{"a":2,"b":1}': {".": {}, "f:x": {}}}),
    ],
)
def test_parsing_makes_a_clients_set_canonical(fields: Any, canonical: Any) -> None:
    assert fieldset.parse(fields) == canonical


def test_parsing_refuses_an_abyss() -> None:
    fields: dict[str, Any] = {}
    for _ in range(fieldset.MAX_DEPTH + 1):
        fields = {"f:a": fields}
    with pytest.raises(fieldset.FieldSetError):
        fieldset.parse(fields)


@pytest.mark.parametrize("fields", [[], "x", 1, {"f:a": 1}, {"nonsense": {}}, {"f:a": {"k:x": {}}}])
def test_parsing_refuses_what_is_no_set(fields: Any) -> None:
    with pytest.raises(fieldset.FieldSetError):
        fieldset.parse(fields)


@pytest.mark.parametrize(
    ("step", "shown"),
    [
        ("f:image", ".image"),
        ('k:{"containerPort":80,"protocol":"TCP"}', '[containerPort=80,protocol="TCP"]'),
        ('v:"x"', '[="x"]'),
        ("i:3", "[3]"),
    ],
)
def test_steps_are_shown_as_kubectl_users_know_them(step: str, shown: str) -> None:
    assert elements.shown(step) == shown
