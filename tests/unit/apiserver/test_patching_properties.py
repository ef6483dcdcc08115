"""JSON patch against the ``jsonpatch`` library and the whole appendix of RFC 6902.

Where kube-apiserver (evanphx/json-patch) and the library part, the difference is named here and nothing else is let through:
an absent member is null for ``test``, and whoever patches the whole document away gets 422 later, not here.
"""

import copy
import json

import jsonpatch
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from controller.apiserver import patching
from lattice.api import errors

KEYS = st.sampled_from(["a", "b", "", "~", "/", "0", "-", "m~n"])
SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.5, "", "a", "1"])
DOCUMENTS = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=10)
OBJECTS = st.dictionaries(KEYS, DOCUMENTS, max_size=3)
POINTERS = st.lists(KEYS | st.sampled_from(["1", "2", "01", "x"]), max_size=4).map(
    lambda parts: "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)
)


def pointers_of(document, prefix=""):
    """Return the pointers of every place of a document, and the place after the end of each list."""
    yield prefix
    if isinstance(document, dict):
        for key, value in document.items():
            yield from pointers_of(value, f"{prefix}/{key.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from pointers_of(value, f"{prefix}/{index}")
        yield f"{prefix}/-"
        yield f"{prefix}/{len(document)}"


@st.composite
def patches(draw):
    """A document and a patch most of whose pointers meet something."""
    document = draw(OBJECTS)
    known = st.sampled_from(sorted(set(pointers_of(document))))
    pointer = known | known.flatmap(lambda start: KEYS.map(lambda key: f"{start}/{key.replace('~', '~0').replace('/', '~1')}")) | POINTERS
    operation = st.one_of(
        st.fixed_dictionaries({"op": st.sampled_from(["add", "replace", "test"]), "path": pointer, "value": DOCUMENTS}),
        st.fixed_dictionaries({"op": st.just("remove"), "path": pointer}),
        st.fixed_dictionaries({"op": st.sampled_from(["move", "copy"]), "from": pointer, "path": pointer}),
    )
    return document, draw(st.lists(operation, min_size=1, max_size=4))


def theirs(document, patch):
    """Apply with the library; ``None`` stands for "it cannot be done"."""
    try:
        return [jsonpatch.apply_patch(document, patch)]
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, KeyError):
        return None


def ours(document, patch):
    try:
        return [patching.json_patch(document, patch)]
    except errors.InvalidError:
        return None


def text(value):
    return json.dumps(value, sort_keys=True)


@given(patches())
@example(({"a": [1]}, [{"op": "add", "path": "/a/1", "value": 2}]))
@example(({"a": {"b": 1}}, [{"op": "move", "from": "/a", "path": "/a"}]))
def test_does_what_the_library_does(case):
    document, patch = case
    for step in patch:  # one at a time: a difference in one must not hide the next
        before = copy.deepcopy(document)
        mine, other = ours(document, [step]), theirs(document, [step])
        assert document == before
        assert _is_known_difference(document, step) or text(mine) == text(other), step
        if mine is None or not isinstance(mine[0], dict):
            return
        document = mine[0]


def _is_known_difference(document, step):
    """Return whether the library and kube-apiserver are known to part here."""
    if step["op"] == "test":
        return True  # own test below: the library compares true with 1, and an absent member is an error there
    if step["path"] == "" or step.get("from") == "":
        return True  # the whole document: own test below
    # The library takes the place after the end as a thing to read, and "-" as a member; neither is one.
    return any(part == "-" for pointer in (step["path"], step.get("from", "")) for part in pointer.split("/")) and step["op"] != "add"


@given(patches())
def test_is_all_or_nothing_and_changes_no_argument(case):
    document, patch = case
    before = copy.deepcopy(case)
    whole = ours(document, patch)
    stepwise = [document]
    for step in patch:
        stepwise = ours(stepwise[0], [step]) if stepwise is not None else None
    assert text(whole) == text(stepwise)
    assert case == before


@given(OBJECTS, OBJECTS)
def test_a_patch_that_the_library_makes_leads_to_the_target(source, target):
    patch = jsonpatch.make_patch(source, target).patch
    assert text(patching.json_patch(source, patch)) == text(target)


@given(OBJECTS, st.data())
def test_test_compares_as_json_does(document, data):
    pointer = data.draw(st.sampled_from(sorted(set(pointers_of(document)))))
    value = data.draw(DOCUMENTS)
    try:
        held = jsonpatch.JsonPointer(pointer).resolve(document)
    except jsonpatch.JsonPointerException:
        held = None
    assume(not pointer.rpartition("/")[2].startswith("-"))
    passed = ours(document, [{"op": "test", "path": pointer, "value": value}]) is not None
    past_the_end = ours(document, [{"op": "copy", "from": pointer, "path": "/copy"}]) is None
    assert passed is (not past_the_end and text(held) == text(value))


RFC_6902_APPENDIX = [
    ("A.1", {"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    ("A.2", {"foo": ["bar", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "qux"}], {"foo": ["bar", "qux", "baz"]}),
    ("A.3", {"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    ("A.4", {"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
    ("A.5", {"baz": "qux", "foo": "bar"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo", "foo": "bar"}),
    (
        "A.6",
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    (
        "A.7",
        {"foo": ["all", "grass", "cows", "eat"]},
        [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    (
        "A.8",
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    ("A.9", {"baz": "qux"}, [{"op": "test", "path": "/baz", "value": "bar"}], None),
    (
        "A.10",
        {"foo": "bar"},
        [{"op": "add", "path": "/child", "value": {"grandchild": {}}}],
        {"foo": "bar", "child": {"grandchild": {}}},
    ),
    ("A.11", {"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}], {"foo": "bar", "baz": "qux"}),
    ("A.12", {"foo": "bar"}, [{"op": "add", "path": "/baz/bat", "value": "qux"}], None),
    # A.13 has one member twice; what a decoder makes of that is tested with the decoder.
    ("A.14", {"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    ("A.15", {"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": "10"}], None),
    ("A.16", {"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}], {"foo": ["bar", ["abc", "def"]]}),
]


@pytest.mark.parametrize(("_name", "document", "patch", "expected"), RFC_6902_APPENDIX, ids=[row[0] for row in RFC_6902_APPENDIX])
def test_appendix_of_rfc_6902(_name, document, patch, expected):
    result = ours(document, patch)
    assert result == (None if expected is None else [expected])
