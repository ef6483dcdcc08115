"""Puts the parts together: informers feed a queue of keys, a worker drains it.

The composition root makes one :class:`Controller` per reconciler and hands all of them, with the informers that they
share, to :func:`run`.

Guarantees: no key is worked on before *all* caches of its controller have synced (a reconciler that reads children
from a cache that is not filled yet would create them a second time); workers stop before the informers they read
from; every object comes round again after ``resync_s``, whatever was missed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from lattice.machinery import backoff, workqueue
from lattice.machinery.cache import Handler
from lattice.machinery.clock import Clock
from lattice.machinery.entry import Entry
from lattice.machinery.informer import Informer
from lattice.machinery.keys import ObjectKey
from lattice.machinery.outcome import Reconciler
from lattice.machinery.worker import OutcomeHooks, Worker, WorkerSettings

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
P = TypeVar("P")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source(Generic[K]):
    """Says which keys to reconcile when an object of one kind changes."""

    informer: Informer[Any]
    keys: Callable[[Entry[Any]], Iterable[K]]
    """Asked for the old and the new version of a changed object: a Pod that moves from one owner to another concerns
    both. It sees an object, never what happened to it."""
    resync: bool = True
    """Whether every object of this kind comes round again at each resync."""


def own_key(entry: Entry[Any]) -> tuple[ObjectKey]:
    """``Source.keys`` for the kind that the reconciler itself is for."""
    return (entry.key,)


class Controller(Generic[K]):
    """One reconciler with its sources, queue and worker.

    Args:
        name: for logs.
        reconciler: does the work.
        sources: what it reacts to.
        clock: measures and waits.
        rng: for jitter.
        also_wait_for: informers that it reads without reacting to them.
        hooks: shows problems.
        settings: of the worker.
        limiter: of the queue; the default is that of :class:`~lattice.machinery.backoff.RateLimiter`.
        resync_s: every object of the sources is reconciled again this often (plus up to a tenth). ``None``: never.
            600 s: what a missed event can cost; with thousands of objects still only some reconciles a second.
    """

    def __init__(
        self,
        name: str,
        reconciler: Reconciler[K],
        sources: Sequence[Source[K]],
        *,
        clock: Clock,
        rng: random.Random,
        also_wait_for: Sequence[Informer[Any]] = (),
        hooks: OutcomeHooks[K] | None = None,
        settings: WorkerSettings | None = None,
        limiter: backoff.RateLimiter[K] | None = None,
        resync_s: float | None = 600.0,
    ) -> None:
        self.name = name
        self.queue: workqueue.WorkQueue[K] = workqueue.WorkQueue(name, clock, limiter or backoff.RateLimiter(clock, rng))
        """For keys that no informer knows of: timers, requests. A key put here before ``run`` waits for it."""
        self.worker = Worker(name, self.queue, reconciler, clock=clock, rng=rng, hooks=hooks, settings=settings)
        self._sources = list(sources)
        self._handlers: dict[int, tuple[Informer[Any], Handler[Any]]] = {}
        """What is attached to informers while it runs, by the identity of the source."""
        self._running = False
        self._also_wait_for = tuple(also_wait_for)
        self._clock = clock
        self._rng = rng
        self._resync_s = resync_s

    async def run(self) -> None:
        """Wait for all caches, then work until cancelled. Once only: afterwards the queue is closed.

        The informers must be run by somebody else, usually :func:`run`.
        """
        self._running = True
        for source in self._sources:
            self._attach(source)
        try:
            for informer in (*[source.informer for source in self._sources], *self._also_wait_for):
                await informer.wait_synced()
            logger.info("caches synced, controller starts", extra={"controller": self.name})
            async with asyncio.TaskGroup() as group:
                group.create_task(self.worker.run(), name=f"controller.{self.name}.worker")
                if self._resync_s is not None:
                    group.create_task(self._resync(self._resync_s), name=f"controller.{self.name}.resync")
        finally:
            self._running = False
            for source in self._sources:
                self._detach(source)
            await self.queue.close()

    def add_source(self, source: Source[K]) -> None:
        """React to one more kind, also while it runs; everything present in its cache is queued.

        A source that comes while it runs is not waited for: a reconciler that counts on its cache asks whether that has synced.
        """
        self._sources.append(source)
        if self._running:
            self._attach(source)

    def remove_source(self, source: Source[K]) -> None:
        """React no more to a source that was added. Unknown ones are ignored."""
        if source in self._sources:
            self._sources.remove(source)
            self._detach(source)

    def _attach(self, source: Source[K]) -> None:
        handler = self._handler(source)
        self._handlers[id(source)] = (source.informer, handler)
        source.informer.add_handler(handler)

    def _detach(self, source: Source[K]) -> None:
        informer, handler = self._handlers.pop(id(source), (None, None))
        if informer is not None and handler is not None:
            informer.remove_handler(handler)

    def _handler(self, source: Source[K]) -> Callable[[Entry[Any] | None, Entry[Any] | None], None]:
        def enqueue(old: Entry[Any] | None, new: Entry[Any] | None) -> None:
            for entry in (old, new):
                if entry is not None:
                    for key in source.keys(entry):
                        self.queue.add(key)

        return enqueue

    async def _resync(self, resync_s: float) -> None:
        while True:
            await self._clock.sleep(resync_s * (1.0 + 0.1 * self._rng.random()))
            for source in tuple(self._sources):
                if source.resync:
                    for entry in source.informer.cache.entries():
                        for key in source.keys(entry):
                            self.queue.add(key)


async def run(informers: Iterable[Informer[Any]], controllers: Iterable[Controller[Any]]) -> None:
    """Run informers and controllers until cancelled, or until one of them fails (then all stop and it is raised).

    Order: informers first; when it ends, all workers have ended before the first informer is stopped.
    """
    async with asyncio.TaskGroup() as informer_group:
        informer_tasks = [informer_group.create_task(informer.run(), name=f"informer.{informer.name}") for informer in informers]
        try:
            async with asyncio.TaskGroup() as controller_group:
                for controller in controllers:
                    controller_group.create_task(controller.run(), name=f"controller.{controller.name}")
        finally:
            for task in informer_tasks:
                task.cancel()
