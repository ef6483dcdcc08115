"""A program that writes to a store as fast as it can and says what was acknowledged; the kill tests run and kill it.

    python -m lattice.testing.storewriter controller.store.sqlite:open_sqlite PATH

The store's factory is named on the command line, because ``lattice`` does not know ``controller``. One line per acknowledged write:
key, value, revision. A line is printed after the acknowledgement, so whoever reads it may rely on the write.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import os
import sys
from pathlib import Path
from typing import Any

_WRITERS = 32


async def _write(store: Any, put: Any, writer: int) -> None:
    for number in itertools.count():
        key, value = f"/lattice/kill/{writer}-{number % 20}", f"{os.getpid()}-{writer}-{number}"
        result = await store.txn([put(key, value.encode())])
        os.write(sys.stdout.fileno(), f"{key} {value} {result.revision}\n".encode())


async def _main(factory: str, path: Path) -> None:
    module, _, name = factory.partition(":")
    store = await getattr(importlib.import_module(module), name)(path)
    put = importlib.import_module("controller.store.base").Put
    async with asyncio.TaskGroup() as group:
        for writer in range(_WRITERS):
            group.create_task(_write(store, put, writer))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], Path(sys.argv[2])))
