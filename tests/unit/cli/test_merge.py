"""The three-way merge of apply: what it must do for any objects, and the cases that people meet."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.api import mergepatch
from lattice.cli import merge

VALUES = st.recursive(
    st.booleans() | st.integers(-2, 2) | st.text("ab", max_size=2) | st.lists(st.integers(0, 2), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)


def _said(wanted, got) -> bool:
    if isinstance(wanted, dict):
        return isinstance(got, dict) and all(key in got and _said(value, got[key]) for key, value in wanted.items())
    return json.dumps(wanted) == json.dumps(got)


@given(OBJECTS, OBJECTS, OBJECTS)
def test_what_the_manifest_says_holds_and_a_second_apply_changes_nothing(original, modified, current) -> None:
    after = mergepatch.apply(current, merge.three_way(original, modified, current))
    assert _said(modified, after)
    assert merge.three_way(modified, modified, after) == {}


@given(OBJECTS, OBJECTS, OBJECTS)
def test_only_what_was_applied_or_is_applied_now_is_touched(original, modified, current) -> None:
    after = mergepatch.apply(current, merge.three_way(original, modified, current))
    for key in set(current) - set(original) - set(modified):
        assert after[key] == current[key]
    for key in set(original) - set(modified):
        assert key not in after


@pytest.mark.parametrize(
    ("original", "modified", "current", "patch"),
    [
        ({}, {"a": 1}, {"a": 1, "status": 2}, {}),
        ({"a": 1}, {}, {"a": 1, "b": 2}, {"a": None}),
        ({"a": {"x": 1, "y": 1}}, {"a": {"x": 2}}, {"a": {"x": 1, "y": 1, "z": 1}}, {"a": {"x": 2, "y": None}}),
        ({}, {"a": None}, {"a": 1}, {"a": None}),
        ({}, {"a": None}, {}, {}),
        ({}, {"l": [1]}, {"l": [1, 2]}, {"l": [1]}),
        ({}, {"a": True}, {"a": 1}, {"a": True}),
        ({}, {"a": {}}, {}, {"a": {}}),
    ],
)
def test_cases(original, modified, current, patch) -> None:
    assert merge.three_way(original, modified, current) == patch


def test_the_annotation_remembers_the_manifest_and_not_itself() -> None:
    manifest = {"kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "1"}}
    once = merge.with_last_applied(manifest)
    assert merge.with_last_applied(once) == once
    assert merge.last_applied(once)["data"] == {"a": "1"}
    assert merge.last_applied({"metadata": {"annotations": {merge.LAST_APPLIED: "{"}}}) == {}
