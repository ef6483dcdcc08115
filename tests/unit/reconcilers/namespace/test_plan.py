"""How a namespace is emptied."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from controller.reconcilers.namespace.plan import Plan, Remaining, make_plan, namespaced_kinds
from lattice.api import conditions, event, meta, namespace, node, pod, scheme, workload

SPECIMEN = scheme.custom_kind(group="example.dev", version="v1", kind="Specimen", plural="specimens", namespaced=True)
GALAXY = scheme.custom_kind(group="example.dev", version="v1", kind="Galaxy", plural="galaxies", namespaced=False)


def make_namespace(*, deleting: bool = True, finalizers: tuple[str, ...] = ("kubernetes",)) -> namespace.Namespace:
    stamp = datetime(2026, 1, 1, tzinfo=UTC) if deleting else None
    return namespace.Namespace(
        metadata=meta.ObjectMeta(name="n", deletion_timestamp=stamp), spec=namespace.NamespaceSpec(finalizers=finalizers)
    )


def said(plan: Plan, condition: str) -> tuple[str, str, str]:
    found = conditions.get_condition(plan.conditions, condition)
    assert found is not None
    return found.status, found.reason, found.message


@pytest.mark.parametrize("found", [make_namespace(deleting=False), make_namespace(finalizers=("other",))])
def test_nothing_is_deleted_that_nobody_asked_for(found: namespace.Namespace) -> None:
    assert make_plan(found, {pod.Pod: Remaining(3, {})}) == Plan()


def test_what_is_left_is_deleted_and_counted() -> None:
    plan = make_plan(make_namespace(), {SPECIMEN: Remaining(2, {"example.dev/x": 1}), pod.Pod: Remaining(1, {})})
    assert plan.delete == (SPECIMEN, pod.Pod)
    assert not plan.finalize
    assert said(plan, "NamespaceContentRemaining") == (
        "True",
        "SomeResourcesRemain",
        "Some resources are remaining: pods. has 1 resource instances, specimens.example.dev has 2 resource instances",
    )
    assert said(plan, "NamespaceFinalizersRemaining") == (
        "True",
        "SomeFinalizersRemain",
        "Some content in the namespace has finalizers remaining: example.dev/x in 1 resource instances",
    )
    assert said(plan, "NamespaceDeletionContentFailure") == (
        "False",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    )


def test_refused_deletion_is_said_with_its_reason() -> None:
    plan = make_plan(make_namespace(), {pod.Pod: Remaining(1, {}, "pods are forbidden")})
    status, reason, message = said(plan, "NamespaceDeletionContentFailure")
    assert (status, reason) == ("True", "ContentDeletionFailed")
    assert message == "Failed to delete all resource types, 1 remaining: pods.: pods are forbidden"


def test_same_state_reads_the_same() -> None:
    left = {pod.Pod: Remaining(1, {"b": 1, "a": 2}), workload.Workload: Remaining(2, {"a": 1})}
    swapped = {kind: Remaining(rest.objects, dict(reversed(rest.finalizers.items()))) for kind, rest in reversed(left.items())}
    assert make_plan(make_namespace(), left).conditions == make_plan(make_namespace(), swapped).conditions


def test_empty_namespace_is_let_go() -> None:
    assert make_plan(make_namespace(), {pod.Pod: Remaining(0, {})}) == Plan(finalize=True)


def test_owners_go_before_what_they_own_and_events_last() -> None:
    kinds = namespaced_kinds((SPECIMEN, GALAXY))
    order = [kinds.index(kind) for kind in (SPECIMEN, workload.Workload, pod.Pod, event.Event)]
    assert order == sorted(order)
    assert kinds[-1] is event.Event


def test_all_namespaced_kinds_are_emptied() -> None:
    kinds = namespaced_kinds((SPECIMEN, GALAXY))
    assert SPECIMEN in kinds
    assert GALAXY not in kinds
    assert node.Node not in kinds
    assert set(kinds) - {SPECIMEN} == {kind for kind in scheme.KINDS if kind.NAMESPACED}
