"""Child processes of ``lattice up``: each is restarted when it dies, and dies when its parent does.

A child's standard input is a pipe that only the parent writes to; the child ends at its end (``--stop-on-eof``). So no child outlives
``kill -9`` of the parent, on any system. Children have sessions of their own: Ctrl-C reaches the parent alone, which stops them in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
import sys
from collections.abc import Sequence

from lattice.api import errors
from lattice.cli.exits import EXIT_IN_USE, EXIT_USAGE
from lattice.machinery.backoff import Backoff, BackoffPolicy
from lattice.machinery.clock import Clock
from lattice.machinery.tasks import TaskOwner

logger = logging.getLogger(__name__)

_RESTART = BackoffPolicy(base_s=0.2, cap_s=10.0)
_HEALTHY_AFTER_S = 30.0
_STOP_TIMEOUT_S = 20.0
_IN_USE_FOR_S = 20.0
"""How long a data directory may stay in use by somebody else: as long as a predecessor, whose parent was killed, takes to end."""
LATTICE = (sys.executable, "-m", "lattice.cli.main")


class Child:
    """One verb of this program in a process of its own.

    Args:
        name: for the log.
        arguments: of ``lattice``.
        clock: measures and waits.
        program: what is run with the arguments.
    """

    def __init__(self, name: str, arguments: Sequence[str], clock: Clock, *, program: Sequence[str] = LATTICE) -> None:
        self.name = name
        self._argv = (*program, *arguments, "--stop-on-eof")
        self._clock = clock
        self._process: asyncio.subprocess.Process | None = None
        self._tasks = TaskOwner(f"child.{name}")
        self._stopping = False
        self.failed = asyncio.Event()
        """Set when it ended in a way that a restart cannot mend."""

    async def start(self) -> None:
        """Start it and keep it running."""
        await self._spawn()
        self._tasks.spawn(self._keep(), name="keep")

    async def stop(self) -> None:
        """End it by SIGTERM, by SIGKILL where it does not end in time. Idempotent."""
        self._stopping = True
        await self._tasks.stop()
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            logger.warning("did not end in time, killing it", extra={"child": self.name})
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _spawn(self) -> None:
        self._process = await asyncio.create_subprocess_exec(*self._argv, stdin=asyncio.subprocess.PIPE, start_new_session=True)
        logger.info("started", extra={"child": self.name, "pid": self._process.pid})

    async def _keep(self) -> None:
        backoff = Backoff(_RESTART, random.Random())  # noqa: S311 - spreads restarts, guards nothing
        in_use_since_s: float | None = None
        while True:
            started_s = self._clock.monotonic()
            assert self._process is not None
            code = await self._process.wait()
            if code != EXIT_IN_USE:
                in_use_since_s = None
            elif in_use_since_s is None:
                in_use_since_s = started_s
            if code == EXIT_USAGE or (in_use_since_s is not None and self._clock.monotonic() - in_use_since_s > _IN_USE_FOR_S):
                self.failed.set()
                return
            if self._clock.monotonic() - started_s > _HEALTHY_AFTER_S:
                backoff.reset()
            delay_s = backoff.next_s()
            logger.warning("ended, starting it again", extra={"child": self.name, "exit_code": code, "delay_s": round(delay_s, 2)})
            await self._clock.sleep(delay_s)
            await self._spawn()

    def raise_if_failed(self) -> None:
        """Raise ``UsageError`` if it has ended for good."""
        if self.failed.is_set():
            raise errors.UsageError(f"`lattice {self.name}` cannot run; the line above says why")
