"""Runs the scheduler: watches, plans, binds, tells why not.

Built by ``controller/controllers.py``; runs as long as this process is the leader. One task plans, at once when something changes (what
arrives while a round runs is the next round's batch, so nothing waits for a tick); bindings run beside it, bounded. A round that would
hold the event loop for longer than a few milliseconds is computed in a thread.

A Pod that fits nowhere gets a condition and an event when, and only when, the sentence changes. It is tried again when a node, a claim or
a volume changes, or a Pod goes, and in any case after 1 s, 2 s … 60 s.

It writes: bindings, PersistentVolumes, ``spec.volumeName`` and phase of claims, the ``PodScheduled`` condition of Pods without a node.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from typing import Any

from controller import recording
from controller.facts import Facts
from controller.informers import AnyInformer, Informers
from controller.scheduler import binding, plan
from controller.scheduler.model import Name, PodInfo
from controller.scheduler.plan import Placement, Unplaceable
from controller.scheduler.state import ClusterState
from lattice.api import errors, pod, storage
from lattice.api import node as node_kind
from lattice.client.client import Client
from lattice.machinery.backoff import Backoff, BackoffPolicy
from lattice.machinery.clock import Clock
from lattice.machinery.entry import Entry

logger = logging.getLogger(__name__)

MAX_PODS_PER_ROUND = 256
"""Bounds a round; the rest is the next round's, in the same order."""
INLINE_WORK = 2000
"""Pods times nodes up to which a round is computed on the event loop. Measured with the snapshot: 20 Pods on 100 nodes 2 ms, 2 on 1,000
nodes 5 ms; 256 on 1,000 nodes take 22 ms, and go to a thread."""
MAX_BINDINGS = 32
"""Bindings under way at once. The store groups commits: more would only wait there."""
UNSCHEDULABLE_BACKOFF = BackoffPolicy(base_s=1.0, cap_s=60.0, jitter=0.2)
"""kube-scheduler's shape (1 s doubling), with a cap of a minute: it is only the net below the events."""
CONFLICT_RETRY_S = 0.05
"""After a lost race: the watch delivers what won it within a few milliseconds."""


@dataclass(slots=True)
class _Waiting:
    """A Pod that is not to be tried before ``due_s``, or before the cluster changes."""

    uid: str
    due_s: float
    changes: int | None
    """State of the change counter when it did not fit; ``None``: only time helps (a failed write)."""


