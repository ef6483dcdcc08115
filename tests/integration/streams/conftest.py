"""A real API server with a Node, and the agent's end of its control line."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from lattice.api import meta, node
from lattice.client.http import HttpTransport
from lattice.machinery.backoff import Backoff, BackoffPolicy
from lattice.machinery.clock import SystemClock
from lattice.testing.polling import eventually
from nodeagent.line import ControlLine

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
