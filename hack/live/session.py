"""One `lattice up` on this machine, as a newcomer starts it: control plane and agent in one process tree.

Used by `hack/up` and `hack/check.py`. It runs where the engine's published ports are (`kit.setup.Machine.enter` has
brought us there), so 127.0.0.1 means the same to all. Objects are read over the HTTP API with the credentials of the
kubeconfig that Lattice wrote; they are applied and deleted with the `lattice` command, because that is what a person does.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kit.console import HackError, run, wait_until
from kit.paths import REPOSITORY, VENV

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
PREFERRED_PORT = 7443

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Credentials:
    server: str
    token: str
    tls: ssl.SSLContext


class Session:
    """`lattice up` with a data directory.

    Args:
        data_dir: Where it keeps everything; the same directory continues the same cluster.
        docker_host: The engine, as DOCKER_HOST has it.
        etcd_endpoint: Use etcd there; None is the embedded store.
    """

    def __init__(self, data_dir: Path, docker_host: str, *, etcd_endpoint: str | None = None) -> None:
        self.data_dir = data_dir
        self.kubeconfig = data_dir / "kubeconfig"
        self.log = data_dir / "lattice.log"
        self.docker_host = docker_host
        self._store = ["--store", "etcd", "--etcd-endpoints", etcd_endpoint] if etcd_endpoint else ["--store", "sqlite"]
        self._process: subprocess.Popen[bytes] | None = None
        self._pid_file = data_dir / "lattice.pid"
        self._credentials: _Credentials | None = None

    def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            HackError: It ended or did not become ready; the message ends with its log.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True)
        listen = f"127.0.0.1:{self._port()}"
        command = [str(VENV / "bin/lattice"), "up", "--data-dir", str(self.data_dir), "--listen", listen]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [*command, "--docker-host", self.docker_host, *self._store],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C comes to us, and we decide what it means
            )
        self._pid_file.write_text(str(self._process.pid))
        self._credentials = None
        wait_until(lambda: self.exit_code() is not None or self._is_ready(), timeout_s=START_TIMEOUT_S)
        if not self._is_ready():
            self.stop()
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise HackError(f"`lattice up` did not become ready; the end of {self.log}:\n{tail}")

    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll() if self._process else None

    def stop(self) -> None:
        """Ask it to end, and wait; workloads stay."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired as error:
                self.kill()
                raise HackError(f"`lattice up` did not end within {STOP_TIMEOUT_S} s of SIGTERM") from error
        self._pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """`kill -9` of the whole tree at once: supervisor, control plane and agent."""
        if self._process is None:
            return
        for pid in [self._process.pid, *_descendants(self._process.pid)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait(STOP_TIMEOUT_S)

    def lattice(self, *arguments: str) -> str:
        """Run the `lattice` command against this cluster; what it printed."""
        return run([VENV / "bin/lattice", *arguments], env={"KUBECONFIG": str(self.kubeconfig)}, timeout_s=60).stdout

    def get(self, path: str) -> Json | None:
        """An object or list by its API path; None if there is none.

        Raises:
            HackError: The server refused.
            OSError: It did not answer.
        """
        credentials = self._read_credentials()
        request = urllib.request.Request(credentials.server + path, headers={"Authorization": f"Bearer {credentials.token}"})
        try:
            with urllib.request.urlopen(request, timeout=10, context=credentials.tls) as answer:
                found: Json = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise HackError(f"GET {path}: {error.code} {error.read().decode(errors='replace')[:300]}") from error

    def workload(self, name: str) -> Json | None:
        """A Workload of the namespace default."""
        return self.get(f"/apis/lattice.dev/v1/namespaces/default/workloads/{name}")

    def secret(self, name: str) -> dict[str, str]:
        """The decoded values of a Secret of the namespace default."""
        found = self.get(f"/api/v1/namespaces/default/secrets/{name}")
        if found is None:
            raise HackError(f"there is no Secret {name}")
        return {key: base64.b64decode(value).decode() for key, value in found["data"].items()}

    def items(self, path: str) -> list[Json]:
        """The objects of a list."""
        found = self.get(path)
        return list(found["items"]) if found else []

    def _is_ready(self) -> bool:
        try:
            credentials = self._read_credentials()
            with urllib.request.urlopen(credentials.server + "/readyz", timeout=2, context=credentials.tls) as answer:
                return bytes(answer.read()).strip() == b"ok"
        except (OSError, KeyError, ValueError, yaml.YAMLError):  # not written yet, half written, not listening yet
            self._credentials = None  # what we read may have been from before a restart
            return False

    def _read_credentials(self) -> _Credentials:
        if self._credentials is None:
            config = yaml.safe_load(self.kubeconfig.read_text())
            contexts = {each["name"]: each["context"] for each in config["contexts"]}
            context = contexts[config["current-context"]]
            cluster = {each["name"]: each["cluster"] for each in config["clusters"]}[context["cluster"]]
            user = {each["name"]: each["user"] for each in config["users"]}[context["user"]]
            authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
            tls = ssl.create_default_context(cadata=authority)
            self._credentials = _Credentials(cluster["server"], user["token"], tls)
        return self._credentials

    def _port(self) -> int:
        """The port of last time, which the kubeconfig of last time names; else a well-known one; else any."""
        remembered = self.data_dir / "port"
        if remembered.exists():
            return int(remembered.read_text())
        port = PREFERRED_PORT if _is_free(PREFERRED_PORT) else _any_free_port()
        remembered.write_text(str(port))
        return port


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _any_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _descendants(pid: int) -> list[int]:
    """All processes below one, whatever their session."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended while we looked
            continue
    found: list[int] = []
    todo = [pid]
    while todo:
        parent = todo.pop()
        children = [child for child, its_parent in parents.items() if its_parent == parent]
        found += children
        todo += children
    return found
