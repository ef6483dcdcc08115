"""A clock that moves only when a test says so.

``advance`` wakes sleepers one by one in the order of their deadlines, and lets everything that became runnable run
before it moves on: a task that sleeps 1 s in a loop wakes ten times during ``advance(10)``. No test waits for real
time.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta

_SETTLE_ROUNDS = 64
"""Rounds of the event loop that count as "everything ran": the longest chain of wake-ups between two sleeps in our
code is about a dozen; a round costs microseconds."""


class FakeClock:
    """Implements ``lattice.machinery.clock.Clock``."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._wall = start
        self._monotonic_s = 1000.0
        self._suspended_s = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """See ``Clock``."""
        return self._wall

    def monotonic(self) -> float:
        """See ``Clock``."""
        return self._monotonic_s

    def boottime(self) -> float:
        """See ``Clock``."""
        return self._monotonic_s + self._suspended_s

    async def sleep(self, delay_s: float) -> None:
        """See ``Clock``. Ends when :meth:`advance` has passed the deadline."""
        if delay_s <= 0:
            await asyncio.sleep(0)  # noqa: TID251 - yields, waits for no time
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic_s + delay_s, next(self._order), woken))
        await woken

    @property
    def sleepers(self) -> int:
        """How many tasks sleep on this clock now."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass on all three clocks, waking who is due."""
        target_s = self._monotonic_s + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= target_s:
            deadline_s, _, woken = heapq.heappop(self._sleepers)
            if woken.done():  # cancelled
                continue
            self._move_to(deadline_s)
            woken.set_result(None)
            await self.settle()
        self._move_to(target_s)
        await self.settle()

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as a user or NTP does. Wakes nobody."""
        self._wall += timedelta(seconds=seconds)

    def suspend(self, seconds: float) -> None:
        """Let the machine sleep: boot time and wall clock go on, the monotonic clock does not."""
        self._suspended_s += seconds
        self._wall += timedelta(seconds=seconds)

    async def settle(self) -> None:
        """Let every runnable task run until it waits for something."""
        for _ in range(_SETTLE_ROUNDS):
            await asyncio.sleep(0)  # noqa: TID251 - yields, waits for no time

    def _move_to(self, monotonic_s: float) -> None:
        self._wall += timedelta(seconds=monotonic_s - self._monotonic_s)
        self._monotonic_s = monotonic_s
