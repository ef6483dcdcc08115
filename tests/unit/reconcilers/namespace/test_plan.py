"""How a namespace is emptied."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from controller.reconcilers.namespace.plan import Plan, make_plan, namespaced_kinds
from lattice.api import event, meta, namespace, node, pod, workload


def make_namespace(*, deleting: bool = True, finalizers: tuple[str, ...] = ("kubernetes",)) -> namespace.Namespace:
    stamp = datetime(2026, 1, 1, tzinfo=UTC) if deleting else None
    return namespace.Namespace(
        metadata=meta.ObjectMeta(name="n", deletion_timestamp=stamp), spec=namespace.NamespaceSpec(finalizers=finalizers)
    )


@pytest.mark.parametrize("found", [make_namespace(deleting=False), make_namespace(finalizers=("other",))])
def test_nothing_is_deleted_that_nobody_asked_for(found: namespace.Namespace) -> None:
    assert make_plan(found, {pod.Pod: 3}) == Plan()


def test_owners_go_before_what_they_own_and_events_last() -> None:
    plan = make_plan(make_namespace(), {event.Event: 1, pod.Pod: 2, workload.Workload: 1})
    assert plan.delete == (workload.Workload, pod.Pod, event.Event)
    assert plan.message == "waiting for the end of 1 workloads, 2 pods, 1 events"
    assert not plan.finalize


def test_empty_namespace_is_let_go() -> None:
    assert make_plan(make_namespace(), {pod.Pod: 0}) == Plan(finalize=True)


def test_all_namespaced_kinds_are_emptied() -> None:
    assert event.Event in namespaced_kinds()
    assert node.Node not in namespaced_kinds()
