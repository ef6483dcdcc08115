"""Strategic merge patch: the cases that k8s.io/apimachinery is tested with, retold; and a difference applied gives the other object."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.apiserver.strategic import StrategicMerge
from lattice.api import errors, node, pod, schema

MERGE = {"x-kubernetes-patch-strategy": "merge"}


def item(depth):
    """A type with every way to merge, in itself down to ``depth``."""
    fields = {name: {"type": "string"} for name in ("name", "value", "other")}
    fields["simpleMap"] = {"type": "object", "additionalProperties": {"type": "string"}}
    fields["ints"] = {"type": "array", "items": {"type": "integer"}, **MERGE}
    fields["plainInts"] = {"type": "array", "items": {"type": "integer"}}
    if depth:
        inner = item(depth - 1)
        fields["list"] = {"type": "array", "items": inner, **MERGE, "x-kubernetes-patch-merge-key": "name"}
        fields["plainList"] = {"type": "array", "items": inner}
        fields["map"] = inner
        fields["replaced"] = {**inner, "x-kubernetes-patch-strategy": "replace"}
    return {"type": "object", "properties": fields}


SCHEMA = item(2)
MERGER = StrategicMerge(SCHEMA)


def names(*given_names, **more):
    return [{"name": name, **more} for name in given_names]


CASES = {
    "nothing": ({"name": "1"}, {}, {"name": "1"}),
    "add, change and remove fields": (
        {"name": "1", "other": "b"},
        {"name": None, "value": "1", "other": "c"},
        {"value": "1", "other": "c"},
    ),
    "a null for nothing is no field": ({}, {"name": None, "map": {"value": None}}, {"map": {}}),
    "change a field of a map": ({"simpleMap": {"a": "1", "b": "1"}}, {"simpleMap": {"a": "2", "b": None}}, {"simpleMap": {"a": "2"}}),
    "empty a map": ({"simpleMap": {"a": "1"}}, {"simpleMap": {"$patch": "delete"}}, {"simpleMap": {}}),
    "a map that is deleted and never was": ({}, {"map": {"$patch": "delete"}}, {}),
    "replace the object by nothing": ({"name": "1", "value": "1"}, {"$patch": "replace"}, {}),
    "replace the object": ({"name": "1", "value": "1"}, {"other": "a", "$patch": "replace"}, {"other": "a"}),
    "replace a map": ({"map": {"name": "1"}}, {"map": {"value": "2", "$patch": "replace"}}, {"map": {"value": "2"}}),
    "the merge directive is the default": (
        {"map": {"name": "1"}},
        {"map": {"value": "2", "$patch": "merge"}},
        {"map": {"name": "1", "value": "2"}},
    ),
    "a map with the strategy replace": ({"replaced": {"name": "1"}}, {"replaced": {"value": "2"}}, {"replaced": {"value": "2"}}),
    "a value of another type": ({"map": {"name": "1"}}, {"map": [1]}, {"map": [1]}),
    # lists of maps
    "what a patch adds comes first": ({"list": names("1")}, {"list": names("2")}, {"list": names("2", "1")}),
    "change an item": (
        {"list": [{"name": "1", "value": "a", "other": "x"}, {"name": "2"}]},
        {"list": [{"name": "1", "value": "b", "other": None}]},
        {"list": [{"name": "1", "value": "b"}, {"name": "2"}]},
    ),
    "delete an item": ({"list": names("1", "2")}, {"list": [{"name": "1", "$patch": "delete"}]}, {"list": names("2")}),
    "delete what is not there": ({"list": names("1")}, {"list": [{"name": "3", "$patch": "delete"}]}, {"list": names("1")}),
    "delete from no list": ({}, {"list": [{"name": "3", "$patch": "delete"}]}, {"list": []}),
    "delete duplicates": ({"list": names("1", "1", "2")}, {"list": [{"name": "1", "$patch": "delete"}]}, {"list": names("2")}),
    "empty a list": ({"list": names("1", "2")}, {"list": [{"$patch": "replace"}]}, {"list": []}),
    "replace a list": ({"list": names("1", "2")}, {"list": [{"name": "3", "value": None}, {"$patch": "replace"}]}, {"list": names("3")}),
    "an empty list changes nothing": ({"list": names("1")}, {"list": []}, {"list": names("1")}),
    "merge empty lists": ({"list": []}, {"list": []}, {"list": []}),
    "remove a list": ({"list": names("1")}, {"list": None}, {}),
    "the order of the patch": ({"list": names("1", "2", "3")}, {"list": names("3", "1", "2")}, {"list": names("3", "1", "2")}),
    "the order of the patch, and an item of the server's": (
        {"list": names("1", "2", "3")},
        {"list": names("3", "1")},
        {"list": names("2", "3", "1")},
    ),
    "nested lists": (
        {"list": [{"name": "1", "list": names("1", "2", value="2")}, {"name": "2"}]},
        {"list": [{"name": "1", "list": [{"name": "1", "value": "1"}, {"name": "3"}]}]},
        {"list": [{"name": "1", "list": [{"name": "1", "value": "1"}, {"name": "3"}, {"name": "2", "value": "2"}]}, {"name": "2"}]},
    ),
    "a list without strategy is replaced": (
        {"plainList": names("1", "2")},
        {"plainList": names("3", value="x")},
        {"plainList": names("3", value="x")},
    ),
    "a list of scalars without strategy is replaced": ({"plainInts": [1, 2]}, {"plainInts": []}, {"plainInts": []}),
    # lists of scalars
    "scalars are a set": ({"ints": [1, 2]}, {"ints": [2, 3]}, {"ints": [1, 2, 3]}),
    "the order of the patch for scalars": ({"ints": [1, 2, 3]}, {"ints": [3, 1, 2]}, {"ints": [3, 1, 2]}),
    "the order of the patch, and a scalar of the server's": ({"ints": [1, 2, 3]}, {"ints": [3, 1]}, {"ints": [2, 3, 1]}),
    "take scalars out": ({"ints": [1, 2, 3]}, {"$deleteFromPrimitiveList/ints": [1, 3, 9]}, {"ints": [2]}),
    "take scalars out of nothing": ({}, {"$deleteFromPrimitiveList/ints": [1]}, {}),
    "take scalars out and add": ({"ints": [1, 2]}, {"ints": [3], "$deleteFromPrimitiveList/ints": [1]}, {"ints": [3, 2]}),
    # order
    "order with an addition": (
        {"list": names("1", "2")},
        {"$setElementOrder/list": names("3", "1", "2"), "list": names("3", value="x")},
        {"list": [{"name": "3", "value": "x"}, *names("1", "2")]},
    ),
    "order alone": ({"list": names("1", "2", "3")}, {"$setElementOrder/list": names("3", "2", "1")}, {"list": names("3", "2", "1")}),
    "order of more than there is": ({"list": names("1", "3")}, {"$setElementOrder/list": names("3", "2", "1")}, {"list": names("3", "1")}),
    "order of nothing": ({}, {"$setElementOrder/list": names("1")}, {}),
    "order with a deletion": (
        {"list": names("1", "3", "2")},
        {"$setElementOrder/list": names("2", "1"), "list": [{"name": "3", "$patch": "delete"}]},
        {"list": names("2", "1")},
    ),
    "order and an item of the server's between its neighbours": (
        {"ints": [1, 4, 2]},
        {"$setElementOrder/ints": [3, 1, 2], "ints": [3]},
        {"ints": [3, 1, 4, 2]},
    ),
    "order and an item of the server's at the end": (
        {"ints": [1, 2, 4]},
        {"$setElementOrder/ints": [1, 2, 3], "ints": [3]},
        {"ints": [1, 2, 3, 4]},
    ),
    "order and removal of scalars": (
        {"ints": [1, 2, 3]},
        {"$setElementOrder/ints": [2, 1], "$deleteFromPrimitiveList/ints": [3]},
        {"ints": [2, 1]},
    ),
    "order in an item": (
        {"list": [{"name": "1", "list": names("2")}]},
        {"$setElementOrder/list": names("1"), "list": [{"name": "1", "$setElementOrder/list": names("2", "1"), "list": names("1")}]},
        {"list": [{"name": "1", "list": names("2", "1")}]},
    ),
    # retained keys
    "retain keys": (
        {"map": {"name": "1", "value": "a", "simpleMap": {"a": "1"}}},
        {"map": {"$retainKeys": ["name", "other"], "other": "b"}},
        {"map": {"name": "1", "other": "b"}},
    ),
    "retain keys in an item": (
        {"list": [{"name": "1", "value": "a"}]},
        {"list": [{"$retainKeys": ["name", "other"], "name": "1", "other": "b"}]},
        {"list": names("1", other="b")},
    ),
    "retain nothing": ({"map": {"name": "1"}}, {"map": {"$retainKeys": []}}, {"map": {}}),
    # what meets nothing
    "directives in what is new": (
        {},
        {
            "list": [{"name": "1", "$retainKeys": ["name"], "list": [{"name": "x", "$patch": "delete"}, {"name": "y"}]}],
            "map": {"$patch": "replace", "name": "1"},
        },
        {"list": [{"name": "1", "list": names("y")}], "map": {"name": "1"}},
    ),
    "fields that no schema knows": (
        {"unknown": {"a": 1, "l": [1]}},
        {"unknown": {"b": 2, "l": [2]}},
        {"unknown": {"a": 1, "b": 2, "l": [2]}},
    ),
}


@pytest.mark.parametrize(("original", "patch", "result"), CASES.values(), ids=CASES)
def test_cases(original, patch, result):
    before = copy.deepcopy((original, patch))
    assert MERGER.patch(original, patch) == result
    assert (original, patch) == before


@pytest.mark.parametrize(
    ("original", "patch", "code"),
    [
        ({"list": names("1")}, {"list": [{"value": "b"}]}, 400),
        ({"list": names("1")}, {"list": [{"value": "b", "$patch": "delete"}]}, 400),
        ({"list": names("1")}, {"list": [{"name": "1", "$patch": "zap"}]}, 400),
        ({"list": names("1")}, {"list": [1]}, 422),
        ({"ints": [1]}, {"ints": [[2]]}, 422),
        ({"ints": [1]}, {"ints": [{"a": 1}]}, 422),
        ({"ints": [{"a": 1}]}, {"ints": [{"a": 1}]}, 422),
        ({}, {"$patch": "zap"}, 400),
        ({}, {"$patch": ["replace"]}, 400),
        ({}, {"$patch": None}, 400),
        ({"name": "1"}, {"$retainKeys": "name"}, 400),
        ({"name": "1"}, {"$retainKeys": ["name"], "value": "1"}, 400),
        ({"ints": [1]}, {"$deleteFromPrimitiveList/ints": 1}, 400),
        ({"list": names("1", "3", "2")}, {"$setElementOrder/list": names("1", "2", "3"), "list": names("3", "1")}, 400),
        ({"ints": [1, 3, 2]}, {"$setElementOrder/ints": [1, 2, 3], "ints": [3, 1]}, 400),
        ({"ints": [1]}, {"$setElementOrder/ints": [1], "ints": [2]}, 400),
        ({"ints": [1]}, {"$setElementOrder/ints": "1"}, 400),
        ({"ints": 1}, {"$setElementOrder/ints": [1]}, 400),
        ({"list": names("1")}, {"$setElementOrder/list": [1]}, 400),
    ],
)
def test_patches_that_make_no_sense_are_refused(original, patch, code):
    with pytest.raises(errors.ApiError) as caught:
        MERGER.patch(original, patch)
    assert caught.value.status_code == code


def test_a_patch_of_any_depth_is_merged_or_refused():
    deep = {}
    for _ in range(20_000):
        deep = {"map": deep}
    with pytest.raises(errors.BadRequestError):
        MERGER.patch({}, deep)


def test_long_lists_take_no_quadratic_time():
    many = [{"name": str(number)} for number in range(20_000)]
    assert MERGER.patch({"list": many}, {"list": many[::-1], "$setElementOrder/list": many[::-1]})["list"] == many[::-1]
    numbers = list(range(20_000))
    assert MERGER.patch({"ints": numbers}, {"$deleteFromPrimitiveList/ints": numbers[1:]})["ints"] == [0]


# ---- a difference, applied


scalars = st.sampled_from(["", "a", "b"])
numbers = st.lists(st.integers(0, 4), unique=True, max_size=4)


def items(depth):
    fields = {"value": scalars, "other": scalars, "simpleMap": st.dictionaries(st.sampled_from("xyz"), scalars), "ints": numbers}
    fields["plainInts"] = st.lists(st.integers(0, 2), max_size=3)
    if depth:
        named = st.lists(st.sampled_from("1234"), unique=True, max_size=4).flatmap(
            lambda keys: st.tuples(*(st.fixed_dictionaries({"name": st.just(key)}, optional=items(depth - 1)) for key in keys)).map(list)
        )
        fields |= {"list": named, "plainList": named, "map": st.fixed_dictionaries({}, optional=items(depth - 1))}
        fields["replaced"] = fields["map"]
    return fields


objects = st.fixed_dictionaries({}, optional=items(2))


def difference(source, target, shape):
    """A patch from one object to another, made the plain way, knowing only the schema's markers."""
    patch = {name: None for name in source if name not in target}
    for name, wanted in target.items():
        part = shape["properties"].get(name, {}) if "properties" in shape else {}
        present, strategy = source.get(name), part.get("x-kubernetes-patch-strategy")
        if present == wanted:
            continue
        if isinstance(wanted, dict) and isinstance(present, dict):
            patch[name] = wanted if strategy == "replace" else difference(present, wanted, part)
        elif isinstance(wanted, list) and isinstance(present, list) and strategy == "merge":
            key = part.get("x-kubernetes-patch-merge-key")
            if key is None:
                patch[f"$deleteFromPrimitiveList/{name}"] = [each for each in present if each not in wanted]
                patch[f"$setElementOrder/{name}"] = wanted
                patch[name] = [each for each in wanted if each not in present]
            else:
                before = {each[key]: each for each in present}
                after = {each[key]: each for each in wanted}
                changes = [
                    {key: k, **difference(before.get(k, {}), each, part["items"])} for k, each in after.items() if before.get(k) != each
                ]
                patch[name] = changes + [{key: k, "$patch": "delete"} for k in before if k not in after]
                patch[f"$setElementOrder/{name}"] = [{key: k} for k in after]
        else:
            patch[name] = wanted
    return patch


