"""Patches: the RFCs' examples, and properties."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.apiserver import patching
from lattice.api import errors

scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=8
)
RFC_6902 = [
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"foo": "bar", "baz": "qux"}),
    ({"foo": ["bar", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "qux"}], {"foo": ["bar", "qux", "baz"]}),
    ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["abc"]}], {"foo": ["bar", ["abc"]]}),
    ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    ({"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
    ({"baz": "qux"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
    ({"foo": {"bar": 1}, "qux": {}}, [{"op": "move", "from": "/foo/bar", "path": "/qux/thud"}], {"foo": {}, "qux": {"thud": 1}}),
    ({"foo": ["a", "b", "c"]}, [{"op": "move", "from": "/foo/0", "path": "/foo/2"}], {"foo": ["b", "c", "a"]}),
    ({"a": {"b": 1}}, [{"op": "copy", "from": "/a", "path": "/c"}], {"a": {"b": 1}, "c": {"b": 1}}),
    ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    ({"foo": 1}, [{"op": "add", "path": "", "value": {"b": 2}}], {"b": 2}),
    ({}, [{"op": "test", "path": "/absent", "value": None}], {}),
]


@pytest.mark.parametrize(("target", "patch", "result"), RFC_6902)
def test_json_patch_examples_of_rfc_6902(target, patch, result):
    before = copy.deepcopy(target)
    assert patching.json_patch(target, patch) == result
    assert target == before


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "test", "path": "/a", "value": True},
        {"op": "add", "path": "/x/y", "value": 1},
        {"op": "add", "path": "/list/9", "value": 1},
        {"op": "add", "path": "/list/01", "value": 1},
        {"op": "add", "path": "/list/-1", "value": 1},
        {"op": "add", "path": "/b"},
        {"op": "remove", "path": "/x"},
        {"op": "remove", "path": ""},
        {"op": "replace", "path": "/x", "value": 1},
        {"op": "move", "from": "/m", "path": "/m/n"},
        {"op": "copy", "from": "/x", "path": "/y"},
        {"op": "zap", "path": "/a"},
        {"op": "remove", "path": "a"},
        {"op": "remove"},
        {"op": ["add"], "path": "/a"},
    ],
)
def test_json_patch_failures_are_422(operation):
    with pytest.raises(patching.PatchFailedError) as caught:
        patching.json_patch({"a": 1, "list": [], "m": {}}, [operation])
    assert caught.value.status_code == 422


@given(
    values,
    st.lists(st.dictionaries(st.sampled_from(["op", "path", "from", "value"]), values | st.sampled_from(["add", "remove", "/a", "/0"]))),
)
def test_json_patch_of_anything_ends_in_a_result_or_an_api_error(target, operations):
    try:
        patching.json_patch(target, operations)
    except errors.ApiError as error:
        assert error.status_code in {400, 422}  # noqa: PT017 - a result is as good


def test_copies_cannot_grow_an_object_without_bound():
    """Forty operations that copy a list into itself would make a billion items of one."""
    double = {"op": "copy", "from": "/l", "path": "/l/-"}
    assert patching.json_patch({"l": [1]}, [double] * 3) == {"l": [1, [1], [1, [1]], [1, [1], [1, [1]]]]}
    with pytest.raises(patching.PatchFailedError):
        patching.json_patch({"l": [1]}, [double] * 40)
    half = "a" * (patching.MAX_COPIED_BYTES // 2 - 2)
    copies = [{"op": "copy", "from": "/a", "path": f"/{index}"} for index in range(3)]
    assert patching.json_patch({"a": half}, copies[:2])["1"] == half
    with pytest.raises(patching.PatchFailedError):
        patching.json_patch({"a": half}, copies)


def test_a_copy_is_one():
    patched = patching.json_patch(
        {"a": {"b": []}}, [{"op": "copy", "from": "/a", "path": "/c"}, {"op": "add", "path": "/c/b/-", "value": 1}]
    )
    assert patched == {"a": {"b": []}, "c": {"b": [1]}}
