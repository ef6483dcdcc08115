"""The thread of the embedded store's writer: one job at a time, its end told to the event loop without delay. Used by ``sqlite_writer``.

Why not ``run_in_executor``: a job's end must reach a loop that never rests. Such a loop takes the GIL back as soon as it has let go of it,
and a thread that asks for it less than Python's switch interval (5 ms) ago loses every time: without :meth:`JobThread._nudge` the end of a
commit may not be seen for seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

_NUDGE_PERIOD_S: Final = 0.001
_NUDGE_S: Final = 0.000_05


class JobThread:
    """See the module's docstring. Its methods are called on the event loop that made it.

    Args:
        name: of the thread.
        ended: called in the loop after each job, when its result has been taken.
    """

    def __init__(self, name: str, ended: Callable[[], None]) -> None:
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._job: tuple[Future[Any], Callable[[Future[Any]], None]] | None = None
        self._nudging = False

    @property
    def busy(self) -> bool:
        """Return whether a job runs, or its result waits to be taken."""
        return self._job is not None

    def run(self, work: Callable[[], Any], then: Callable[[Future[Any]], None]) -> None:
        """Run a job in the thread, then ``then`` in the loop. No other job may be under way."""
        future = self._executor.submit(work)
        self._job = (future, then)
        future.add_done_callback(self._report)
        if not self._nudging:
            self._nudging = True
            self._loop.call_later(_NUDGE_PERIOD_S, self._nudge)

    async def close(self, last: Callable[[], None]) -> None:
        """Run one last thing in the thread, and end it."""
        await self._loop.run_in_executor(self._executor, last)
        self._executor.shutdown()

    def _report(self, _future: Future[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if self._job is None or not self._job[0].done():
            return
        (future, then), self._job = self._job, None
        try:
            then(future)
        finally:
            self._ended()

    def _nudge(self) -> None:
        """Let go of the GIL for an instant while a job runs."""
        self._nudging = self._job is not None
        if self._job is not None:
            with contextlib.suppress(TimeoutError):
                self._job[0].exception(_NUDGE_S)
            self._loop.call_later(_NUDGE_PERIOD_S, self._nudge)
            self._finish()
