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
    assert patching.merge_patch(target, patch) == result


@given(values, values)
def test_merge_patch_is_idempotent_and_changes_no_argument(target, patch):
    before = copy.deepcopy((target, patch))
    once = patching.merge_patch(target, patch)
    assert patching.merge_patch(once, patch) == once
    assert (target, patch) == before


@given(st.dictionaries(st.text(max_size=3), without_null), st.dictionaries(st.text(max_size=3), without_null))
def test_a_merge_patch_made_from_a_difference_gives_the_target(source, target):
    def difference(a, b):
        if not isinstance(a, dict) or not isinstance(b, dict):
            return b
        patch = {key: None for key in a if key not in b}
        return {**patch, **{key: difference(a.get(key), value) for key, value in b.items() if key not in a or a[key] != value}}

    assert patching.merge_patch(source, difference(source, target)) == target


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


def test_strategic_merge_by_key():
    pod = {
        "spec": {
            "containers": [{"name": "a", "image": "x", "env": [{"name": "A", "value": "1"}]}, {"name": "b"}],
            "tolerations": [{"key": "k"}],
        }
    }
    patch = {
        "spec": {
            "containers": [
                {"name": "a", "image": "y", "env": [{"name": "B", "value": "2"}]},
                {"name": "b", "$patch": "delete"},
                {"name": "c"},
            ],
            "$setElementOrder/containers": [{"name": "a"}],
            "tolerations": [],
        }
    }
    assert patching.strategic_patch(pod, patch) == {
        "spec": {
            "containers": [{"name": "a", "image": "y", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}, {"name": "c"}],
            "tolerations": [],
        }
    }


def test_strategic_merge_directives():
    assert patching.strategic_patch({"a": {"x": 1}, "b": 1}, {"a": {"$patch": "replace", "y": 2}, "b": None}) == {"a": {"y": 2}}
    assert patching.strategic_patch({"a": {"x": 1, "z": 1}}, {"a": {"$retainKeys": ["z"], "z": 2}}) == {"a": {"z": 2}}
    assert patching.strategic_patch({"finalizers": ["a", "b"]}, {"$deleteFromPrimitiveList/finalizers": ["a"]}) == {"finalizers": ["b"]}
