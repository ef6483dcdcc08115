"""Counts the silence of nodes and carries out the plan.

What it counts with is its own monotonic clock, from when it saw a Lease change: clocks of two machines are never compared, and a new leader
gives every node a full interval. The Pods of a deleted Node are left alone (their tombstones go with the Node, by the server); a person, or
the Node's return, decides about them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from controller import recording
from controller.informers import Informers
from controller.reconcilers.nodelifecycle.plan import MESSAGE_SILENT, Observed, make_plan
from lattice.api import errors, lease, names, node
from lattice.client.client import Client
from lattice.machinery import controller, outcome
from lattice.machinery.clock import Clock
from lattice.machinery.entry import Entry
from lattice.machinery.keys import ObjectKey


class NodeLifecycle:
    """See the module."""

    def __init__(self, client: Client, informers: Informers, *, clock: Clock, recorder: recording.Recorder) -> None:
        self._client = client
        self._clock = clock
        self._recorder = recorder
        self._nodes = informers.of(node.Node).cache
        self._leases = informers.of(lease.Lease).cache
        self._seen: dict[ObjectKey, tuple[str, str, float]] = {}
        """Node to (uid, version of its Lease, when we first saw that version). Only nodes that exist."""

    async def reconcile(self, key: ObjectKey) -> outcome.Result:
        """Write what is known of a node."""
        entry = self._nodes.get(key)
        if entry is None:
            self._seen.pop(key, None)
            return outcome.Done()
        observed = Observed(node=entry.decode(node.Node), silent_s=self._silent_s(key, entry.uid), now=self._clock.now())
        plan = make_plan(observed)
        try:
            if plan.conditions is not None:
                listed = [condition.to_dict() for condition in plan.conditions]
                change = {"metadata": {"uid": entry.uid, "resourceVersion": entry.resource_version}, "status": {"conditions": listed}}
                await self._client.patch(node.Node, key.name, None, change, subresource="status")
                reference = recording.reference(node.Node, "", key.name, entry.uid)
                self._recorder.event(reference, "Warning", "NodeNotReady", MESSAGE_SILENT)
                return outcome.RequeueAfter(0.01)  # the taint follows, on the version that this write made
            if plan.taints is not None:
                taints = [taint.to_dict() for taint in plan.taints]
                metadata = {"uid": entry.uid, "resourceVersion": entry.resource_version}
                await self._client.patch(node.Node, key.name, None, {"metadata": metadata, "spec": {"taints": taints}})
        except errors.NotFoundError:
            return outcome.Done()
        return outcome.Done() if plan.requeue_after_s is None else outcome.RequeueAfter(plan.requeue_after_s)

    def _silent_s(self, key: ObjectKey, uid: str) -> float:
        """Return how long the node's Lease has not changed, and note it if it has."""
        heartbeat = self._leases.get(ObjectKey(names.NAMESPACE_NODE_LEASE, key.name))
        version = heartbeat.resource_version if heartbeat is not None else ""
        now_s = self._clock.monotonic()
        before = self._seen.get(key)
        if before is None or before[:2] != (uid, version):
            self._seen[key] = (uid, version, now_s)
            return 0.0
        return now_s - before[2]


def build(
    client: Client, informers: Informers, *, clock: Clock, rng: random.Random, recorder: recording.Recorder
) -> controller.Controller[ObjectKey]:
    """Return the controller of nodes' presence."""

    def node_of(entry: Entry[Any]) -> Iterable[ObjectKey]:
        return (ObjectKey("", entry.key.name),) if entry.key.namespace == names.NAMESPACE_NODE_LEASE else ()

    return controller.Controller(
        "nodelifecycle",
        NodeLifecycle(client, informers, clock=clock, recorder=recorder),
        (
            controller.Source(informer=informers.of(node.Node), keys=controller.own_key),
            controller.Source(informer=informers.of(lease.Lease), keys=node_of, resync=False),
        ),
        clock=clock,
        rng=rng,
    )
