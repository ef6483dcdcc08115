"""The cluster as one round of scheduling sees it, and as numpy columns.

:class:`Snapshot` is the input of the plan: plain values. :class:`Columns` is the same with one row a node, which the filters and scores
work on, and which :meth:`Columns.take` changes as the round places Pod after Pod; it lives only as long as the round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from controller.scheduler.model import ClaimInfo, HostPort, Name, NodeInfo, PodInfo, VolumeInfo
from controller.scheduler.requests import Amounts
from lattice.api import selectors

RESOURCE_PODS = "pods"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """A Node and what the Pods that are bound (or assumed) to it take."""

    info: NodeInfo
    used: Amounts = ()
    """Includes ``pods``."""
    host_ports: frozenset[HostPort] = frozenset()
    groups: tuple[tuple[str, int], ...] = ()
    """How many Pods of each ``namespace/group`` are here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that one round depends on."""

    nodes: tuple[NodeState, ...] = ()
    claims: Mapping[Name, ClaimInfo] = field(default_factory=dict)
    volumes: Mapping[str, VolumeInfo] = field(default_factory=dict)
    """By name."""
    volumes_by_claim_uid: Mapping[str, VolumeInfo] = field(default_factory=dict)
    claims_in_use: frozenset[Name] = frozenset()
    """Claims that a bound, unfinished Pod mounts."""
    assumed_claims: Mapping[Name, str] = field(default_factory=dict)
    """Claims that are being bound to a node now, and to which."""


def group_key(pod: PodInfo) -> str:
    """Return what replicas that should be spread have in common, empty for a Pod of its own."""
    return f"{pod.key.namespace}/{pod.group}" if pod.group else ""


class Columns:
    """One row a node, sorted by name. Mutable, used by one round."""

    def __init__(self, nodes: tuple[NodeState, ...]) -> None:
        self.nodes = tuple(sorted(nodes, key=lambda state: state.info.name))
        self.row_of = {state.info.name: row for row, state in enumerate(self.nodes)}
        names = {name for state in self.nodes for name, _ in (*state.info.allocatable, *state.used)}
        self.resources = tuple(sorted(names | {RESOURCE_PODS}))
        self.column_of = {name: column for column, name in enumerate(self.resources)}
        shape = (len(self.nodes), len(self.resources))
        self.allocatable: NDArray[np.int64] = np.zeros(shape, dtype=np.int64)
        self.used: NDArray[np.int64] = np.zeros(shape, dtype=np.int64)
        for row, state in enumerate(self.nodes):
            for name, amount in state.info.allocatable:
                self.allocatable[row, self.column_of[name]] = amount
            for name, amount in state.used:
                self.used[row, self.column_of[name]] = amount
        self.ready = np.array([s.info.ready and not s.info.deleting for s in self.nodes], dtype=bool)
        self.schedulable = np.array([not s.info.unschedulable for s in self.nodes], dtype=bool)
        self.host_ports = [set(state.host_ports) for state in self.nodes]
        self.tainted = tuple((row, state.info.taints) for row, state in enumerate(self.nodes) if state.info.taints)
        """Rows that have taints: few, so that the others cost nothing."""
        self._groups: dict[str, NDArray[np.int64]] = {}
        self._by_terms: dict[tuple[selectors.NodeSelectorTerm, ...], NDArray[np.bool_]] = {}
        self._by_label: dict[tuple[str, str], NDArray[np.bool_]] = {}

    def __len__(self) -> int:
        return len(self.nodes)

    def with_label(self, key: str, value: str) -> NDArray[np.bool_]:
        """Return which nodes have a label. Computed once a round for each label that is asked for."""
        mask = self._by_label.get((key, value))
        if mask is None:
            mask = np.array([(key, value) in state.info.labels for state in self.nodes], dtype=bool)
            self._by_label[(key, value)] = mask
        return mask

    def matching(self, terms: tuple[selectors.NodeSelectorTerm, ...]) -> NDArray[np.bool_]:
        """Return which nodes match one of ``terms``. Computed once a round for each set of terms: replicas ask for the same."""
        mask = self._by_terms.get(terms)
        if mask is None:
            labels = [dict(state.info.labels) for state in self.nodes]
            mask = np.array(
                [any(term.matches(have, state.info.name) for term in terms) for have, state in zip(labels, self.nodes, strict=True)],
                dtype=bool,
            )
            self._by_terms[terms] = mask
        return mask

    def only(self, node_name: str) -> NDArray[np.bool_]:
        """Return the mask of one node; of none if it does not exist."""
        mask = np.zeros(len(self), dtype=bool)
        if node_name in self.row_of:
            mask[self.row_of[node_name]] = True
        return mask

    def in_group(self, group: str) -> NDArray[np.int64]:
        """Return how many replicas of a group each node has."""
        counts = self._groups.get(group)
        if counts is None:
            counts = np.array([dict(state.groups).get(group, 0) for state in self.nodes], dtype=np.int64)
            self._groups[group] = counts
        return counts

    def take(self, row: int, pod: PodInfo) -> None:
        """Count ``pod`` as placed on the node of ``row``."""
        for name, amount in pod.requests:
            if name in self.column_of:
                self.used[row, self.column_of[name]] += amount
        self.used[row, self.column_of[RESOURCE_PODS]] += 1
        self.host_ports[row].update(pod.host_ports)
        if group := group_key(pod):
            self.in_group(group)[row] += 1
