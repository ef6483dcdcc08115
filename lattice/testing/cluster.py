"""A whole Lattice in separate processes, for end-to-end tests and benchmarks: `lattice server`, `lattice node`, perhaps an etcd.

    async with LocalCluster(tmp_path, docker_host=host, store="etcd") as cluster:
        await cluster.start()
        await cluster.client.create(workload)
        await cluster.server.kill9()

Everything it started is stopped at the end, and every container and volume of its nodes is removed from the engine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import orjson

from lattice.api import errors, node
from lattice.client.client import Client
from lattice.testing.controlplane import LATTICE, ControlPlane
from lattice.testing.engine import Engine, remove_rules
from lattice.testing.polling import eventually
from lattice.testing.processes import Process

__all__ = ["LATTICE", "LocalCluster"]


class LocalCluster(ControlPlane):
    """A control plane and its agents on this machine.

    Args:
        directory: everything is kept below it.
        docker_host: engine for the agents.
        store: back end of the control plane.
        name: prefix of the node names; nodes on one engine need different names.
        port_range: where agents take automatic host ports from.
        agent_options: further arguments of every agent.
    """

    def __init__(
        self,
        directory: Path,
        *,
        docker_host: str,
        store: Literal["sqlite", "etcd"] = "sqlite",
        name: str = "test",
        port_range: str = "30000-32767",
        agent_options: Sequence[str] = (),
    ) -> None:
        super().__init__(directory, store=store)
        self.docker_host = docker_host
        self.name = name
        self.engine = Engine(docker_host)
        self.client: Client
        self.agents: dict[str, Process] = {}
        self._port_range = port_range
        self._agent_options = tuple(agent_options)

    def users(self) -> tuple[str, ...]:
        """Return the lines of the token file: also two nodes."""
        nodes = (f'node{number}-token,system:node:{self.name}{number},{uid},"system:nodes"' for number, uid in (("", 3), ("2", 4)))
        return (*super().users(), *nodes)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        await self.engine.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        for agent in self.agents.values():
            await agent.stop()
        await super().__aexit__(*error)
        for identity in self.node_uids():
            for label in ("lattice.dev/node-uid", "lattice.dev/network-helper"):
                await self.engine.clean(f"{label}={identity}")
            remove_rules(identity)
        await self.engine.__aexit__()

    def node_uids(self) -> list[str]:
        """Return the identities of the agents that were started here."""
        return [_identity(path) for path in sorted(self.directory.glob("agent-*/node.json"))]

    def node_label(self, name: str | None = None) -> str:
        """Return the label that the containers of an agent carry."""
        return f"lattice.dev/node-uid={_identity(self.directory / f'agent-{name or self.name}' / 'node.json')}"

    async def start(self) -> None:
        """Start store, control plane and the first agent, and wait until the node is ready."""
        await self.start_server()
        self.client = self.client_for("admin-token")
        await self.start_agent()

    async def start_agent(self, name: str | None = None, *, token: str = "node-token", wait: bool = True) -> Process:  # noqa: S107 - a test's token
        """Start an agent (again) and wait until its Node is ready."""
        name = name or self.name
        agent = self.agents.get(name)
        if agent is None:
            config = self.kubeconfig_for(name, token)
            arguments = ["node", "--kubeconfig", str(config), "--name", name, "--docker-host", self.docker_host]
            arguments += ["--data-dir", str(self.directory / f"agent-{name}"), "--port-range", self._port_range]
            agent = self.agents[name] = Process((*LATTICE, *arguments, *self._agent_options), log=self.directory / f"agent-{name}.log")
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
