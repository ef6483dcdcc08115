"""The queue between events and workers: keys in, each key out once, however often it was added.

Fed by informers' handlers and timers, drained by :mod:`lattice.machinery.worker`. It keeps client-go's contract:

* Fair: keys come out in the order in which they were added.
* Stingy: a key that is added several times before it is worked on comes out once.
* Exclusive: a key is never handed to two workers at once. Added while it is worked on, it comes out once more after
  ``done``; so nothing that happened during a reconcile is lost.
* Delays belong to the queue: ``add_after`` and ``add_rate_limited`` hold the key outside until it is due.
* Bounded by the number of distinct keys, which is the number of objects in the cache.

One event loop, no locks: every method but ``get`` and ``close`` is synchronous, so the invariants on the fields below
hold whenever another task can look.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections import Counter, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from lattice.api.errors import LatticeError
from lattice.machinery import backoff, tasks
from lattice.machinery.clock import Clock

K = TypeVar("K", bound=Hashable)


class ShutDownError(LatticeError):
    """The queue is shut down and empty: the worker that called ``get`` ends."""


class WorkQueue(Generic[K]):
    """See the module.

    Args:
        name: for logs and task names.
        clock: waits for delays.
        limiter: says how long ``add_rate_limited`` waits.
    """

    def __init__(self, name: str, clock: Clock, limiter: backoff.RateLimiter[K]) -> None:
        self.name = name
        self.counters: Counter[str] = Counter()
        """``adds`` (accepted by the queue proper), ``retries`` (rate-limited adds)."""
        self._clock = clock
        self._limiter = limiter
        self._queue: deque[K] = deque()
        """Keys to hand out, in order. Each is in ``_dirty`` and not in ``_processing``; none is here twice."""
        self._dirty: set[K] = set()
        """Keys that need work: those in ``_queue``, and those that were added while they were worked on."""
        self._processing: set[K] = set()
        """Keys that a worker holds, from ``get`` to ``done``. A key here that is dirty too is not in ``_queue``."""
        self._due_s: dict[K, float] = {}
        """The one deadline of each delayed key, the earliest that was asked for."""
        self._timeline: list[tuple[float, int, K]] = []
        """Heap over ``_due_s``. May hold outdated entries; one counts only if it says what ``_due_s`` says."""
        self._order = itertools.count()
        self._getters: deque[asyncio.Future[None]] = deque()
        """Workers that wait, in order. A future is resolved once for each key that becomes available."""
        self._tasks = tasks.TaskOwner(f"workqueue.{name}")
        self._timer: asyncio.Task[None] | None = None
        self._timer_due_s = float("inf")
        """When ``_timer`` wakes. Not later than the earliest deadline in ``_due_s``."""
        self._shut_down = False

    def __len__(self) -> int:
        """Return how many keys wait to be handed out; delayed ones and those in work are not counted."""
        return len(self._queue)

    @property
    def delayed(self) -> int:
        """How many keys wait for their time."""
        return len(self._due_s)

    def add(self, key: K) -> None:
        """Ask for work on ``key`` as soon as possible. Ignored after shutdown."""
        if self._shut_down or key in self._dirty:
            return
        self.counters["adds"] += 1
        self._dirty.add(key)
        if key not in self._processing:
            self._enqueue(key)

    def add_after(self, key: K, delay_s: float) -> None:
        """Ask for work on ``key`` in ``delay_s`` seconds. An earlier deadline of the same key stays.

        NB: needs a running event loop if the delay is positive.
        """
        if self._shut_down:
            return
        if delay_s <= 0:
            self.add(key)
            return
        due_s = self._clock.monotonic() + delay_s
        if self._due_s.get(key, float("inf")) <= due_s:
            return
        self._due_s[key] = due_s
        heapq.heappush(self._timeline, (due_s, next(self._order), key))
        self._arm_timer()

    def add_rate_limited(self, key: K, *, at_least_s: float = 0.0) -> None:
        """Ask for work on ``key`` after its backoff, or ``at_least_s`` if that is longer (a server's Retry-After)."""
        if not self._shut_down:
            self.counters["retries"] += 1
            self.add_after(key, max(at_least_s, self._limiter.when_s(key)))

    def forget(self, key: K) -> None:
        """Reset the backoff of ``key``. A delay that runs already is kept: it was asked for."""
        self._limiter.forget(key)

    def failures(self, key: K) -> int:
        """Return how many rate-limited adds ``key`` had since it was forgotten."""
        return self._limiter.failures(key)

    async def get(self) -> K:
        """Wait for a key and take it. The caller must call :meth:`done` for it.

        Raises:
            ShutDownError: the queue is shut down and drained.
        """
        while not self._queue:
            if self._shut_down:
                raise ShutDownError(f"queue {self.name} is shut down")
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(woken)
            try:
                await woken
            except asyncio.CancelledError:
                if not woken.cancelled() and self._queue:
                    self._wake_one()  # it was woken for a key that it will not take
                with contextlib.suppress(ValueError):  # gone, if it was woken or skipped
                    self._getters.remove(woken)
                raise
        key = self._queue.popleft()
        self._processing.add(key)
        self._dirty.discard(key)
        return key

    def done(self, key: K) -> None:
        """Say that the work on ``key`` has ended, however it ended. If it was added meanwhile, it comes out again."""
        self._processing.discard(key)
        if key in self._dirty:
            self._enqueue(key)

    def shut_down(self) -> None:
        """Take no more keys, drop delayed ones, let workers drain what is queued. Idempotent."""
        self._shut_down = True
        self._due_s.clear()
        self._timeline.clear()
        if self._timer is not None:
            self._timer.cancel()
        while self._getters:
            self._wake_one()

    async def close(self) -> None:
        """Shut down and wait until the queue's own timer task has ended."""
        self.shut_down()
        await self._tasks.stop()

    def _enqueue(self, key: K) -> None:
        self._queue.append(key)
        self._wake_one()

    def _wake_one(self) -> None:
        while self._getters:
            woken = self._getters.popleft()
            if not woken.done():
                woken.set_result(None)
                return

    def _arm_timer(self) -> None:
        """Make the one timer wake for the earliest deadline."""
        if not self._timeline or self._timer_due_s <= self._timeline[0][0]:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due_s = self._timeline[0][0]
        self._timer = self._tasks.spawn(self._wait_and_release(self._timer_due_s), name="timer")

    async def _wait_and_release(self, due_s: float) -> None:
        while (left_s := due_s - self._clock.monotonic()) > 0:
            await self._clock.sleep(left_s)
        self._timer, self._timer_due_s = None, float("inf")
        while self._timeline and self._timeline[0][0] <= self._clock.monotonic():
            key_due_s, _, key = heapq.heappop(self._timeline)
            if self._due_s.get(key) == key_due_s:
                del self._due_s[key]
                self.add(key)
        self._arm_timer()
