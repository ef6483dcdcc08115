"""Whether a node is there: values in, values out.

A node is silent when its Lease has not changed for ``SILENT_AFTER_S`` by the control plane's own monotonic clock. Then its condition Ready
becomes ``Unknown`` and it is tainted, so that nothing new is bound to it. Nothing is deleted: a silent node keeps running what it runs. The
agent alone says ``Ready=True`` again.

An agent may not taint its own Node (node restriction). What it says as a condition becomes a taint here, as Kubernetes' node lifecycle
controller does it (``TaintNodesByCondition``); so does ``spec.unschedulable``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lattice.api import conditions, names, node

SILENT_AFTER_S = 15.0
"""Three heartbeats of 5 s."""

REASON_SILENT = "NodeStatusUnknown"
MESSAGE_SILENT = "The node's agent has stopped posting its heartbeat."

_TAINT_OF: Final = {
    ("Ready", "False"): names.TAINT_NOT_READY,
    ("Ready", "Unknown"): names.TAINT_UNREACHABLE,
    ("DiskPressure", "True"): names.TAINT_DISK_PRESSURE,
    ("MemoryPressure", "True"): names.TAINT_MEMORY_PRESSURE,
    ("PIDPressure", "True"): names.TAINT_PID_PRESSURE,
    (names.CONDITION_PAUSED, "True"): names.TAINT_PAUSED,
    (names.CONDITION_NETWORK_ISOLATED, "False"): names.TAINT_NETWORK_ISOLATION,
}
"""(type, status) of a condition to the taint that says it to the scheduler; always ``NoSchedule``."""
_OURS: Final = frozenset({*_TAINT_OF.values(), names.TAINT_UNSCHEDULABLE})


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
    taints = _taints(observed.node.spec, wanted, observed.now)
    return Plan(
        taints=taints if taints != observed.node.spec.taints else None,
        conditions=wanted if wanted is not present else None,
        requeue_after_s=None if silent else SILENT_AFTER_S - observed.silent_s,
    )


def _taints(spec: node.NodeSpec, present: tuple[node.NodeCondition, ...], now: datetime) -> tuple[node.Taint, ...]:
    """Return the taints with ours as the conditions and ``spec.unschedulable`` want them; others stay, in their order."""
    wanted = [key for condition in present if (key := _TAINT_OF.get((condition.type, condition.status)))]
    if conditions.get_condition(present, "Ready") is None:
        wanted.append(names.TAINT_NOT_READY)
    if spec.unschedulable:
        wanted.append(names.TAINT_UNSCHEDULABLE)
    kept = tuple(taint for taint in spec.taints if taint.key not in _OURS or (taint.key in wanted and taint.effect == "NoSchedule"))
    there = {taint.key for taint in kept}
    at = now.replace(microsecond=0)
    return (*kept, *(node.Taint(key=key, effect="NoSchedule", time_added=at) for key in sorted(wanted) if key not in there))
