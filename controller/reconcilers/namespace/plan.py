"""How a namespace is emptied: values in, values out.

Owners first: a Workload that is still there would make its Pods again. Kinds that are not in ``ORDER`` go in the middle; Events last,
because the deletions make some. Nothing is created in a namespace that is Terminating: the API server sees to that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lattice.api import event, meta, namespace, pod, scheme, storage, workload

FINALIZER = "kubernetes"
ORDER: Mapping[type[meta.Object], int] = {workload.Workload: 0, pod.Pod: 1, storage.PersistentVolumeClaim: 3, event.Event: 9}
_MIDDLE = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """Kinds of which everything in the namespace is to be deleted, or the end."""

    delete: tuple[type[meta.Object], ...] = ()
    finalize: bool = False
    message: str = ""
    """What the deletion waits for."""


def namespaced_kinds() -> tuple[type[meta.Object], ...]:
    """Return all kinds that live in namespaces, in the order in which they are deleted."""
    kinds = [kind for kind in scheme.KINDS if kind.NAMESPACED]
    return tuple(sorted(kinds, key=lambda kind: (ORDER.get(kind, _MIDDLE), kind.PLURAL)))


def make_plan(found: namespace.Namespace, remaining: Mapping[type[meta.Object], int]) -> Plan:
    """Return what to do with a namespace.

    Args:
        found: the namespace.
        remaining: how many objects of each kind are in it, read live; kinds without any may be left out.
    """
    if found.metadata.deletion_timestamp is None or FINALIZER not in found.spec.finalizers:
        return Plan()
    left = [kind for kind in namespaced_kinds() if remaining.get(kind)]
    if not left:
        return Plan(finalize=True)
    counts = ", ".join(f"{remaining[kind]} {kind.PLURAL}" for kind in left)
    return Plan(delete=tuple(left), message=f"waiting for the end of {counts}")
