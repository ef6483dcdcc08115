"""The one place that decides what follows from a reconcile: the outcome table, and nothing else.

Between a :class:`~lattice.machinery.workqueue.WorkQueue` and a :class:`~lattice.machinery.outcome.Reconciler`. Used by
``controller.py`` for every reconciler, by the scheduler's and the agent's serial workers.

Guarantees: a key is never reconciled twice at once; ``done(key)`` is called however a reconcile ends; an exception of
one key stops neither the loop nor another key; cancellation passes through. A problem is logged with its traceback
once, then counted (the same error every five minutes for a week is one line), and told to the hooks until they have
accepted it.

Leaves to the hooks: what a condition looks like and where it is stored. Leaves to the reconciler: conditions of
success.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, assert_never

from lattice.api.errors import StalledError
from lattice.machinery import logcontext, outcome, tasks, workqueue
from lattice.machinery.clock import Clock
from lattice.machinery.outcome import Done, Reconciler, RequeueAfter

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
K_contra = TypeVar("K_contra", contravariant=True)


class OutcomeHooks(Protocol[K_contra]):
    """Shows problems to the user, usually as conditions. Must be idempotent: a hook that raises is called again."""

    async def on_stalled(self, key: K_contra, error: StalledError, /) -> None:
        """Show that ``key`` waits for a user. Write only if that changes something: a write causes the next event."""
        ...

    async def on_degraded(self, key: K_contra, error: Exception, failures: int, /) -> None:
        """Show that ``key`` failed ``failures`` times in a row. The text shown must not depend on the number."""
        ...

    async def on_recovered(self, key: K_contra, /) -> None:
        """Take back what the two others have shown: ``key`` was reconciled."""
        ...


class NoHooks:
    """Shows nothing: for workers whose plan writes all conditions itself."""

    async def on_stalled(self, key: object, error: StalledError, /) -> None:
        """See :class:`OutcomeHooks`."""

    async def on_degraded(self, key: object, error: Exception, failures: int, /) -> None:
        """See :class:`OutcomeHooks`."""

    async def on_recovered(self, key: object, /) -> None:
        """See :class:`OutcomeHooks`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How a worker behaves."""

    concurrency: int = 1
    """Keys in work at once. More helps only a reconciler that waits for others."""

    degraded_after: int = 5
    """Transient failures in a row before users are told. 5: about 3 s of backoff, longer than the usual restart of a
    server, so that a rolling update shows on no object."""

    reconcile_timeout_s: float | None = 600.0
    """A reconcile that takes longer fails as transient; it would hold its key for ever. ``None``: no limit. 600 s:
    above every deadline of a single call inside one, so that it only ends what hangs."""

    requeue_jitter: float = 0.1
    """Share that is added at random to ``RequeueAfter``."""


@dataclass(slots=True)
class _Trouble:
    """What is known of a key whose last reconcile failed."""

    failures: int = 0
    """Transient failures in a row; conflicts neither count nor reset."""

    logged: tuple[str, ...] = ()
    """Identity of the problem whose traceback was logged."""

    shown: bool = False
    """Whether a hook has told the user, so that ``on_recovered`` is owed."""


class Worker(Generic[K]):
    """See the module.

    Args:
        name: of the controller; in logs and reconcile ids.
        queue: keys to work on. The worker does not close it.
        reconciler: does the work.
        clock: for the time limit.
        rng: for jitter.
        hooks: shows problems.
        settings: see :class:`WorkerSettings`.
    """

    def __init__(
        self,
        name: str,
        queue: workqueue.WorkQueue[K],
        reconciler: Reconciler[K],
        *,
        clock: Clock,
        rng: random.Random,
        hooks: OutcomeHooks[K] | None = None,
        settings: WorkerSettings | None = None,
    ) -> None:
        self.name = name
        self.counters: Counter[str] = Counter()
        """How many reconciles ended as ``done``, ``requeue_after``, ``conflict``, ``transient``, ``stalled``."""
        self._queue = queue
        self._reconciler = reconciler
        self._clock = clock
        self._rng = rng
        self._hooks: OutcomeHooks[K] = hooks or NoHooks()
        self._settings = settings or WorkerSettings()
        self._trouble: dict[K, _Trouble] = {}
        """Only keys whose last reconcile failed. Touched only by the task that holds the key."""

    async def run(self) -> None:
        """Work until the queue is shut down and drained, or until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._settings.concurrency):
                group.create_task(self._loop(), name=f"worker.{self.name}.{number}")

    async def _loop(self) -> None:
        while True:
            try:
                key = await self._queue.get()
            except workqueue.ShutDownError:
                return
            try:
                with logcontext.reconciling(self.name, key):
                    await self._reconcile(key)
            finally:
                self._queue.done(key)
            await tasks.breathe()  # a reconcile that finds nothing to do waits for nothing, and thousands may come at once

    async def _reconcile(self, key: K) -> None:
        try:
            async with tasks.TimeLimit(self._clock, self._settings.reconcile_timeout_s):
                result = await self._reconciler.reconcile(key)
        except Exception as error:  # noqa: BLE001 - the table decides; no error of one key may stop the loop
            await self._failed(key, error)
            return
        match result:
            case Done():
                self.counters["done"] += 1
                self._queue.forget(key)
            case RequeueAfter(delay_s):
                self.counters["requeue_after"] += 1
                self._queue.forget(key)
                self._queue.add_after(key, delay_s * (1.0 + self._settings.requeue_jitter * self._rng.random()))
            case _:
                assert_never(result)
        logger.debug("reconciled", extra={"result": type(result).__name__})
        await self._recovered(key)

    async def _failed(self, key: K, error: Exception) -> None:
        error_class, representative = outcome.classify(error)
        self.counters[error_class.value] += 1
        match error_class:
            case outcome.ErrorClass.CONFLICT:
                self._queue.add_rate_limited(key)
                logger.debug("reconcile lost a race, retrying", extra={"error": str(representative)})
            case outcome.ErrorClass.TRANSIENT:
                self._queue.add_rate_limited(key, at_least_s=outcome.retry_after_s(error))
                await self._transient(key, representative)
            case outcome.ErrorClass.STALLED:
                assert isinstance(representative, StalledError)
                self._queue.forget(key)
                await self._stalled(key, representative)
            case _:
                assert_never(error_class)

    async def _transient(self, key: K, error: Exception) -> None:
        trouble = self._trouble.setdefault(key, _Trouble())
        trouble.failures += 1
        problem = (type(error).__name__,)
        if trouble.logged != problem:
            trouble.logged = problem
            logger.warning("reconcile failed, retrying with backoff", exc_info=error)
        else:
            logger.debug("reconcile failed again", extra={"failures": trouble.failures, "error": str(error)})
        if trouble.failures >= self._settings.degraded_after and not trouble.shown:
            try:
                await self._hooks.on_degraded(key, error, trouble.failures)
                trouble.shown = True
            except Exception:  # the key is in the queue already: the next failure tries to show it again
                logger.debug("could not show that the object is degraded", exc_info=True)

    async def _stalled(self, key: K, error: StalledError) -> None:
        trouble = self._trouble.setdefault(key, _Trouble())
        trouble.failures = 0
        problem = ("stalled", error.reason, error.message)
        if trouble.logged != problem:
            trouble.logged = problem
            logger.warning("reconcile cannot go on until a user acts", extra={"reason": error.reason, "error": error.message})
        try:
            await self._hooks.on_stalled(key, error)
            trouble.shown = True
        except Exception:  # the user must be told, so the key is tried until the hook succeeds
            logger.debug("could not show that the object is stalled", exc_info=True)
            self._queue.add_rate_limited(key)

    async def _recovered(self, key: K) -> None:
        trouble = self._trouble.get(key)
        if trouble is None:
            return
        if trouble.shown:
            try:
                await self._hooks.on_recovered(key)
            except Exception:  # what was shown is wrong now: try again
                logger.debug("could not show that the object has recovered", exc_info=True)
                self._queue.add_rate_limited(key)
                return
        logger.info("reconcile recovered", extra={"failures": trouble.failures})
        del self._trouble[key]
