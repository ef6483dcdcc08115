"""Random histories of applies and updates against a model that knows nothing of tries, schemas or merging.

The model is flat: an object is a map from places to values, an owner a set of places. A place is ``("image",)``, ``("labels", "a")``,
``("tags", "x")``, ``("args",)`` (an atomic list), or of a list of items by name ``("env", "A")`` and ``("env", "A", "value")``.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.apiserver.fieldmanager import fieldset
from controller.apiserver.fieldmanager.ownership import FieldManager
from lattice.api import errors
from lattice.testing.schemas import INTEGER, STRING, make_list, make_object

VERSION = "example.dev/v1"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
ITEM = make_object(name=STRING, value=STRING)
SPEC = make_object(
    fixed=INTEGER, image=STRING, args=make_list(STRING), env=make_list(ITEM, keys=("name",)), tags=make_list(STRING, kind="set")
)
LABELS = {"type": "object", "additionalProperties": STRING}
SCHEMA = make_object(apiVersion=STRING, kind=STRING, metadata=make_object(name=STRING, labels=LABELS), spec=SPEC)
MANAGER = FieldManager(SCHEMA, group_version=VERSION)

Place = tuple[str, ...]
Values = dict[Place, Any]


def to_object(values: Values) -> dict[str, Any]:
    """The object that a model's values stand for; empty lists and maps are left out."""
    metadata: dict[str, Any] = {"name": "x"}
    spec: dict[str, Any] = {}
    env: dict[str, dict[str, Any]] = {}
    for place, value in sorted(values.items()):
        match place:
            case ("labels", name):
                metadata.setdefault("labels", {})[name] = value
            case ("tags", name):
                spec.setdefault("tags", []).append(name)
            case ("env", name):
                env.setdefault(name, {"name": name})
            case ("env", name, attribute):
                env.setdefault(name, {"name": name})[attribute] = value
            case (name,):
                spec[name] = value
    if env:
        spec["env"] = list(env.values())
    obj = {"apiVersion": VERSION, "kind": "Thing", "metadata": metadata}
    return {**obj, "spec": spec} if spec else obj  # who applies an empty map owns it


def to_values(obj: dict[str, Any]) -> Values:
    values: Values = {("labels", name): value for name, value in obj["metadata"].get("labels", {}).items()}
    for name, value in obj["spec"].items():
        if name == "env":
            for item in value:
                values["env", item["name"]] = True
                values |= {("env", item["name"], key): item[key] for key in item}
        elif name == "tags":
            values |= {("tags", tag): True for tag in value}
        else:
            values[name,] = value
    return values


def to_places(fields: dict[str, Any]) -> set[Place]:
    """The places of a ``fieldsV1``; parents of maps and lists, which updaters own too, are left out."""
    found = set()
    for path in fieldset.paths(fields):
        steps = tuple(step[2:].strip('{}"') for step in path[1:])
        place = tuple(step.removeprefix('name":"') for step in steps)
        if place and place not in {("labels",), ("env",), ("tags",)}:
            found.add(place)
    return found


@dataclass
class Model:
    """The rules of server-side apply, said in sets."""

    live: Values = field(default_factory=dict)
    owned: dict[str, set[Place]] = field(default_factory=dict)

    def conflicts(self, manager: str, values: Values) -> set[tuple[str, Place]]:
        return {
            (other, place)
            for other, places in self.owned.items()
            for place in places & values.keys()
            if other != manager and self.live[place] != values[place]
        }

    def apply(self, manager: str, values: Values) -> None:
        taken = self.conflicts(manager, values)
        others = set().union(*(places for name, places in self.owned.items() if name != manager))
        given_up = self.owned.get(manager, set()) - values.keys() - others
        gone = {place for place in self.live if any(place[: len(root)] == root for root in given_up)} - values.keys()
        for other, place in taken:
            self.owned[other].discard(place)
        self._remove(gone)
        self.live |= values
        self.owned[manager] = set(values)

    def update(self, manager: str, values: Values) -> None:
        changed = {place for place, value in values.items() if place not in self.live or self.live[place] != value}
        self._remove(self.live.keys() - values.keys())
        for places in self.owned.values():
            places -= changed
        self.live = dict(values)
        self.owned.setdefault(manager, set()).update(changed)

    def _remove(self, gone: Any) -> None:
        gone = set(gone)
        for places in self.owned.values():
            places -= gone
        for place in gone:
            self.live.pop(place, None)

    def owners(self) -> dict[str, set[Place]]:
        return {manager: places for manager, places in self.owned.items() if places}


NAMES = st.sampled_from(["A", "B", "C"])
TEXTS = st.sampled_from(["1", "2"])


