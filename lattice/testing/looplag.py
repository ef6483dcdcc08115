"""How long an event loop is held: for tests that say that no single request keeps all others waiting.

    async with LoopLag() as lag:
        await something_long()
    assert lag.longest_s < 0.1

What counts is the CPU time that the loop's thread burns without a break, so that a busy machine fails no test, in seconds of a machine
that runs Python as fast as the one that the limits were set on: a slower one, or one that counts lines or memory, is allowed more.
"""

from __future__ import annotations

import asyncio
import time
from typing import Self

_BEAT_S = 0.001
_YARDSTICK_S = 0.0026
"""CPU time of :func:`_yardstick` where the limits of the tests were set, nothing being counted."""


def _yardstick() -> float:
    """Return the CPU time of a fixed piece of Python, in seconds."""
    begin_s = time.thread_time()
    kept: dict[str, list[int]] = {}
    for number in range(20_000):
        kept.setdefault(str(number % 100), []).append(number)
        if number % 1_000 == 0:
            kept = {name: numbers[-3:] for name, numbers in kept.items()}
    return time.thread_time() - begin_s


def _slowness() -> float:
    """Return how much slower than the yardstick's machine this one is now; never less than 1."""
    return max(1.0, min(_yardstick() for _ in range(3)) / _YARDSTICK_S)


class LoopLag:
    """Measures the running loop while it is entered."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._slowness = 1.0
        self._last_s = 0.0
        self._next: asyncio.TimerHandle

    async def __aenter__(self) -> Self:
        self._slowness = _slowness()
        self._last_s = time.thread_time()
        self._plan()
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._next.cancel()
        self._measure()

    def _plan(self) -> None:
        self._next = asyncio.get_running_loop().call_later(_BEAT_S, self._beat)

    def _beat(self) -> None:
        self._measure()
        self._plan()

    def _measure(self) -> None:
        now_s = time.thread_time()
        self.longest_s, self._last_s = max(self.longest_s, (now_s - self._last_s) / self._slowness), now_s
