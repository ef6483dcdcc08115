"""A kind that is stored as another one: renaming is one to one, owners of fields included."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from controller.apiserver.encoding import Codec
from controller.apiserver.renaming import EVENTS
from controller.apiserver.resources import build_table
from lattice.api import eventsv1

TABLE = build_table()
NEW = TABLE.find("events.k8s.io", "v1", "events")
CORE = TABLE.find("", "v1", "events")
FIELDS = sorted(set(NEW.schema["properties"]) - {"apiVersion", "kind", "metadata"})
TEXT = st.text("ab", max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=5
)
OWNED = st.dictionaries(st.sampled_from([f"f:{name}" for name in (*FIELDS, "metadata")]), st.just({}))
ENTRIES = st.lists(
    st.fixed_dictionaries({"manager": TEXT, "apiVersion": st.just(NEW.group_version), "fieldsType": st.just("FieldsV1"), "fieldsV1": OWNED})
)
OBJECTS = st.builds(
    lambda fields, entries: {
        "apiVersion": NEW.group_version,
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "default", **({"managedFields": entries} if entries else {})},
        **fields,
    },
    st.dictionaries(st.sampled_from(FIELDS), JSON),
    ENTRIES,
)


@given(OBJECTS)
def test_what_is_renamed_comes_back(obj):
    stored = EVENTS.to_stored(obj)
    assert EVENTS.from_stored(stored) == obj
    assert not set(stored) & set(eventsv1.STORED_NAMES)
    assert all(entry["apiVersion"] == "v1" for entry in stored["metadata"].get("managedFields", ()))


@given(OBJECTS)
def test_both_kinds_read_the_same_stored_value(obj):
    new, core = Codec(NEW), Codec(CORE)
    value = new.encode(obj)
    versioned = {**obj, "metadata": {**obj["metadata"], "resourceVersion": "7"}}
    assert new.decode(value, 7) == versioned
    through_core = core.decode(value, 7)
    assert (through_core["apiVersion"], through_core["kind"]) == ("v1", "Event")
    assert core.encode(through_core) == value
    assert orjson.loads(new.view(core.served(value, 7))) == orjson.loads(new.served(value, 7)) == versioned


def test_both_kinds_have_one_place_and_all_their_fields():
    assert (NEW.root, NEW.key("a", "b"), NEW.store, NEW.ttl_s) == (CORE.root, CORE.key("a", "b"), CORE.store, CORE.ttl_s)
    assert set(EVENTS.to_stored(NEW.schema["properties"])) == set(CORE.schema["properties"])
    assert [row for row in TABLE.stored if row.plural == "events"] == [CORE]


def test_paths_of_selectors_are_renamed():
    assert EVENTS.stored_path("regarding.name") == "involvedObject.name"
    assert EVENTS.stored_path("metadata.name") == "metadata.name"
    assert {EVENTS.stored_path(path) for path in NEW.selectable} == set(CORE.selectable) - {"source"}
