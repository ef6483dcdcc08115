"""Background tasks with an owner: the only module that calls ``asyncio.create_task``.

Prefer a ``TaskGroup`` wherever the lifetime is a block of code. These helpers are for the rest:

* :class:`TaskOwner`: tasks that live as long as an object. A crash is logged under the task's name, never lost;
  ``stop`` cancels in reverse order of the start and waits for each.
* :func:`supervise`: a coroutine that must not end: restarted after a crash, with jittered backoff.
* :class:`TimeLimit`: ``asyncio.timeout`` on the injected clock, which a stream can push back with each sign of life.

Cancellation is never swallowed: whoever cancels a caller of these gets ``CancelledError`` through.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from lattice.machinery.backoff import Backoff
from lattice.machinery.clock import Clock

logger = logging.getLogger(__name__)

T = TypeVar("T")


async def breathe() -> None:
    """Let everything else run that is ready: between the slices of long work, so that it holds up nobody."""
    await asyncio.sleep(0)  # noqa: TID251 - no time passes


class TaskOwner:
    """Owns background tasks. Use it as ``async with``, or call :meth:`stop`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._tasks: dict[asyncio.Task[Any], None] = {}
        """Unfinished tasks in order of their start (a dict, because sets have no order). A strong reference: the loop
        holds only weak ones."""
        self._stopped = False

    def spawn(self, coroutine: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Start ``coroutine`` in the background. If it raises, that is logged; it stops nothing else.

        Raises:
            RuntimeError: the owner is stopped.
        """
        if self._stopped:
            coroutine.close()
            raise RuntimeError(f"cannot start {name}: {self.name} is stopped")
        task = asyncio.create_task(coroutine, name=f"{self.name}.{name}")  # noqa: TID251 - this is the one place
        self._tasks[task] = None
        task.add_done_callback(self._reap)
        return task

    def __len__(self) -> int:
        return len(self._tasks)

    async def stop(self) -> None:
        """Cancel every task, the newest first, each one waited for before the next. Idempotent."""
        self._stopped = True
        try:
            for task in reversed(tuple(self._tasks)):
                task.cancel()
                await asyncio.wait({task})
        finally:
            # Reached with tasks left only if the caller was cancelled while it waited: then nobody may stay behind.
            for task in tuple(self._tasks):
                task.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None) -> None:
        await self.stop()

    def _reap(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("background task crashed", extra={"task": task.get_name()}, exc_info=error)


async def supervise(
    run: Callable[[], Awaitable[None]],
    *,
    name: str,
    clock: Clock,
    backoff: Backoff,
    healthy_after_s: float = 60.0,
) -> None:
    """Run ``run()`` again whenever it raises; return when it returns.

    Args:
        run: starts the work; called anew for each attempt.
        name: says in the log what crashed.
        clock: measures and waits.
        backoff: delays between attempts.
        healthy_after_s: an attempt that lived this long was healthy, the next crash counts as the first one.
    """
    while True:
        started_s = clock.monotonic()
        try:
            await run()
            return
        except Exception:  # a supervisor outlives whatever its ward does
            if clock.monotonic() - started_s >= healthy_after_s:
                backoff.reset()
            delay_s = backoff.next_s()
            logger.exception(
                "supervised task crashed, restarting",
                extra={"task": name, "failures": backoff.failures, "delay_s": round(delay_s, 3)},
            )
        await clock.sleep(delay_s)


class TimeLimit:
    """``async with TimeLimit(clock, 5.0) as limit``: ``TimeoutError`` in the block, 5 s after ``limit.touch()``.

    ``None``: no limit. One task per block, however often it is touched: a stream of ten thousand events costs ten
    thousand assignments, no timers.
    """

    def __init__(self, clock: Clock, limit_s: float | None) -> None:
        self._clock = clock
        self._limit_s = limit_s
        self._touched_at = clock.monotonic()
        self._timeout = asyncio.timeout(None)
        self._watcher: asyncio.Task[None] | None = None

    def touch(self) -> None:
        """Start the limit over."""
        self._touched_at = self._clock.monotonic()

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self.touch()
        if self._limit_s is not None:
            self._watcher = asyncio.create_task(self._watch(self._limit_s))  # noqa: TID251 - this is the one place
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
        await self._timeout.__aexit__(exc_type, exc, traceback)

    async def _watch(self, limit_s: float) -> None:
        while (left_s := self._touched_at + limit_s - self._clock.monotonic()) > 0:
            await self._clock.sleep(left_s)
        self._timeout.reschedule(asyncio.get_running_loop().time())
