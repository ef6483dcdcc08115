"""A real etcd of our own: loopback ports, data below `.lattice/etcd`.

Called by `hack/up --store etcd` and `hack/down`. Tests start etcd servers themselves; for them `hack/test` only makes
sure that the program is there.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

from kit.console import HackError, say, wait_until
from kit.packages import ensure_programs, find_program
from kit.processes import is_zombie, read_live_pid

START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 15


def ensure_program() -> str:
    """The path of etcd; installs Debian's package when there is none."""
    ensure_programs({"etcd": "etcd-server"})
    found = find_program("etcd")
    if found is None:
        raise HackError("etcd is not installed, and its package brought no program of that name")
    return found


class Etcd:
    """One single-member etcd, kept in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pid_file = folder / "etcd.pid"
        self._endpoint_file = folder / "endpoint"

    @property
    def endpoint(self) -> str:
        """Its address as `lattice server --etcd-endpoints` takes it."""
        return self._endpoint_file.read_text()

    def up(self) -> None:
        """Start it unless it runs.

        Raises:
            HackError: It does not become healthy; the message ends with its log.
        """
        if self.pid() is not None and self._is_healthy():
            return
        program = ensure_program()
        self._folder.mkdir(parents=True, exist_ok=True)
        client, peer = _free_ports(2)
        # The address stays in the member's data: keep it over restarts.
        if not self._endpoint_file.exists():
            self._endpoint_file.write_text(f"http://127.0.0.1:{client}")
        peer_url = f"http://127.0.0.1:{peer}"
        log = self._folder / "etcd.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [
                    program,
                    f"--data-dir={self._folder / 'data'}",
                    f"--listen-client-urls={self.endpoint}",
                    f"--advertise-client-urls={self.endpoint}",
                    f"--listen-peer-urls={peer_url}",
                    f"--initial-advertise-peer-urls={peer_url}",
                    f"--initial-cluster=default={peer_url}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, "ETCD_UNSUPPORTED_ARCH": "arm64"},  # 3.4 starts on arm64 only when told so
            )
        self._pid_file.write_text(str(process.pid))
        wait_until(lambda: process.poll() is not None or self._is_healthy(), timeout_s=START_TIMEOUT_S)
        if not self._is_healthy():
            process.kill()
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
            raise HackError(f"etcd did not become healthy; the end of {log}:\n{tail}")
        say(f"etcd is up: {self.endpoint}")

    def kill(self) -> None:
        """`kill -9`, for checks."""
        pid = self.pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            _wait_gone(pid)

    def down(self) -> bool:
        """Stop it; True if it was running."""
        pid = self.pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            if not _wait_gone(pid):
                raise HackError(f"etcd (pid {pid}) did not stop within {STOP_TIMEOUT_S} s")
        self._pid_file.unlink(missing_ok=True)
        return pid is not None

    def wipe(self) -> None:
        """Stop it and delete its data."""
        self.down()
        shutil.rmtree(self._folder, ignore_errors=True)

    def pid(self) -> int | None:
        """Its process; None when it does not run."""
        return read_live_pid(self._pid_file, "etcd")

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/health", timeout=2) as answer:
                return b'"true"' in answer.read()
        except OSError:
            return False


def _wait_gone(pid: int) -> bool:
    def gone() -> bool:
        try:
            return is_zombie(pid)
        except OSError:
            return True

    return wait_until(gone, timeout_s=STOP_TIMEOUT_S)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody has just now; all held open until all are found, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports
