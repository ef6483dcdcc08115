"""Whether a node is there."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.reconcilers.nodelifecycle.plan import SILENT_AFTER_S, Observed, Plan, make_plan
from lattice.api import meta, names, node

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OTHER = node.Taint(key="dedicated", effect="NoSchedule")


def make_node(ready: str | None = "True", *taints: node.Taint) -> node.Node:
    found = ({"type": "Ready", "status": ready},) if ready else ()
    return node.Node.model_validate(
        {"metadata": {"name": "n"}, "spec": {"taints": [t.to_dict() for t in taints]}, "status": {"conditions": found}}
    )


def apply(target: node.Node, plan: Plan) -> node.Node:
    if plan.taints is not None:
        target = meta.changed(target, spec=meta.changed(target.spec, taints=plan.taints))
    if plan.conditions is not None:
        target = meta.changed(target, status=meta.changed(target.status, conditions=plan.conditions))
    return target


def keys(plan: Plan) -> list[str] | None:
    return None if plan.taints is None else [taint.key for taint in plan.taints]


@pytest.mark.parametrize(
    ("ready", "silent_s", "taints", "becomes_unknown"),
    [
        ("True", 0, None, False),
        ("True", 14.9, None, False),
        ("True", 15, [names.TAINT_UNREACHABLE], True),
        ("False", 0, [names.TAINT_NOT_READY], False),
        (None, 0, [names.TAINT_NOT_READY], False),
        (None, 20, [names.TAINT_UNREACHABLE], True),
        ("Unknown", 20, [names.TAINT_UNREACHABLE], False),
    ],
)
def test_silence_and_readiness(ready: str | None, silent_s: float, taints: list[str] | None, becomes_unknown: bool) -> None:
    plan = make_plan(Observed(node=make_node(ready), silent_s=silent_s, now=NOW))
    assert keys(plan) == taints
    assert (plan.conditions is not None) is becomes_unknown
    assert (plan.requeue_after_s is None) is (silent_s >= SILENT_AFTER_S)


def test_return_takes_our_taints_away_and_leaves_the_others() -> None:
    silent = make_node("True", OTHER, node.Taint(key=names.TAINT_UNREACHABLE, effect="NoSchedule"))
    assert make_plan(Observed(node=silent, silent_s=1, now=NOW)).taints == (OTHER,)


@pytest.mark.parametrize(
    ("condition", "taint"),
    [
        (("DiskPressure", "True"), "node.kubernetes.io/disk-pressure"),
        (("MemoryPressure", "True"), "node.kubernetes.io/memory-pressure"),
        (("PIDPressure", "True"), "node.kubernetes.io/pid-pressure"),
        (("Paused", "True"), "lattice.dev/paused"),
        (("NetworkIsolated", "False"), "lattice.dev/network-isolation"),
        (("DiskPressure", "False"), None),
        (("NetworkIsolated", "True"), None),
    ],
)
def test_a_condition_becomes_a_taint_and_goes_with_it(condition: tuple[str, str], taint: str | None) -> None:
    ready = make_node("True", OTHER)
    listed = (*ready.status.conditions, node.NodeCondition.model_validate({"type": condition[0], "status": condition[1]}))
    said = meta.changed(ready, status=meta.changed(ready.status, conditions=listed))
    plan = make_plan(Observed(node=said, silent_s=0, now=NOW))
    assert keys(plan) == (["dedicated", taint] if taint else None)
    over = apply(ready, Plan(taints=plan.taints))
    assert make_plan(Observed(node=over, silent_s=0, now=NOW)).taints == ((OTHER,) if taint else None)


def test_a_cordoned_node_has_kubernetes_taint_until_it_is_uncordoned() -> None:
    ready = make_node("True", OTHER)
    cordoned = meta.changed(ready, spec=meta.changed(ready.spec, unschedulable=True))
    plan = make_plan(Observed(node=cordoned, silent_s=0, now=NOW))
    assert keys(plan) == ["dedicated", names.TAINT_UNSCHEDULABLE]
    assert make_plan(Observed(node=apply(ready, plan), silent_s=0, now=NOW)).taints == (OTHER,)


@given(st.sampled_from(["True", "False", "Unknown", None]), st.floats(0, 60), st.booleans())
def test_second_pass_writes_nothing(ready: str | None, silent_s: float, tainted: bool) -> None:
    start = make_node(ready, *((OTHER,) if tainted else ()))
    after = apply(start, make_plan(Observed(node=start, silent_s=silent_s, now=NOW)))
    again = make_plan(Observed(node=after, silent_s=silent_s, now=NOW))
    assert (again.taints, again.conditions) == (None, None)
    assert (OTHER in after.spec.taints) is tainted
