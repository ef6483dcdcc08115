"""Decides where pending Pods go: values in, values out.

Called by the shell with a :class:`~controller.scheduler.snapshot.Snapshot` and the pending Pods of one round; places them one after
another, in order of priority and age, each seeing what the earlier ones took. It guarantees that no node is filled beyond what it
offers, that a claim is given one location only, also inside a round, and that the answer depends neither on the order of its input nor
on anything else. Making volumes, binding and telling the user is the shell's part.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from controller.scheduler import filters, scores
from controller.scheduler.model import ClaimInfo, Name, PodInfo
from controller.scheduler.snapshot import Columns, Snapshot
from lattice.api import names

_ONE_POD = "ReadWriteOncePod"


@dataclass(frozen=True, slots=True)
class Placement:
    """The Pod goes to this node; its claims ``bind_claims`` have to be bound to a volume there first."""

    pod: PodInfo
    node_name: str
    bind_claims: tuple[ClaimInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class Unplaceable:
    """No node can take the Pod now; ``message`` says why."""

    pod: PodInfo
    message: str


Decision: TypeAlias = Placement | Unplaceable


def order(pods: Iterable[PodInfo]) -> list[PodInfo]:
    """Sort as the round takes them: higher priority first, then the older, then by name."""
    return sorted(pods, key=lambda pod: (-pod.priority, pod.created, pod.key, pod.uid))


def make_plan(snapshot: Snapshot, pending: Iterable[PodInfo]) -> tuple[Decision, ...]:
    """Return one decision for each pending Pod, in the order in which they were made."""
    columns = Columns(snapshot.nodes)
    round_ = _Round(snapshot, columns)
    return tuple(round_.decide(pod) for pod in order(pending))


class _ClaimProblemError(Exception):
    """A claim that no node can cure; the text is for the user."""


class _Round:
    """What the placements so far have taken."""

    def __init__(self, snapshot: Snapshot, columns: Columns) -> None:
        self._snapshot = snapshot
        self._columns = columns
        self._claim_nodes = dict(snapshot.assumed_claims)
        """Where a claim that is not bound yet will be: at most one node each."""
        self._claims_in_use = set(snapshot.claims_in_use)

    def decide(self, pod: PodInfo) -> Decision:
        try:
            demand, unbound = self._demand(pod)
        except _ClaimProblemError as problem:
            return Unplaceable(pod, f"0/{len(self._columns)} nodes are available: {problem}.")
        feasible, reasons = filters.feasible(demand, self._columns)
        if not feasible.any():
            return Unplaceable(pod, filters.explain(len(self._columns), reasons))
        row = scores.choose(pod, self._columns, feasible)
        node_name = self._columns.nodes[row].info.name
        self._columns.take(row, pod)
        for name in pod.claims:
            self._claims_in_use.add(Name(pod.key.namespace, name))
        for claim in unbound:
            self._claim_nodes[claim.key] = node_name
        return Placement(pod, node_name, unbound)

    def _demand(self, pod: PodInfo) -> tuple[filters.Demand, tuple[ClaimInfo, ...]]:
        """Return what the Pod's claims demand, and those that are still to be bound."""
        locations: list[str] = []
        unbound: list[ClaimInfo] = []
        taken = False
        for name in pod.claims:
            key = Name(pod.key.namespace, name)
            claim = self._snapshot.claims.get(key)
            if claim is None:
                raise _ClaimProblemError(f'persistentvolumeclaim "{name}" not found')
            if claim.deleting:
                raise _ClaimProblemError(f'persistentvolumeclaim "{name}" is being deleted')
            if claim.storage_class != names.STORAGE_CLASS_LOCAL:
                raise _ClaimProblemError(f'persistentvolumeclaim "{name}" asks for unknown storage class "{claim.storage_class}"')
            taken = taken or (_ONE_POD in claim.access_modes and key in self._claims_in_use)
            location = self._location(claim)
            if location:
                locations.append(location)
            if not (claim.volume_name and claim.bound):
                unbound.append(claim)
        return filters.Demand(pod, tuple(locations), taken), tuple(unbound)

    def _location(self, claim: ClaimInfo) -> str:
        """Return the node that the claim's data is on, empty while it is free to choose."""
        if claim.volume_name:
            volume = self._snapshot.volumes.get(claim.volume_name)
            if volume is None:
                raise _ClaimProblemError(f'persistentvolume "{claim.volume_name}" not found')
            if volume.claim_uid not in ("", claim.uid):
                raise _ClaimProblemError(f'persistentvolume "{volume.name}" belongs to another persistentvolumeclaim')
            return volume.node_name
        # A volume that was made for this claim, by a scheduler that ended before it could bind the two.
        made = self._snapshot.volumes_by_claim_uid.get(claim.uid)
        return made.node_name if made is not None else self._claim_nodes.get(claim.key, "")
