"""Child processes for tests and benchmarks: started, waited for, killed hard, and never left behind."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago.

    It is below those that the kernel gives to outgoing connections, one of which might else take it before a server of ours does, and
    below those that agents publish.
    """
    while True:
        port = secrets.randbelow(14000) + 15000
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Process:
    """A program with its output in a file. Start it as often as it was stopped.

    Args:
        argv: the program and its arguments.
        log: file that both output streams are appended to.
        env: variables on top of this process's own.
    """

    def __init__(self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> None:
        self.argv = tuple(argv)
        self.log = log
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Return the process id. It must have been started."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Return whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, in a process group of its own."""
        assert not self.running
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(  # noqa: S603 - the test's own command
                self.argv, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=self._env, start_new_session=True
            )

    async def kill9(self) -> None:
        """SIGKILL the process alone (not its children) and wait for its end."""
        await self._signal(signal.SIGKILL)

    async def stop(self, timeout_s: float = 20.0) -> int:
        """SIGTERM it, wait, SIGKILL the whole group if it does not end in time. Return the exit code."""
        if self._process is None:
            return 0
        try:
            async with asyncio.timeout(timeout_s):
                await self._signal(signal.SIGTERM)
        except TimeoutError:
            os.killpg(self._process.pid, signal.SIGKILL)
            await asyncio.to_thread(self._process.wait)
        return self._process.returncode

    async def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            await asyncio.to_thread(self._process.wait)

    def tail(self, lines: int = 40) -> str:
        """Return the end of its output, for a failure message."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
