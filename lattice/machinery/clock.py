"""Time as a dependency: the only module that reads a clock or sleeps.

Everything that waits or stamps takes a :class:`Clock`. Production passes :class:`SystemClock`; tests pass
``lattice.testing.clock.FakeClock``, or run under looptime, where the system clock's ``monotonic`` is the loop's own time.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """A source of time."""

    def now(self) -> datetime:
        """Return the wall clock's time, aware, in UTC. For stamps only: it may jump."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back and do not count while the machine sleeps. For intervals."""
        ...

    def boottime(self) -> float:
        """Return seconds since boot *including* sleep (CLOCK_BOOTTIME). For leases that must end while a laptop sleeps."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Wait. A delay of zero or less yields once."""
        ...


class SystemClock:
    """The machine's clocks. ``monotonic`` is the running loop's time where there is one, so that looptime can steer it."""

    def now(self) -> datetime:
        """See :class:`Clock`."""
        return datetime.now(UTC)  # noqa: TID251 - this is the one place

    def monotonic(self) -> float:
        """See :class:`Clock`."""
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return time.monotonic()  # noqa: TID251 - this is the one place

    def boottime(self) -> float:
        """See :class:`Clock`. Where the platform has no CLOCK_BOOTTIME (macOS), the monotonic clock stands in."""
        if hasattr(time, "CLOCK_BOOTTIME"):
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        return time.monotonic()  # noqa: TID251 - this is the one place

    async def sleep(self, delay_s: float) -> None:
        """See :class:`Clock`."""
        await asyncio.sleep(max(0.0, delay_s))  # noqa: TID251 - this is the one place
