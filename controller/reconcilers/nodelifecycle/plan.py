"""Whether a node is there: values in, values out.

A node is silent when its Lease has not changed for ``SILENT_AFTER_S`` by the control plane's own monotonic clock. Then its condition Ready
becomes ``Unknown`` and it is tainted, so that nothing new is bound to it. Nothing is deleted: a silent node keeps running what it runs. The
agent alone says ``Ready=True`` again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lattice.api import conditions, meta, names, node

SILENT_AFTER_S = 15.0
"""Three heartbeats of 5 s."""

REASON_SILENT = "NodeStatusUnknown"
MESSAGE_SILENT = "The node's agent has stopped posting its heartbeat."

_OURS = (names.TAINT_NOT_READY, names.TAINT_UNREACHABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A Node and how long it has been silent."""

    node: node.Node
    silent_s: float
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to write; ``None``: it is right as it is."""

    taints: tuple[node.Taint, ...] | None = None
    conditions: tuple[node.NodeCondition, ...] | None = None
    requeue_after_s: float | None = None


def make_plan(observed: Observed) -> Plan:
    """Return conditions and taints that say what is known of the node."""
    present = observed.node.status.conditions
    silent = observed.silent_s >= SILENT_AFTER_S
    ready = conditions.get_condition(present, "Ready")
    if silent and (ready is None or ready.status != "Unknown"):
        unknown = node.NodeCondition(type="Ready", status="Unknown", reason=REASON_SILENT, message=MESSAGE_SILENT)
        wanted = conditions.set_condition(present, unknown, observed.now)
    else:
        wanted = present
    status: meta.ConditionStatus | None = "Unknown" if silent else ready.status if ready is not None else None
    taints = _taints(observed.node.spec.taints, status, observed.now)
    return Plan(
        taints=taints if taints != observed.node.spec.taints else None,
        conditions=wanted if wanted is not present else None,
        requeue_after_s=None if silent else SILENT_AFTER_S - observed.silent_s,
    )


def _taints(present: tuple[node.Taint, ...], ready: meta.ConditionStatus | None, now: datetime) -> tuple[node.Taint, ...]:
    """Return the taints with ours as the Ready condition wants them; others stay, in their order."""
    wanted = {"True": None, "Unknown": names.TAINT_UNREACHABLE}.get(ready or "", names.TAINT_NOT_READY)
    kept = tuple(taint for taint in present if taint.key not in _OURS or (taint.key == wanted and taint.effect == "NoSchedule"))
    if wanted is None or any(taint.key == wanted for taint in kept):
        return kept
    return (*kept, node.Taint(key=wanted, effect="NoSchedule", time_added=now.replace(microsecond=0)))
