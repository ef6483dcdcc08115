"""The scheduler's running account of the cluster, kept up to date by informers' handlers.

Owned by the scheduler's event loop; every method is synchronous. It adds up what each node's Pods take as they come and go, so that a
round costs nodes times pending Pods and not all Pods. A Pod that was placed and is not seen bound in the cache yet is *assumed*: it counts
on its node until the cache shows it there, or until the binding failed.

Changes that can make room, or a place, for a Pod that did not fit are told by ``changes`` (a counter): the shell retries then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from controller.scheduler.model import ClaimInfo, HostPort, Name, NodeInfo, PodInfo, VolumeInfo
from controller.scheduler.requests import add_amounts
from controller.scheduler.snapshot import RESOURCE_PODS, NodeState, Snapshot, group_key

SCHEDULER_NAME = "default-scheduler"


class _Usage:
    """What the Pods of one node take. Empty entries are dropped, so that equal usage is equal."""

    def __init__(self) -> None:
        self.amounts: dict[str, int] = {}
        self.host_ports: Counter[HostPort] = Counter()
        self.groups: Counter[str] = Counter()

    def add(self, pod: PodInfo, sign: int) -> None:
        add_amounts(self.amounts, (*pod.requests, (RESOURCE_PODS, 1)), sign)
        for port in pod.host_ports:
            self.host_ports[port] += sign
        if group := group_key(pod):
            self.groups[group] += sign


class ClusterState:
    """See the module."""

    def __init__(self) -> None:
        self.pending: dict[Name, PodInfo] = {}
        """Pods that wait for a node: not bound, not assumed, not going."""
        self.changes = 0
        """Raised by each change that could help a Pod that did not fit."""
        self._nodes: dict[str, NodeInfo] = {}
        self._claims: dict[Name, ClaimInfo] = {}
        self._volumes: dict[str, VolumeInfo] = {}
        self._bound: dict[Name, PodInfo] = {}
        """Pods that take something from a node; ``node_name`` is set. The assumed ones are here too."""
        self._assumed: dict[Name, str] = {}
        """Name to uid of Pods that the cache does not show as bound yet."""
        self._assumed_claims: dict[Name, str] = {}
        self._usage: dict[str, _Usage] = {}
        self._claims_in_use: Counter[Name] = Counter()

    def on_pod(self, old: PodInfo | None, new: PodInfo | None) -> None:
        """Take in a change of a Pod."""
        pod = new or old
        assert pod is not None
        if new is None or (old is not None and old.uid != new.uid):
            self.pending.pop(pod.key, None)
            self._assumed.pop(pod.key, None)
            self._forget_bound(pod.key)
        if new is None:
            return
        if new.finished:
            self._assumed.pop(new.key, None)
            self.pending.pop(new.key, None)
            self._forget_bound(new.key)
        elif new.node_name:
            self._assumed.pop(new.key, None)
            self.pending.pop(new.key, None)
            self._count_bound(new)
        elif self._assumed.get(new.key) == new.uid:
            return
        elif new.deleting or new.gated or new.scheduler_name != SCHEDULER_NAME:
            self.pending.pop(new.key, None)
        else:
            self.pending[new.key] = new

    def on_node(self, old: NodeInfo | None, new: NodeInfo | None) -> None:
        """Take in a change of a Node."""
        if new is not None:
            self._nodes[new.name] = new
        elif old is not None:
            self._nodes.pop(old.name, None)
        if old != new:
            self.changes += 1

    def on_claim(self, old: ClaimInfo | None, new: ClaimInfo | None) -> None:
        """Take in a change of a claim."""
        if new is not None:
            self._claims[new.key] = new
            if new.volume_name and new.bound:
                self._assumed_claims.pop(new.key, None)
        elif old is not None:
            self._claims.pop(old.key, None)
            self._assumed_claims.pop(old.key, None)
        self.changes += 1

    def on_volume(self, old: VolumeInfo | None, new: VolumeInfo | None) -> None:
        """Take in a change of a volume."""
        if new is not None:
            self._volumes[new.name] = new
        elif old is not None:
            self._volumes.pop(old.name, None)
        self.changes += 1

    def assume(self, pod: PodInfo, node_name: str, claims: Iterable[ClaimInfo]) -> None:
        """Count ``pod`` as bound to ``node_name``, before the API server says so."""
        self.pending.pop(pod.key, None)
        self._assumed[pod.key] = pod.uid
        self._count_bound(_on_node(pod, node_name))
        for claim in claims:
            self._assumed_claims[claim.key] = node_name

    def forget(self, pod: PodInfo, claims: Iterable[ClaimInfo]) -> None:
        """Take back :meth:`assume`: the binding failed. The Pod is pending again, unless it has changed meanwhile."""
        for claim in claims:
            self._assumed_claims.pop(claim.key, None)
        if self._assumed.get(pod.key) == pod.uid:
            del self._assumed[pod.key]
            self._forget_bound(pod.key)
            self.pending[pod.key] = pod

    def snapshot(self) -> Snapshot:
        """Return the present account as values."""
        empty = _Usage()
        nodes = []
        for name, info in self._nodes.items():
            usage = self._usage.get(name, empty)
            nodes.append(
                NodeState(
                    info=info,
                    used=tuple(sorted((resource, amount) for resource, amount in usage.amounts.items() if amount)),
                    host_ports=frozenset(port for port, count in usage.host_ports.items() if count > 0),
                    groups=tuple(sorted((group, count) for group, count in usage.groups.items() if count > 0)),
                )
            )
        return Snapshot(
            nodes=tuple(nodes),
            claims=dict(self._claims),
            volumes=dict(self._volumes),
            volumes_by_claim_uid={volume.claim_uid: volume for volume in self._volumes.values() if volume.claim_uid},
            claims_in_use=frozenset(key for key, count in self._claims_in_use.items() if count > 0),
            assumed_claims=dict(self._assumed_claims),
        )

    def _count_bound(self, pod: PodInfo) -> None:
        before = self._bound.get(pod.key)
        if before is not None and (before.node_name, before.requests, before.host_ports) == (pod.node_name, pod.requests, pod.host_ports):
            self._bound[pod.key] = pod
            return
        self._forget_bound(pod.key)
        self._bound[pod.key] = pod
        self._usage.setdefault(pod.node_name, _Usage()).add(pod, 1)
        for name in pod.claims:
            self._claims_in_use[Name(pod.key.namespace, name)] += 1

    def _forget_bound(self, key: Name) -> None:
        pod = self._bound.pop(key, None)
        if pod is None:
            return
        self._usage[pod.node_name].add(pod, -1)
        for name in pod.claims:
            claim = Name(pod.key.namespace, name)
            self._claims_in_use[claim] -= 1
            if not self._claims_in_use[claim]:
                del self._claims_in_use[claim]
        self.changes += 1


def _on_node(pod: PodInfo, node_name: str) -> PodInfo:
    return PodInfo(
        key=pod.key,
        uid=pod.uid,
        node_name=node_name,
        requests=pod.requests,
        host_ports=pod.host_ports,
        claims=pod.claims,
        group=pod.group,
        created=pod.created,
    )