class Scheduler:
    """See the module. ``run`` is for one task, once."""

    def __init__(self, client: Client, informers: Informers, *, clock: Clock, rng: random.Random, recorder: recording.Recorder) -> None:
        self._client = client
        self._clock = clock
        self._rng = rng
        self._recorder = recorder
        self._pods = informers.of(pod.Pod)
        self._nodes = informers.of(node_kind.Node)
        self._claims = informers.of(storage.PersistentVolumeClaim)
        self._volumes = informers.of(storage.PersistentVolume)
        self._state = ClusterState()
        self._wake = asyncio.Event()
        self._waiting: dict[Name, _Waiting] = {}
        self._backoffs: dict[Name, Backoff] = {}
        self._told: dict[Name, tuple[str, str]] = {}
        """Last sentence told of each Pod: (uid, message). Only of Pods that are waiting."""
        self._writes = asyncio.Semaphore(MAX_BINDINGS)

    async def run(self) -> None:
        """Wait for the caches, then schedule until cancelled."""
        watched: tuple[tuple[AnyInformer, Any], ...] = (
            (self._nodes, self._handler(self._state.on_node)),
            (self._volumes, self._handler(self._state.on_volume)),
            (self._claims, self._handler(self._state.on_claim)),
            (self._pods, self._handler(self._on_pod)),
        )
        for informer, _ in watched:
            await informer.wait_synced()
        for informer, handler in watched:
            informer.add_handler(handler)
        logger.info("caches synced, scheduler starts")
        try:
            async with asyncio.TaskGroup() as writers:
                while True:
                    await self._round(writers)
        finally:
            for informer, handler in watched:
                informer.remove_handler(handler)

    def _handler(self, take: Any) -> Any:
        def handle(old: Entry[Facts[Any]] | None, new: Entry[Facts[Any]] | None) -> None:
            take(old.projection.detail if old else None, new.projection.detail if new else None)
            self._wake.set()

        return handle

    def _on_pod(self, old: PodInfo | None, new: PodInfo | None) -> None:
        self._state.on_pod(old, new)
        present = new or old
        if present is not None and (new is None or new.node_name or new.finished):
            self._waiting.pop(present.key, None)
            self._backoffs.pop(present.key, None)
            self._told.pop(present.key, None)

    async def _round(self, writers: asyncio.TaskGroup) -> None:
        """Wait until there is something to decide, decide it, and start what follows."""
        ready = self._ready()
        if not ready:
            self._wake.clear()
            await self._wait()
            return
        batch = plan.order(ready)[:MAX_PODS_PER_ROUND]
        snapshot = self._state.snapshot()
        changes = self._state.changes
        if len(batch) * max(len(snapshot.nodes), 1) <= INLINE_WORK:
            decisions = plan.make_plan(snapshot, batch)
        else:
            decisions = await asyncio.to_thread(plan.make_plan, snapshot, batch)
        for decision in decisions:
            current = self._state.pending.get(decision.pod.key)
            if current is None or current.uid != decision.pod.uid:
                continue  # it went, or was bound by somebody else, while the thread computed
            match decision:
                case Placement():
                    self._state.assume(decision.pod, decision.node_name, decision.bind_claims)
                    writers.create_task(self._bind(decision), name=f"bind.{decision.pod.key}")
                case Unplaceable():
                    self._wait_for_change(decision.pod, changes)
                    if self._is_news(decision):
                        writers.create_task(self._tell(decision), name=f"tell.{decision.pod.key}")
        await self._clock.sleep(0)  # rounds that follow each other without a pause leave the loop to others in between

    def _ready(self) -> list[PodInfo]:
        now_s = self._clock.monotonic()
        ready = []
        for key, info in self._state.pending.items():
            waiting = self._waiting.get(key)
            changed = waiting is not None and waiting.changes is not None and waiting.changes != self._state.changes
            if waiting is None or waiting.uid != info.uid or waiting.due_s <= now_s or changed:
                ready.append(info)
        return ready

    async def _wait(self) -> None:
        """Wait for an event, or until the first waiting Pod is due."""
        due_s = [waiting.due_s for key, waiting in self._waiting.items() if key in self._state.pending]
        if not due_s:
            await self._wake.wait()
            return
        async with asyncio.TaskGroup() as group:
            timer = group.create_task(self._wake_at(min(due_s)), name="scheduler.timer")
            await self._wake.wait()
            timer.cancel()

    async def _wake_at(self, due_s: float) -> None:
        await self._clock.sleep(max(0.001, due_s - self._clock.monotonic()))
        self._wake.set()

    def _wait_for_change(self, info: PodInfo, changes: int | None, *, delay_s: float | None = None) -> None:
        if delay_s is None:
            delay_s = self._backoffs.setdefault(info.key, Backoff(UNSCHEDULABLE_BACKOFF, self._rng)).next_s()
        self._waiting[info.key] = _Waiting(info.uid, self._clock.monotonic() + delay_s, changes)

    async def _bind(self, placement: Placement) -> None:
        info = placement.pod
        try:
            async with self._writes:
                await binding.bind(self._client, placement)
        except Exception as error:  # noqa: BLE001 - one Pod's failure stops neither the loop nor another Pod
            self._bind_failed(placement, error)
            return
        self._waiting.pop(info.key, None)
        message = f"Successfully assigned {info.key} to {placement.node_name}"
        ref = recording.reference(pod.Pod, info.key.namespace, info.key.name, info.uid)
        self._recorder.event(ref, "Normal", "Scheduled", message)

    def _bind_failed(self, placement: Placement, error: Exception) -> None:
        self._state.forget(placement.pod, placement.bind_claims)
        conflict = isinstance(error, errors.ConflictError | errors.NotFoundError)
        extra = {"pod": str(placement.pod.key), "node": placement.node_name, "error": str(error)}
        logger.log(logging.DEBUG if conflict else logging.WARNING, "binding failed, trying again", extra=extra)
        self._wait_for_change(placement.pod, None, delay_s=CONFLICT_RETRY_S if conflict else None)
        self._wake.set()

    def _is_news(self, decision: Unplaceable) -> bool:
        info = decision.pod
        before = self._told.get(info.key)
        self._told[info.key] = (info.uid, decision.message)
        if before is None or before[0] != info.uid:
            return info.message != decision.message  # told before this process started
        return before[1] != decision.message

    async def _tell(self, decision: Unplaceable) -> None:
        info = decision.pod
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": decision.message,
            "lastTransitionTime": self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        # On the condition of its version: once it is bound, the conditions are the agent's too.
        patch = {
            "metadata": {"uid": info.uid, "resourceVersion": info.resource_version},
            "status": {"phase": "Pending", "conditions": [condition]},
        }
        try:
            async with self._writes:
                await self._client.patch(pod.Pod, info.key.name, info.key.namespace, patch, subresource="status")
        except Exception as error:  # noqa: BLE001 - told again in the next round
            if self._told.get(info.key) == (info.uid, decision.message):
                del self._told[info.key]
            logger.debug("could not say why a Pod waits", extra={"pod": str(info.key), "error": str(error)})
            return
        ref = recording.reference(pod.Pod, info.key.namespace, info.key.name, info.uid)
        self._recorder.event(ref, "Warning", "FailedScheduling", decision.message)
