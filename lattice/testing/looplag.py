"""How long an event loop is held: for tests that say that no single request keeps all others waiting.

    async with LoopLag() as lag:
        await something_long()
    assert lag.longest_s < 0.1

What counts is the CPU time that the loop's thread burns without a break, so that a busy machine fails no test.
"""

from __future__ import annotations

import asyncio
import time
from typing import Self

_BEAT_S = 0.001


class LoopLag:
    """Measures the running loop while it is entered."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._last_s = 0.0
        self._next: asyncio.TimerHandle

    async def __aenter__(self) -> Self:
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
        self.longest_s, self._last_s = max(self.longest_s, now_s - self._last_s), now_s
