"""How a kind that a user added goes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.definitionfacts import Definition, parse_definition
from controller.facts import Item
from controller.reconcilers.definition.plan import FINALIZER, Plan, make_plan


def definition(*, deleting: bool = True, finalizers: tuple[str, ...] = (FINALIZER,)) -> Definition:
    return Definition("specimens.example.dev", "u", "example.dev", "Specimen", "specimens", True, ("v1",), True, deleting, finalizers)


def item(name: str, *, deleting: bool = False, finalizers: tuple[str, ...] = ()) -> Item:
    return Item(name, "default", f"uid-{name}", deleting, finalizers)


@pytest.mark.parametrize("found", [definition(deleting=False), definition(finalizers=("other",))])
def test_nothing_is_deleted_that_nobody_asked_for(found: Definition) -> None:
    assert make_plan(found, (item("a"),)) == Plan()


def test_objects_go_first() -> None:
    plan = make_plan(definition(), (item("a"), item("b", deleting=True, finalizers=("x/y",))))
    assert [going.name for going in plan.delete] == ["a"]
    assert plan.waits
    assert not plan.finalize
    assert plan.condition is not None
    assert (plan.condition.status, plan.condition.reason) == ("True", "InstanceDeletionInProgress")
    assert plan.condition.message == "CustomResource deletion is in progress, waiting for finalizers: x/y in 1 resource instances"


def test_definition_goes_when_nothing_is_left() -> None:
    plan = make_plan(definition(), ())
    assert plan.finalize
    assert not plan.delete
    assert plan.condition is not None
    assert (plan.condition.status, plan.condition.reason) == ("False", "InstanceDeletionCompleted")


def test_objects_that_cannot_be_reached_keep_the_definition() -> None:
    plan = make_plan(definition(), None)
    assert not plan.finalize
    assert plan.condition is not None
    assert plan.condition.reason == "InstanceDeletionCheck"


def test_definition_whose_names_were_refused_goes_at_once() -> None:
    assert make_plan(replace(definition(), established=False), None).finalize


def test_refusal_is_said() -> None:
    plan = make_plan(definition(), (item("a"),), "not allowed")
    assert plan.condition is not None
    assert (plan.condition.reason, plan.condition.message) == ("InstanceDeletionFailed", "could not delete instances: not allowed")


DOCUMENT = {
    "metadata": {"name": "specimens.example.dev", "uid": "u", "finalizers": [FINALIZER], "deletionTimestamp": "2026-01-01T00:00:00Z"},
    "spec": {
        "group": "example.dev",
        "scope": "Namespaced",
        "names": {"kind": "Specimen", "plural": "specimens"},
        "versions": [
            {"name": "v2", "served": True, "storage": False},
            {"name": "v1", "served": True, "storage": True},
            {"name": "v0", "served": False, "storage": False},
        ],
    },
    "status": {"conditions": [{"type": "Established", "status": "True"}]},
}


def test_facts_of_a_definition() -> None:
    found = parse_definition(DOCUMENT)
    assert found.api_versions == ("example.dev/v1", "example.dev/v2")
    assert found.custom
    assert found.deleting
    assert found.finalizers == (FINALIZER,)
    kind = found.python_type()
    assert (kind.GROUP, kind.VERSION, kind.KIND, kind.PLURAL, kind.NAMESPACED) == ("example.dev", "v1", "Specimen", "specimens", True)
    assert kind is parse_definition(DOCUMENT).python_type()


def test_kind_is_not_served_before_it_is_established() -> None:
    assert not parse_definition({**DOCUMENT, "status": {}}).served


def test_kind_that_lattice_brings_is_not_custom() -> None:
    names = {"kind": "Workload", "plural": "workloads"}
    assert not parse_definition({**DOCUMENT, "spec": {**DOCUMENT["spec"], "group": "lattice.dev", "names": names}}).custom


def test_damaged_definition_is_no_crash() -> None:
    assert not parse_definition({}).served
    with pytest.raises(ValueError, match="no version is served"):
        parse_definition({}).python_type()
