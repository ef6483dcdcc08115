"""More processes that serve the same address: for a control plane on etcd that one core cannot carry.

``main.py`` starts them when its own server listens. The kernel spreads connections over the processes (``SO_REUSEPORT``). One that dies
takes its own connections with it, no others: what it had accepted is answered by nobody, as by any server that crashes, and clients come
back to another process. It is started again, with growing delays. When the control plane itself dies, its workers end by themselves.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from typing import Final

from controller.settings import ServerConfig
from controller.worker import READY, WorkerSettings
from lattice.machinery.backoff import Backoff, BackoffPolicy
from lattice.machinery.clock import Clock
from lattice.machinery.tasks import TaskOwner, supervise

logger = logging.getLogger(__name__)

_RESTART: Final = BackoffPolicy(base_s=0.2, cap_s=30.0)
_END_S: Final = 15.0
"""How long a worker may take to end its watches and requests."""
READY_S: Final = 30.0


class WorkerEndedError(Exception):
    """A worker ended that nobody had stopped."""


class Workers:
    """Keeps ``config.workers - 1`` processes running.

    Args:
        config: settings of the control plane, with the port that it has.
        clock: time.
        rng: jitter.
    """

    def __init__(self, config: ServerConfig, *, clock: Clock, rng: random.Random) -> None:
        self._config = config
        self._clock = clock
        self._rng = rng
        self._tasks = TaskOwner("workers")
        self.pids: dict[int, int] = {}
        """Process id of each worker that answers, by its number; the control plane's own process is none."""
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Start them, and wait until all answer, or for half a minute; those that do not are tried on in the background."""
        for number in range(1, self._config.workers):
            backoff = Backoff(_RESTART, self._rng)
            run = supervise(lambda number=number: self._run(number), name=f"worker-{number}", clock=self._clock, backoff=backoff)  # type: ignore[misc]
            self._tasks.spawn(run, name=str(number))
        try:
            async with asyncio.timeout(READY_S):
                while len(self.pids) < self._config.workers - 1:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            logger.warning("not all workers answer yet, going on without", extra={"answering": len(self.pids)})

    async def stop(self) -> None:
        """End them in order; those that take too long are killed."""
        await self._tasks.stop()

    async def _run(self, number: int) -> None:
        """Run one worker until it ends, or until cancelled.

        Raises:
            WorkerEndedError: it ended by itself.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "controller.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in a terminal is for the control plane, which ends its workers
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            verbose = logging.getLogger().isEnabledFor(logging.DEBUG)
            settings = WorkerSettings(number=number, verbose=verbose, config=self._config)
            process.stdin.write(settings.model_dump_json().encode() + b"\n")
            if await process.stdout.readline() == READY:
                self.pids[number] = process.pid
                self._changed.set()
                logger.info("a worker serves", extra={"worker": number, "pid": process.pid})
            code = await process.wait()
            raise WorkerEndedError(f"worker {number} (process {process.pid}) ended with code {code}; its log lines say why")
        finally:
            self.pids.pop(number, None)
            await self._end(process)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is not None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(_END_S):
                await process.wait()
        except TimeoutError:
            logger.warning("a worker does not end and is killed", extra={"pid": process.pid})
            process.kill()
            await process.wait()
