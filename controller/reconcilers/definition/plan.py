"""How a kind that a user added goes: values in, values out.

All its objects first, each in its own time (finalizers are respected), then the definition; only then does the API server stop serving
the kind. What that waits for is said in Kubernetes' condition ``Terminating``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from controller.definitionfacts import Definition
from controller.facts import Item
from lattice.api import meta

FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
"""The API server sets it on every definition; taking it away is our word that no object is left."""
CONDITION = "Terminating"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with a definition; nothing, unless it is being deleted."""

    delete: tuple[Item, ...] = ()
    condition: meta.Condition | None = None
    finalize: bool = False
    waits: bool = False
    """Whether to look again, because something is left."""


def make_plan(definition: Definition, items: tuple[Item, ...] | None, problem: str = "") -> Plan:
    """Return what to do with a definition.

    Args:
        definition: the definition, read live.
        items: its objects, read live; ``None``: they cannot be reached, because no version is served.
        problem: why the deletion of some was refused, if it was.
    """
    if not definition.deleting or FINALIZER not in definition.finalizers:
        return Plan()
    if not definition.established:
        items = ()  # its names are another's: it was never served, so nobody could make an object of it
    if items is None:
        message = "could not list instances: no version of the kind is served; set served: true for one, so that its objects can be deleted"
        return Plan(condition=_condition("True", "InstanceDeletionCheck", message), waits=True)
    if not items:
        return Plan(condition=_condition("False", "InstanceDeletionCompleted", "removed all instances"), finalize=True)
    if problem:
        condition = _condition("True", "InstanceDeletionFailed", f"could not delete instances: {problem}")
    else:
        condition = _condition("True", "InstanceDeletionInProgress", f"CustomResource deletion is in progress{_kept(items)}")
    return Plan(tuple(item for item in items if not item.deleting), condition, waits=True)


def _kept(items: tuple[Item, ...]) -> str:
    """Return which finalizers keep objects. Nothing while they are only on their way, so that the text does not change all the time."""
    kept = Counter(finalizer for item in items if item.deleting for finalizer in item.finalizers)
    if not kept:
        return ""
    return f", waiting for finalizers: {', '.join(f'{name} in {count} resource instances' for name, count in sorted(kept.items()))}"


def _condition(status: meta.ConditionStatus, reason: str, message: str) -> meta.Condition:
    return meta.Condition(type=CONDITION, status=status, reason=reason, message=message)
