"""How a namespace is emptied: values in, values out.

Owners first: a Workload that is still there would make its Pods again, and the kinds that users add own things too. Kinds that are not in
``ORDER`` go in the middle; Events last, because the deletions make some. Nothing is created in a namespace that is Terminating: the API
server sees to that. What the deletion waits for is said in Kubernetes' conditions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lattice.api import event, meta, namespace, pod, scheme, storage, workload

FINALIZER = "kubernetes"
ORDER: Mapping[type[meta.Object], int] = {workload.Workload: 0, pod.Pod: 1, storage.PersistentVolumeClaim: 3, event.Event: 9}
_CUSTOM = 0
_MIDDLE = 2


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is left of one kind, read live."""

    objects: int
    finalizers: Mapping[str, int]
    """How many of them each finalizer keeps."""
    problem: str = ""
    """Why their deletion was refused, if it was."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Kinds of which everything in the namespace is to be deleted, or the end."""

    delete: tuple[type[meta.Object], ...] = ()
    finalize: bool = False
    conditions: tuple[meta.Condition, ...] = ()
    """What the deletion waits for."""


def namespaced_kinds(custom: Iterable[type[meta.Object]] = ()) -> tuple[type[meta.Object], ...]:
    """Return all kinds that live in namespaces, in the order in which they are deleted. ``custom``: those that users have added."""
    ranked = [(ORDER.get(kind, _MIDDLE), kind) for kind in scheme.KINDS] + [(_CUSTOM, kind) for kind in custom]
    return tuple(kind for _, kind in sorted(ranked, key=lambda found: (found[0], found[1].PLURAL, found[1].GROUP)) if kind.NAMESPACED)


def make_plan(found: namespace.Namespace, remaining: Mapping[type[meta.Object], Remaining]) -> Plan:
    """Return what to do with a namespace.

    Args:
        found: the namespace.
        remaining: what is left in it, by kind in the order of deletion; kinds of which nothing is left may be missing.
    """
    if found.metadata.deletion_timestamp is None or FINALIZER not in found.spec.finalizers:
        return Plan()
    left = {kind: rest for kind, rest in remaining.items() if rest.objects}
    if not left:
        return Plan(finalize=True)
    return Plan(delete=tuple(left), conditions=_conditions(left))


def _conditions(left: Mapping[type[meta.Object], Remaining]) -> tuple[meta.Condition, ...]:
    """Return Kubernetes' conditions, in its words. Sorted, so that the same state reads the same."""
    problems = sorted(f"{kind.PLURAL}.{kind.GROUP}: {rest.problem}" for kind, rest in left.items() if rest.problem)
    counts = sorted(f"{kind.PLURAL}.{kind.GROUP} has {rest.objects} resource instances" for kind, rest in left.items())
    kept: Counter[str] = Counter()
    for rest in left.values():
        kept.update(rest.finalizers)
    finalizers = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(kept.items()))
    return (
        _condition(
            "NamespaceDeletionDiscoveryFailure",
            problem="",
            reason=("", "ResourcesDiscovered"),
            good="All resources successfully discovered",
        ),
        _condition(
            "NamespaceDeletionGroupVersionParsingFailure",
            problem="",
            reason=("", "ParsedGroupVersions"),
            good="All legacy kube types successfully parsed",
        ),
        _condition(
            "NamespaceDeletionContentFailure",
            problem=f"Failed to delete all resource types, {len(problems)} remaining: {', '.join(problems)}" if problems else "",
            reason=("ContentDeletionFailed", "ContentDeleted"),
            good="All content successfully deleted, may be waiting on finalization",
        ),
        _condition(
            "NamespaceContentRemaining",
            problem=f"Some resources are remaining: {', '.join(counts)}",
            reason=("SomeResourcesRemain", "ContentRemoved"),
            good="",
        ),
        _condition(
            "NamespaceFinalizersRemaining",
            problem=f"Some content in the namespace has finalizers remaining: {finalizers}" if finalizers else "",
            reason=("SomeFinalizersRemain", "ContentHasNoFinalizers"),
            good="All content-preserving finalizers finished",
        ),
    )


def _condition(kind: str, *, problem: str, reason: tuple[str, str], good: str) -> meta.Condition:
    if problem:
        return meta.Condition(type=kind, status="True", reason=reason[0], message=problem)
    return meta.Condition(type=kind, status="False", reason=reason[1], message=good)