@given(objects, objects)
def test_a_difference_applied_gives_the_target_and_applied_again_changes_nothing(source, target):
    patch = difference(source, target, SCHEMA)
    before = copy.deepcopy((source, patch))
    assert MERGER.patch(source, patch) == target
    assert (source, patch) == before
    assert MERGER.patch(target, patch) == target


FIELDS = ["$patch", "$retainKeys", "$setElementOrder/list", "$deleteFromPrimitiveList/ints", "list", "ints", "map", "name", "value"]
patches = st.recursive(
    st.none() | st.integers(0, 2) | st.sampled_from(["replace", "delete", "merge"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)


@given(objects, patches)
def test_anything_ends_in_an_object_without_directives_or_in_a_refusal(source, patch):
    try:
        result = MERGER.patch(source, patch if isinstance(patch, dict) else {"map": patch})
    except errors.ApiError as error:
        assert error.status_code in {400, 422}  # noqa: PT017 - a result is as good
    else:
        assert "$" not in repr(result)


# ---- real kinds


def test_a_pod_as_kubectl_patches_it():
    merger = StrategicMerge(schema.object_schema(pod.Pod))
    live = {
        "metadata": {"finalizers": ["a/b", "c/d"], "ownerReferences": [{"uid": "1", "name": "x"}]},
        "spec": {
            "containers": [
                {"name": "a", "image": "x", "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 80}]},
                {"name": "b"},
            ],
            "tolerations": [{"key": "k"}],
            "volumes": [{"name": "data", "emptyDir": {"medium": "Memory"}}],
        },
    }
    patch = {
        "metadata": {"$deleteFromPrimitiveList/finalizers": ["a/b"], "ownerReferences": [{"uid": "2", "name": "y"}]},
        "spec": {
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
            "containers": [
                {"name": "c"},
                {"name": "a", "image": "y", "env": [{"name": "B", "value": "2"}], "ports": [{"containerPort": 80, "hostPort": 8080}]},
                {"name": "b", "$patch": "delete"},
            ],
            "tolerations": [],
            "volumes": [{"name": "data", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}],
        },
    }
    assert merger.patch(live, patch) == {
        "metadata": {"finalizers": ["c/d"], "ownerReferences": [{"uid": "2", "name": "y"}, {"uid": "1", "name": "x"}]},
        "spec": {
            "containers": [
                {"name": "c"},
                {
                    "name": "a",
                    "image": "y",
                    "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}],
                    "ports": [{"containerPort": 80, "hostPort": 8080}],
                },
            ],
            "tolerations": [],
            "volumes": [{"name": "data", "secret": {"secretName": "s"}}],
        },
    }


def test_conditions_and_taints_of_a_node():
    merger = StrategicMerge(schema.object_schema(node.Node))
    live = {
        "spec": {"taints": [{"key": "a"}]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Disk", "status": "False"}]},
    }
    patch = {"spec": {"taints": [{"key": "b"}]}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
    assert merger.patch(live, patch) == {
        "spec": {"taints": [{"key": "b"}]},
        "status": {"conditions": [{"type": "Ready", "status": "Unknown"}, {"type": "Disk", "status": "False"}]},
    }