@st.composite
def values_of(draw: st.DrawFn) -> Values:
    values: Values = {}
    if draw(st.booleans()):
        values["image",] = draw(TEXTS)
    if draw(st.booleans()):
        values["args",] = draw(st.lists(TEXTS, min_size=1, max_size=2))
    for name in draw(st.sets(NAMES)):
        values["labels", name] = draw(TEXTS)
    for name in draw(st.sets(NAMES)):
        values["tags", name] = True
    for name in draw(st.sets(NAMES)):
        values |= {("env", name): True, ("env", name, "name"): name}
        if draw(st.booleans()):
            values["env", name, "value"] = draw(TEXTS)
    return values


APPLIES = st.tuples(st.just("apply"), st.sampled_from(["one", "two", "three"]), values_of(), st.booleans())
UPDATES = st.tuples(st.just("update"), st.sampled_from(["hand", "robot"]), values_of(), st.just(False))
START: Values = {("fixed",): 1}


def born() -> tuple[dict[str, Any], Model]:
    """An object with one field that somebody always owns, so that its spec never goes."""
    obj = to_object(START)
    obj["metadata"] |= {"uid": "u", "managedFields": MANAGER.update(None, obj, manager="creator", now=NOW)}
    return obj, Model(dict(START), {"creator": {("fixed",)}})


def owners_of(obj: dict[str, Any]) -> dict[str, set[Place]]:
    owners = {entry["manager"]: to_places(entry["fieldsV1"]) for entry in obj["metadata"].get("managedFields", ())}
    return {manager: places for manager, places in owners.items() if places}  # some are left with nothing but a parent


def updated(live: dict[str, Any], values: Values, manager: str) -> dict[str, Any]:
    new = to_object(values)
    new["metadata"] |= {"uid": "u", "managedFields": live["metadata"].get("managedFields")}
    new["metadata"]["managedFields"] = MANAGER.update(live, new, manager=manager, now=NOW)
    return new


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(APPLIES, UPDATES), max_size=8))
def test_every_history_ends_as_the_model_says(history: list[tuple[str, str, Values, bool]]) -> None:
    live, model = born()
    for operation, manager, values, force in history:
        if operation == "update":
            live = updated(live, values | START, manager)
            model.update(manager, values | START)
        else:
            expected = model.conflicts(manager, values)
            if expected and not force:
                with pytest.raises(errors.ConflictError) as caught:
                    MANAGER.apply(live, to_object(values), manager=manager, force=False, now=NOW)
                assert len(caught.value.details["causes"]) == len(expected)
                continue
            live = MANAGER.apply(live, to_object(values), manager=manager, force=force, now=NOW)
            model.apply(manager, values)
        assert to_values(live) == model.live
        assert owners_of(live) == model.owners()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(APPLIES, UPDATES), max_size=4), values_of())
def test_applying_the_same_again_changes_nothing(history: list[tuple[str, str, Values, bool]], values: Values) -> None:
    live, _ = born()
    for operation, manager, earlier, _ in history:
        if operation == "update":
            live = updated(live, earlier | START, manager)
        else:
            live = MANAGER.apply(live, to_object(earlier), manager=manager, force=True, now=NOW)
    once = MANAGER.apply(live, to_object(values), manager="one", force=True, now=NOW)
    later = NOW.replace(hour=1)
    assert MANAGER.apply(once, to_object(values), manager="one", force=False, now=later) == once


@settings(max_examples=150, deadline=None)
@given(values_of(), st.lists(st.sets(st.integers(0, 30)), min_size=3, max_size=3))
def test_the_order_of_appliers_who_agree_does_not_matter(everything: Values, choices: list[set[int]]) -> None:
    parts = []
    for choice in choices:
        part = {place: value for index, (place, value) in enumerate(sorted(everything.items())) if index in choice}
        for place in list(part):
            if place[0] == "env":  # who sets a field of an item has the item
                part |= {place[:2]: True, (*place[:2], "name"): place[1]}
        parts.append(part)
    ends = []
    for order in itertools.permutations(range(3)):
        live, _ = born()
        for index in order:
            live = MANAGER.apply(live, to_object(parts[index]), manager=f"m{index}", force=False, now=NOW)
        ends.append((to_values(live), owners_of(live)))
    assert all(end == ends[0] for end in ends)
    for index, part in enumerate(parts):
        assert ends[0][1].get(f"m{index}", set()) == set(part)


@settings(max_examples=150, deadline=None)
@given(values_of(), values_of())
def test_force_takes_what_it_changes_and_shares_the_rest(first: Values, second: Values) -> None:
    live, _ = born()
    live = MANAGER.apply(live, to_object(first), manager="one", force=False, now=NOW)
    live = MANAGER.apply(live, to_object(second), manager="two", force=True, now=NOW)
    owners = owners_of(live)
    assert owners.get("two", set()) == set(second)
    assert owners.get("one", set()) == {place for place in first if place not in second or first[place] == second[place]}
    assert to_values(live) == START | first | second
