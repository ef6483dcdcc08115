"""A real API server in process, an agent on it, and an engine whose programs are data: what tests of a Pod's life need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller.apiserver.inprocess import InProcessTransport
from controller.apiserver.request import User
from controller.apiserver.server import ApiServer
from controller.store.opening import StoreConfig, open_stores
from lattice.api import names, pod
from lattice.client.client import Client
from lattice.machinery.clock import SystemClock
from lattice.testing import pods
from nodeagent.config import AgentConfig
from nodeagent.main import run_agent
from nodeagent.runtime import base
from nodeagent.runtime.fake import FakeRuntime, Program

NODE = "n1"


@dataclass
class Bench:
    """One node."""

    api: ApiServer
    admin: Client
    runtime: FakeRuntime
    root: Path

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[None]:
        """Run the agent for a while; it can be run again."""
        stop = asyncio.Event()
        transport = InProcessTransport(self.api, User(f"system:node:{NODE}", groups=("system:nodes",)))
        config = AgentConfig(name=NODE, data_dir=self.root / "agent", run_dir=self.root / "run", transport=transport, isolation=False)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(run_agent(config, stop=stop, runtime=self.runtime))
            try:
                yield
            finally:
                stop.set()
                await asyncio.wait({task}, timeout=10)
                assert task.done()

    def program(self, script: str, **fields: object) -> None:
        """Say what a script of :func:`lattice.testing.pods.make_container` does."""
        self.runtime.programs[("sh", "-c", script)] = Program(**fields)  # type: ignore[arg-type]

    async def bind(self, made: pod.Pod) -> pod.Pod:
        """Create a Pod on the node."""
        created = await self.admin.create(made)
        await self.admin.bind(created.name, "default", NODE, uid=created.uid)
        return created

    async def boxes(self, name: str) -> list[base.Container]:
        """Return the engine's containers of a Pod, the oldest first."""
        found = await self.runtime.list({base.LABEL_POD_NAME: name})
        return sorted(found, key=lambda box: (box.created_at, box.id))

    async def running(self, name: str) -> set[str]:
        """Return the names of the containers of a Pod that run."""
        return {box.labels[base.LABEL_CONTAINER] for box in await self.boxes(name) if box.state is base.ContainerState.RUNNING}

    def order(self, verb: str) -> list[str]:
        """Return the names of the containers that something was done to, in order."""
        return [change.split("_")[-3] for change in self.runtime.changes if change.startswith(f"{verb} lattice_")]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        runtime = FakeRuntime(clock, images=[pods.IMAGE])
        stack.push_async_callback(runtime.close)
        stores = await open_stores(StoreConfig(data_dir=tmp_path / "store"), clock)
        stack.push_async_callback(stores.close)
        api = ApiServer({"main": stores.main, "ephemeral": stores.ephemeral}, {}, clock=clock)
        await api.start()
        stack.push_async_callback(api.stop)
        admin = Client(InProcessTransport(api, User("admin", groups=(names.GROUP_MASTERS,))))
        yield Bench(api, admin, runtime, tmp_path)
