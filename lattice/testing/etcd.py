"""A real etcd of one member for tests and benchmarks: its own ports and directory, killed hard and started again at will.

Used by the contract suite of the store, the end-to-end tests and the benchmarks. The program is the one that ``LATTICE_ETCD`` names, or
``etcd`` on the PATH. The timings make a lone member elect itself in a tenth of a second; they are no advice for production.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from lattice.testing.polling import eventually
from lattice.testing.processes import Process, free_port

_READY_S = 20.0
_PROBE_S = 2.0


def find_etcd() -> str | None:
    """Return the etcd program to use, or ``None`` where there is none."""
    return shutil.which(os.environ.get("LATTICE_ETCD") or "etcd")


class EtcdServer:
    """One etcd. Start it as often as it was stopped: the ports and the data stay the same.

    Args:
        directory: data and log are kept below it; it is made.
        arguments: further arguments, such as ``--quota-backend-bytes=16777216``.
    """

    def __init__(self, directory: Path, arguments: Sequence[str] = ()) -> None:
        program = find_etcd()
        if program is None:
            raise RuntimeError("there is no etcd: install one (apt-get install etcd-server), or name it in LATTICE_ETCD")
        directory.mkdir(parents=True, exist_ok=True)
        self._port = free_port()
        client, peer = f"http://{self.endpoint}", f"http://127.0.0.1:{free_port()}"
        self._process = Process(
            (
                program,
                "--name=test",
                f"--data-dir={directory / 'data'}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=test={peer}",
                "--election-timeout=500",
                "--heartbeat-interval=100",
                *arguments,
            ),
            log=directory / "etcd.log",
        )

    @property
    def endpoint(self) -> str:
        """Return ``host:port`` for clients."""
        return f"127.0.0.1:{self._port}"

    @property
    def running(self) -> bool:
        """Return whether the process runs."""
        return self._process.running

    @property
    def pid(self) -> int:
        """Return the process id. It must have been started."""
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it has a leader and answers."""
        self._process.start()
        try:
            _: bool = await eventually(self._ready, _READY_S, "etcd to be ready")
        except BaseException:
            await self._process.stop()
            raise

    async def stop(self) -> None:
        """Stop it gently. Does nothing where it does not run."""
        await self._process.stop()

    async def kill9(self) -> None:
        """SIGKILL it, as a crash would."""
        await self._process.kill9()

    async def _ready(self) -> bool:
        if not self._process.running:
            raise RuntimeError(f"etcd ended:\n{self._process.tail()}")
        try:
            async with asyncio.timeout(_PROBE_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    writer.write(b"GET /health HTTP/1.0\r\n\r\n")
                    await writer.drain()
                    return b'"health":"true"' in await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False
