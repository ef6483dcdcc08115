"""A real API server with a Node, and the agent's end of its control line."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from lattice.api import meta, node, pod
from lattice.client.client import Client
from lattice.client.http import HttpTransport
from lattice.machinery.backoff import Backoff, BackoffPolicy
from lattice.machinery.clock import SystemClock
from lattice.testing.polling import eventually
from lattice.testing.proxy import Proxy
from nodeagent.config import AgentConfig
from nodeagent.line import ControlLine
from nodeagent.main import run_agent
from nodeagent.runtime import base
from nodeagent.runtime.fake import FakeRuntime, Program

NODE = "node1"


@pytest.fixture
async def make_node(client) -> Callable[..., Any]:
    """Make a Node."""

    async def make(name: str = NODE) -> None:
        await client.create(node.Node(metadata=meta.ObjectMeta(name=name), spec=node.NodeSpec(provider_id=f"lattice://{name}")))

    return make


@pytest.fixture
async def make_line(api_server, make_node) -> AsyncIterator[Callable[..., Any]]:
    """Open the control line of a Node over TLS, as its agent does, and wait until the server has it."""
    async with AsyncExitStack() as stack:

        async def make(name: str = NODE, *, exists: bool = False, **handlers: Any) -> ControlLine:
            if not exists:
                await make_node(name)
            transport = HttpTransport(api_server.url, ca_data=api_server.ca_data, token=f"{name}-token")
            stack.push_async_callback(transport.close)
            backoff = Backoff(BackoffPolicy(base_s=0.05, cap_s=0.2), random.Random(1))
            line = ControlLine(transport, name, SystemClock(), backoff, lambda _headers: "")
            line.handlers.update(handlers)
            task = await stack.enter_async_context(_running(line.run()))
            assert not task.done()
            await eventually(lambda: name in api_server.api.lines and line.connected, 20, f"{name} to hold its line")
            return line

        yield make


class _running:  # noqa: N801 - used like a function
    """A task that is cancelled at the end of the block."""

    def __init__(self, coroutine: Any) -> None:
        self._coroutine = coroutine

    async def __aenter__(self) -> asyncio.Task[None]:
        self._task = asyncio.create_task(self._coroutine)  # noqa: TID251 - a test's own
        return self._task

    async def __aexit__(self, *_error: object) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})


@dataclass
class World:
    """A server, a node with a fake engine, and a way between them that can be cut."""

    server: Any
    client: Client
    runtime: FakeRuntime
    proxy: Proxy
    root: Path
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        transport = HttpTransport(f"https://127.0.0.1:{self.proxy.port}", ca_data=self.server.ca_data, token=f"{NODE}-token")
        config = AgentConfig(name=NODE, data_dir=self.root / "agent", run_dir=self.root / "run", transport=transport)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(run_agent(config, stop=stop, runtime=self.runtime))
            try:
                yield
            finally:
                stop.set()
                await asyncio.wait({task}, timeout=15)
                assert task.done()
                await transport.close()

    async def run_pod(self, name: str = "web", *containers: dict[str, Any], **spec: Any) -> pod.Pod:
        listed = containers or ({"name": "main"},)
        body = {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "containers": [{"image": "busybox:latest", "imagePullPolicy": "IfNotPresent", **each} for each in listed],
                "terminationGracePeriodSeconds": 1,
                **spec,
            },
        }
        made = await self.client.create(pod.Pod.model_validate(body))
        await self.client.bind(name, "default", NODE, uid=made.uid)
        await eventually(lambda: self.container(name), 30, "the container to run")
        await eventually(lambda: NODE in self.server.api.lines, 30, "the line")
        return made

    async def container(self, name: str) -> base.Container | None:
        found = await self.runtime.list({base.LABEL_POD_NAME: name})
        return next((each for each in found if each.state is base.ContainerState.RUNNING), None)

    async def say(self, text: str, *, name: str = "web", **more: Any) -> None:
        container = await self.container(name)
        assert container is not None
        self.runtime.say(container.id, text, **more)


@pytest.fixture
async def world(api_server, client, tmp_path) -> AsyncIterator[World]:
    async with Proxy("127.0.0.1", api_server.port) as proxy:
        world = World(api_server, client, FakeRuntime(SystemClock()), proxy, tmp_path)
        world.runtime.programs[("crash",)] = Program(run_for_s=0.3, exit_code=1, output="boom\n")
        async with world.agent():
            yield world
        await world.runtime.close()


@pytest.fixture
async def admin(api_server) -> AsyncIterator[aiohttp.ClientSession]:
    async with api_server.session() as session:
        yield session
