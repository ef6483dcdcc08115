"""A real API server in the process on the embedded store, the real controllers, and an agent that only patches statuses."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from controller.apiserver.inprocess import InProcessTransport
from controller.apiserver.request import User
from controller.apiserver.server import ApiServer
from controller.controllers import build_controllers
from controller.store import opening
from lattice.api import errors, lease, meta, names, node, pod, storage
from lattice.client import base
from lattice.client.client import Client
from lattice.machinery.clock import Clock, SystemClock
from lattice.machinery.tasks import TaskOwner


class CountingTransport:
    """Passes requests on and notes the writes, so that a test can say that there were none."""

    def __init__(self, inner: base.Transport) -> None:
        self._inner = inner
        self.writes: list[tuple[str, str]] = []

    async def send(self, request: base.Request) -> base.Response:
        if request.method not in {"GET", "HEAD"}:
            self.writes.append((request.method, request.path))
        return await self._inner.send(request)

    def stream(self, request: base.Request) -> Any:
        return self._inner.stream(request)

    async def headers(self) -> Mapping[str, str]:
        return await self._inner.headers()

    async def close(self) -> None:
        await self._inner.close()


@dataclass
class ScriptedAgent:
    """Plays the agent of one node: makes bound Pods ready, ends those that are going, removes volumes."""

    client: Client
    name: str
    paused: bool = False
    alive: bool = True
    started: list[str] = field(default_factory=list)

    async def register(self, *, cpu: str = "4") -> None:
        amounts = {"cpu": cpu, "memory": "8Gi", "ephemeral-storage": "100Gi", "pods": "110"}
        await self.client.create(
            node.Node(metadata=meta.ObjectMeta(name=self.name, labels={names.LABEL_HOSTNAME: self.name, names.LABEL_OS: "linux"}))
        )
        await self.post_ready("True", amounts)
        await self.client.create(
            lease.Lease(
                metadata=meta.ObjectMeta(name=self.name, namespace=names.NAMESPACE_NODE_LEASE),
                spec=lease.LeaseSpec(holder_identity=self.name, lease_duration_seconds=15),
            )
        )

    async def post_ready(self, status: str, amounts: Mapping[str, str] | None = None) -> None:
        condition = {"type": "Ready", "status": status, "reason": "AgentReady"}
        change: dict[str, Any] = {"conditions": [condition]}
        if amounts is not None:
            change |= {"capacity": dict(amounts), "allocatable": dict(amounts)}
        await self.client.patch(node.Node, self.name, None, {"status": change}, subresource="status")

    async def run(self) -> None:
        clock = SystemClock()
        while True:
            if not self.paused:
                for p in (await self.client.list(pod.Pod)).items:
                    if p.spec.node_name == self.name:
                        await self._serve(p)
                for volume in (await self.client.list(storage.PersistentVolume)).items:
                    going = volume.metadata.deletion_timestamp and names.FINALIZER_NODE_VOLUME in volume.metadata.finalizers
                    if volume.spec.node_name() == self.name and going:
                        await self.client.patch(storage.PersistentVolume, volume.name, None, {"metadata": {"finalizers": None}})
            await clock.sleep(0.01)

    async def _serve(self, p: pod.Pod) -> None:
        try:
            if p.metadata.deletion_timestamp is not None:
                await self.client.delete(pod.Pod, p.name, p.namespace, uid=p.uid, grace_period_s=0)
            elif p.status.phase == "Pending":
                ports = [
                    {"containerPort": port.container_port, "protocol": port.protocol, "hostIP": "127.0.0.1", "hostPort": 30000}
                    for port in p.spec.containers[0].ports
                ]
                conditions = [c.to_dict() for c in p.status.conditions if c.type == "PodScheduled"]
                patch = {
                    "metadata": {"annotations": {names.ANNOTATION_HOST_PORTS: json.dumps(ports)}},
                    "status": {"phase": "Running", "conditions": [*conditions, {"type": "Ready", "status": "True"}]},
                }
                await self.client.patch(pod.Pod, p.name, p.namespace, patch, subresource="status")
                self.started.append(p.name)
        except (errors.NotFoundError, errors.ConflictError):
            pass


@dataclass
class Cluster:
    """What a test drives."""

    api: ApiServer
    client: Client
    """A user with all rights."""
    transport: CountingTransport
    """The controllers' transport."""
    tasks: TaskOwner

    async def add_node(self, name: str = "n1", *, cpu: str = "4") -> ScriptedAgent:
        agent = ScriptedAgent(self.client, name)
        await agent.register(cpu=cpu)
        self.tasks.spawn(agent.run(), name=name)
        return agent

    @asynccontextmanager
    async def controllers(self, clock: Clock | None = None) -> AsyncIterator[None]:
        built = build_controllers(Client(self.transport), clock=clock or SystemClock(), rng=random.Random(1))
        task = self.tasks.spawn(built.run(), name="controllers")
        try:
            yield
            assert not task.done(), task.exception()
        finally:
            task.cancel()
            await asyncio.wait({task})


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    clock = SystemClock()
    stores = await opening.open_stores(opening.StoreConfig(data_dir=tmp_path), clock)
    api = ApiServer({"main": stores.main, "ephemeral": stores.ephemeral}, {}, clock=clock)
    await api.start()
    admin = User("admin", uid="1", groups=(names.GROUP_MASTERS,))
    async with TaskOwner("test") as tasks:
        yield Cluster(api, Client(InProcessTransport(api, admin)), CountingTransport(InProcessTransport(api, admin)), tasks)
    await api.stop()
    await stores.close()
