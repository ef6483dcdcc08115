"""One `lattice server` in a process of its own, without agents: what tests of clients and operators need.

    async with ControlPlane(tmp_path) as plane:
        await plane.start_server()
        os.environ["KUBECONFIG"] = str(plane.kubeconfig)
        await plane.server.kill9()

It has two users: ``admin-token`` with all rights, ``alice-token`` with none. The process, and the etcd if there is one, is stopped at
the end. `lattice.testing.cluster.LocalCluster` adds agents.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal, Self

from lattice.api import errors
from lattice.client import http, kubeconfig
from lattice.client.client import Client
from lattice.testing.etcd import EtcdServer
from lattice.testing.polling import eventually
from lattice.testing.processes import Process, free_port

LATTICE = (sys.executable, "-m", "lattice.cli.main")


class ControlPlane:
    """A control plane on this machine, without agents.

    Args:
        directory: everything is kept below it.
        store: back end.
    """

    USERS = ('admin-token,admin,1,"system:masters"', "alice-token,alice,2,")

    def __init__(self, directory: Path, *, store: Literal["sqlite", "etcd"] = "sqlite") -> None:
        self.directory = directory
        self.etcd = EtcdServer(directory / "etcd") if store == "etcd" else None
        self.port = free_port()
        self.kubeconfig = directory / "kubeconfig"
        self.data_dir = directory / "server"
        self.token_file = directory / "tokens.csv"
        self.server: Process
        self._store = store
        self._clients: list[Client] = []

    @property
    def url(self) -> str:
        """Return the address of the API."""
        return f"https://127.0.0.1:{self.port}"

    def users(self) -> tuple[str, ...]:
        """Return the lines of the token file."""
        return self.USERS

    async def __aenter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.token_file.write_text("".join(f"{line}\n" for line in self.users()))
        self.token_file.chmod(0o600)
        arguments = ["server", "--data-dir", str(self.data_dir), "--listen", f"127.0.0.1:{self.port}"]
        arguments += ["--token-file", str(self.token_file), "--kubeconfig-out", str(self.kubeconfig), "--store", self._store]
        if self.etcd is not None:
            arguments += ["--etcd-endpoints", self.etcd.endpoint]
        self.server = Process((*LATTICE, *arguments), log=self.directory / "server.log")
        return self

    async def __aexit__(self, *_error: object) -> None:
        for client in self._clients:
            await client.close()
        await self.server.stop()
        if self.etcd is not None:
            await self.etcd.stop()

    async def start_server(self) -> None:
        """Start the store and the control plane, and wait until it is ready."""
        if self.etcd is not None and not self.etcd.running:
            await self.etcd.start()
        self.server.start()
        await self.wait_server()

    async def wait_server(self, deadline_s: float = 30.0) -> None:
        """Wait until the control plane is ready."""

        async def ready() -> bool:
            if not self.server.running:
                raise RuntimeError(f"the server ended:\n{self.server.tail()}")
            if not self.kubeconfig.exists():
                return False
            client = self.client_for("admin-token", keep=False)
            try:
                return await client.send("GET", "/readyz", timeout_s=2) == b"ok"
            except (errors.UnavailableError, errors.ApiError):
                return False
            finally:
                await client.close()

        await eventually(ready, deadline_s, "the server to be ready")

    def client_for(self, token: str, *, keep: bool = True) -> Client:
        """Return a client with a token; ``keep``: it is closed with the control plane."""
        config = kubeconfig.load(self.kubeconfig)
        client = Client(http.HttpTransport(self.url, ca_data=config.ca_data, token=token))
        if keep:
            self._clients.append(client)
        return client

    def kubeconfig_for(self, name: str, token: str, *, url: str | None = None) -> Path:
        """Write a kubeconfig for one of the users, perhaps for another address (a proxy's), and return its path."""
        path = self.directory / f"{name}.kubeconfig"
        kubeconfig.write(path, server=url or self.url, ca_data=kubeconfig.load(self.kubeconfig).ca_data, user=name, token=token)
        return path

    def lattice(self, *arguments: str) -> str:
        """Run the command line as the administrator and return what it printed; blocks, at most a minute."""
        argv = [*LATTICE, "--kubeconfig", str(self.kubeconfig), *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout  # noqa: S603 - the test's own command
