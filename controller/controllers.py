"""Wires the scheduler and all reconcilers: shared caches, one event recorder each, one order of start and stop.

Called by the composition root ``controller/main.py`` with a client (in-process, or HTTP) and run as one task. With leader election, the
composition root runs :meth:`Controllers.run` while it leads, and builds a new one for each term: caches and timers start anew.

Order: recorders and informers first, then everything that reads them; the other way round at the end. A failure of one part ends all of
them with an error, and the caller decides; no part fails because of an object.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from controller.informers import Informers
from controller.reconcilers.definition import shell as definition
from controller.reconcilers.garbage import shell as garbage
from controller.reconcilers.namespace import shell as namespace
from controller.reconcilers.nodelifecycle import shell as nodelifecycle
from controller.reconcilers.volume import shell as volume
from controller.reconcilers.workload import shell as workload
from controller.scheduler.shell import Scheduler
from lattice.client.client import Client
from lattice.client.eventsink import ClientEventSink
from lattice.machinery import controller, events
from lattice.machinery.clock import Clock

SCHEDULER = "default-scheduler"
"""Component name of the scheduler in events; kube-scheduler's, which tools look for."""


class Controllers:
    """Everything that reconciles. ``run`` once."""

    def __init__(
        self,
        informers: Informers,
        scheduler: Scheduler,
        reconcilers: Sequence[controller.Controller[Any]],
        recorders: Sequence[events.EventRecorder],
    ) -> None:
        self.informers = informers
        self.reconcilers = tuple(reconcilers)
        self._scheduler = scheduler
        self._recorders = tuple(recorders)

    @property
    def synced(self) -> bool:
        """Whether all caches are filled: part of the process's readiness. Those of kinds that users add may be a moment behind."""
        return all(informer.has_synced for informer in self.informers.all)

    async def run(self) -> None:
        """Run until cancelled, or until a part fails."""
        async with AsyncExitStack() as stack:
            for recorder in self._recorders:
                await stack.enter_async_context(recorder)
            async with asyncio.TaskGroup() as group:
                group.create_task(controller.run(self.informers.all, self.reconcilers), name="reconcilers")
                group.create_task(self.informers.custom.run(), name="custom-kinds")
                group.create_task(self._scheduler.run(), name="scheduler")


def build_controllers(
    client: Client, clock: Clock, *, rng: random.Random | None = None, scheduler_client: Client | None = None
) -> Controllers:
    """Wire everything.

    Args:
        client: of the user ``system:lattice:reconciler``; also reads for the caches.
        clock: measures and waits.
        rng: for jitter and names of events, never for secrets; a test may seed it.
        scheduler_client: of the user ``system:lattice:scheduler``; default ``client``.
    """
    binder = scheduler_client or client
    rng = rng or random.SystemRandom()
    informers = Informers(client, clock=clock, rng=rng)
    scheduler_events = events.EventRecorder(ClientEventSink(binder), SCHEDULER, clock=clock, rng=rng)
    workload_events = events.EventRecorder(ClientEventSink(client), "workload-controller", clock=clock, rng=rng)
    node_events = events.EventRecorder(ClientEventSink(client), "node-controller", clock=clock, rng=rng)
    return Controllers(
        informers,
        Scheduler(binder, informers, clock=clock, rng=rng, recorder=scheduler_events),
        (
            workload.build(client, informers, clock=clock, rng=rng, recorder=workload_events),
            garbage.build(client, informers, clock=clock, rng=rng),
            *volume.build(client, informers, clock=clock, rng=rng),
            nodelifecycle.build(client, informers, clock=clock, rng=rng, recorder=node_events),
            namespace.build(client, informers, clock=clock, rng=rng),
            definition.build(client, informers, clock=clock, rng=rng),
        ),
        (scheduler_events, workload_events, node_events),
    )
