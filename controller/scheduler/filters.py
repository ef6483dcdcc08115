"""Which nodes can take a Pod, a column at a time, and why the others cannot.

Called by the plan. Each filter yields ``(mask of nodes that fail, reason)``; the sentences are kube-scheduler's, so that what people
know, and what tools match, holds here. A node that fails several demands of one filter (cpu and memory) is counted under each; a node
that failed an earlier filter is not looked at by the next, as in kube-scheduler.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from controller.scheduler.model import PodInfo, Taint
from controller.scheduler.snapshot import RESOURCE_PODS, Columns

Mask: TypeAlias = NDArray[np.bool_]
Verdicts: TypeAlias = Iterator[tuple[Mask, str]]

_HARD_EFFECTS = ("NoSchedule", "NoExecute")


@dataclass(frozen=True, slots=True)
class Demand:
    """A Pod with what its claims demand."""

    pod: PodInfo
    locations: tuple[str, ...] = ()
    """Nodes on which its bound volumes are."""
    claim_taken: bool = False
    """Whether another Pod holds a claim that allows one Pod only."""


def unschedulable(demand: Demand, columns: Columns) -> Verdicts:
    """Cordoned nodes."""
    cordon = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")
    if not cordon.tolerated_by(demand.pod.tolerations):
        yield ~columns.schedulable, "node(s) were unschedulable"


def node_ready(demand: Demand, columns: Columns) -> Verdicts:
    """Nodes whose agent is not ready, or silent. Not for the taints' sake: those come a moment later."""
    yield ~columns.ready, "node(s) were not ready"


def taints(demand: Demand, columns: Columns) -> Verdicts:
    """The first taint of each node that the Pod does not tolerate."""
    failing: dict[Taint, Mask] = {}
    for row, node_taints in columns.tainted:
        for taint in node_taints:
            if taint.effect in _HARD_EFFECTS and not taint.tolerated_by(demand.pod.tolerations):
                failing.setdefault(taint, np.zeros(len(columns), dtype=bool))[row] = True
                break
    for taint in sorted(failing):
        yield failing[taint], f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"


def node_selector(demand: Demand, columns: Columns) -> Verdicts:
    """Labels that the Pod asks for, and its required node affinity."""
    failing = np.zeros(len(columns), dtype=bool)
    for key, value in demand.pod.node_selector:
        failing |= ~columns.with_label(key, value)
    if demand.pod.node_terms is not None:
        failing |= ~columns.matching(demand.pod.node_terms)
    yield failing, "node(s) didn't match Pod's node affinity/selector"


def volume_location(demand: Demand, columns: Columns) -> Verdicts:
    """The data is where it is."""
    if demand.claim_taken:
        reason = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
        yield np.ones(len(columns), dtype=bool), reason
    failing = np.zeros(len(columns), dtype=bool)
    for node_name in demand.locations:
        failing |= ~columns.only(node_name)
    yield failing, "node(s) had volume node affinity conflict"


def host_ports(demand: Demand, columns: Columns) -> Verdicts:
    """Ports that the Pod insists on. Automatic ports are the agent's business."""
    if not demand.pod.host_ports:
        return
    failing = np.array(
        [any(wanted.conflicts_with(taken) for taken in ports for wanted in demand.pod.host_ports) for ports in columns.host_ports],
        dtype=bool,
    )
    yield failing, "node(s) didn't have free ports for the requested pod ports"


def resources(demand: Demand, columns: Columns) -> Verdicts:
    """Free capacity, all resources that the Pod requests."""
    pods = columns.column_of[RESOURCE_PODS]
    yield columns.used[:, pods] + 1 > columns.allocatable[:, pods], "Too many pods"
    for name, amount in demand.pod.requests:
        column = columns.column_of.get(name)
        if column is None:  # no node offers it
            yield np.ones(len(columns), dtype=bool), f"Insufficient {name}"
        else:
            yield columns.used[:, column] + amount > columns.allocatable[:, column], f"Insufficient {name}"


FILTERS: tuple[Callable[[Demand, Columns], Verdicts], ...] = (
    unschedulable,
    node_ready,
    taints,
    node_selector,
    volume_location,
    host_ports,
    resources,
)
"""In the order of their sentences' worth: a person cares first that the node is cordoned, and last that it is full."""


def feasible(demand: Demand, columns: Columns) -> tuple[Mask, Counter[str]]:
    """Return the nodes that can take the Pod, and how many of the others fail for each reason."""
    passing = np.ones(len(columns), dtype=bool)
    reasons: Counter[str] = Counter()
    for check in FILTERS:
        before = passing.copy()
        for failing, reason in check(demand, columns):
            if count := int(np.count_nonzero(failing & before)):
                reasons[reason] += count
                passing &= ~failing
    return passing, reasons


def explain(node_count: int, reasons: Counter[str]) -> str:
    """Return kube-scheduler's sentence: how many nodes there are, and why each does not fit. Sorted, so that it is stable."""
    if not reasons:
        return f"0/{node_count} nodes are available." if node_count else "no nodes available to schedule pods"
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    return f"0/{node_count} nodes are available: {listed}."
