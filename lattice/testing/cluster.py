"""A whole Lattice in separate processes, for end-to-end tests and benchmarks: `lattice server`, `lattice node`, perhaps an etcd.

    async with LocalCluster(tmp_path, docker_host=host, store="etcd") as cluster:
        await cluster.start()
        await cluster.client.create(workload)
        await cluster.server.kill9()

Everything it started is stopped at the end, and every container and volume of its nodes is removed from the engine.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Literal

import orjson

from lattice.api import errors, node
from lattice.client import http, kubeconfig
from lattice.client.client import Client
from lattice.testing.engine import Engine
from lattice.testing.etcd import EtcdServer
from lattice.testing.polling import eventually
from lattice.testing.processes import Process, free_port

LATTICE = (sys.executable, "-m", "lattice.cli.main")


class LocalCluster:
    """A control plane and its agents on this machine.

    Args:
        directory: everything is kept below it.
        docker_host: engine for the agents.
        store: back end of the control plane.
        name: prefix of the node names; nodes on one engine need different names.
    """

    def __init__(
        self,
        directory: Path,
        *,
        docker_host: str,
        store: Literal["sqlite", "etcd"] = "sqlite",
        name: str = "test",
        port_range: str = "30000-32767",
    ) -> None:
        self.directory = directory
        self.docker_host = docker_host
        self.name = name
        self.engine = Engine(docker_host)
        self.etcd = EtcdServer(directory / "etcd") if store == "etcd" else None
        self.port = free_port()
        self.kubeconfig = directory / "kubeconfig"
        self.data_dir = directory / "server"
        self.token_file = directory / "tokens.csv"
        self.client: Client
        self.agents: dict[str, Process] = {}
        self._port_range = port_range
        self._store = store
        self._node_kubeconfigs: dict[str, Path] = {}
        self._clients: list[Client] = []

    @property
    def url(self) -> str:
        """Return the address of the API."""
        return f"https://127.0.0.1:{self.port}"

    async def __aenter__(self) -> LocalCluster:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.token_file.write_text(
            'admin-token,admin,1,"system:masters"\n'
            "alice-token,alice,2,\n"
            f'node-token,system:node:{self.name},3,"system:nodes"\n'
            f'node2-token,system:node:{self.name}2,4,"system:nodes"\n'
        )
        self.token_file.chmod(0o600)
        await self.engine.__aenter__()
        arguments = ["server", "--data-dir", str(self.data_dir), "--listen", f"127.0.0.1:{self.port}"]
        arguments += ["--token-file", str(self.token_file), "--kubeconfig-out", str(self.kubeconfig), "--store", self._store]
        if self.etcd is not None:
            arguments += ["--etcd-endpoints", self.etcd.endpoint]
        self.server = Process((*LATTICE, *arguments), log=self.directory / "server.log")
        return self

    async def __aexit__(self, *_error: object) -> None:
        for agent in self.agents.values():
            await agent.stop()
        for client in self._clients:
            await client.close()
        await self.server.stop()
        if self.etcd is not None:
            await self.etcd.stop()
        for identity in self.node_uids():
            await self.engine.clean(f"lattice.dev/node-uid={identity}")
        await self.engine.__aexit__()

    def node_uids(self) -> list[str]:
        """Return the identities of the agents that were started here."""
        return [_identity(path) for path in sorted(self.directory.glob("agent-*/node.json"))]

    def node_label(self, name: str | None = None) -> str:
        """Return the label that the containers of an agent carry."""
        return f"lattice.dev/node-uid={_identity(self.directory / f'agent-{name or self.name}' / 'node.json')}"

    async def start(self) -> None:
        """Start store, control plane and the first agent, and wait until the node is ready."""
        if self.etcd is not None and not self.etcd.running:
            await self.etcd.start()
        await self.start_server()
        self.client = self.client_for("admin-token")
        await self.start_agent()

    async def start_server(self) -> None:
        """Start the control plane and wait until it is ready."""
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
        """Return a client with a token; ``keep``: it is closed with the cluster."""
        config = kubeconfig.load(self.kubeconfig)
        client = Client(http.HttpTransport(self.url, ca_data=config.ca_data, token=token))
        if keep:
            self._clients.append(client)
        return client

    async def start_agent(self, name: str | None = None, *, token: str = "node-token", wait: bool = True) -> Process:  # noqa: S107 - a test's token
        """Start an agent (again) and wait until its Node is ready."""
        name = name or self.name
        agent = self.agents.get(name)
        if agent is None:
            config = self.directory / f"{name}.kubeconfig"
            kubeconfig.write(config, server=self.url, ca_data=kubeconfig.load(self.kubeconfig).ca_data, user=name, token=token)
            arguments = ["node", "--kubeconfig", str(config), "--name", name, "--docker-host", self.docker_host]
            arguments += ["--data-dir", str(self.directory / f"agent-{name}"), "--port-range", self._port_range]
            agent = self.agents[name] = Process((*LATTICE, *arguments), log=self.directory / f"agent-{name}.log")
        agent.start()
        if wait:
            await self.wait_node(name)
        return agent

    async def wait_node(self, name: str | None = None, *, ready: bool = True, deadline_s: float = 30.0) -> None:
        """Wait until a Node's Ready condition is True (or is not)."""

        async def state() -> bool:
            with contextlib.suppress(errors.NotFoundError, errors.UnavailableError):
                found = await self.client.get(node.Node, name or self.name)
                status = next((c.status for c in found.status.conditions if c.type == "Ready"), "Unknown")
                return (status == "True") is ready
            return False

        await eventually(state, deadline_s, f"node {name or self.name} to be {'' if ready else 'not '}ready")


def _identity(path: Path) -> str:
    identity: str = orjson.loads(path.read_bytes())["uuid"]
    return identity
