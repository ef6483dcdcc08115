"""JSON merge patch: the RFC's examples, and properties."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.api import mergepatch

scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=8
)
without_null = st.recursive(
    st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)

RFC_7386 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7386)
def test_merge_patch_examples_of_rfc_7386(target, patch, result):
    assert mergepatch.apply(target, patch) == result


@given(values, values)
def test_merge_patch_is_idempotent_and_changes_no_argument(target, patch):
    before = copy.deepcopy((target, patch))
    once = mergepatch.apply(target, patch)
    assert mergepatch.apply(once, patch) == once
    assert (target, patch) == before


@given(st.dictionaries(st.text(max_size=3), without_null), st.dictionaries(st.text(max_size=3), without_null))
def test_a_merge_patch_made_from_a_difference_gives_the_target(source, target):
    def difference(a, b):
        if not isinstance(a, dict) or not isinstance(b, dict):
            return b
        patch = {key: None for key in a if key not in b}
        return {**patch, **{key: difference(a.get(key), value) for key, value in b.items() if key not in a or a[key] != value}}

    assert mergepatch.apply(source, difference(source, target)) == target
