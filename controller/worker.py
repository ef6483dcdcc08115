"""``python -m controller.worker``: one more process that answers requests at the address of a control plane on etcd.

Started and watched over by ``workers.py``, which writes one line of JSON to its standard input, the settings, and keeps that open: its end
is how a worker learns that its control plane has died, however it died. A worker prints ``ready`` when it answers. It has caches of its
own, kept current by etcd, and runs neither scheduler nor reconcilers; who runs those is decided among control planes.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from pydantic import BaseModel

from controller import memory
from controller.serving import open_api
from controller.settings import ServerConfig
from lattice.api import errors
from lattice.cli import logs
from lattice.cli.options import run_daemon
from lattice.machinery.clock import SystemClock

logger = logging.getLogger(__name__)

READY = b"ready\n"


class WorkerSettings(BaseModel):
    """What a worker is told."""

    number: int
    verbose: bool = False
    config: ServerConfig


class _Numbered(logging.Filter):
    """Says in each log line which worker wrote it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every line."""
        record.worker = self._number
        return True


async def serve(config: ServerConfig, stop: asyncio.Event) -> None:
    """Answer requests until ``stop`` is set."""
    async with open_api(config, SystemClock(), first=False):
        memory.settle()
        sys.stdout.buffer.write(READY)
        sys.stdout.buffer.flush()
        await stop.wait()


def main() -> None:
    """Run a worker with the settings on standard input."""
    settings = WorkerSettings.model_validate_json(sys.stdin.buffer.readline())
    logs.configure(verbose=settings.verbose)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_Numbered(settings.number))
    try:
        run_daemon(lambda stop: serve(settings.config, stop), stop_on_eof=True)
    except errors.LatticeError as error:
        logger.error("the worker could not serve: %s", error)  # noqa: TRY400 - said to the operator, no defect
        sys.exit(1)


if __name__ == "__main__":
    main()
