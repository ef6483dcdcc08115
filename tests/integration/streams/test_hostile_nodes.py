"""Streams with a node that breaks the rules, and with clients and nodes that read slowly: only the stream concerned suffers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from lattice.api import line, pod
from lattice.testing.polling import eventually

NODE_PATH = "/api/v1/nodes/node1"
LOG = "/api/v1/namespaces/default/pods/web/log"
EXEC = "/api/v1/namespaces/default/pods/web/exec?command=x&stdout=true&stdin=true"
V5 = "v5.channel.k8s.io"
TIME = b"2026-01-01T00:00:00.000000000Z"


class Node:
    """A node that does what a test says: it answers every ``dial`` by ``dialled(stream id)``."""

    def __init__(self, session: aiohttp.ClientSession, dialled: Callable[[Node, str], Awaitable[None]]) -> None:
        self.session = session
        self._dialled = dialled
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            asked = json.loads(message.data)
            await socket.send_str(line.encode_answer(asked["id"], {}))
            task = asyncio.ensure_future(self._dialled(self, asked["question"]["stream"]))
            self.tasks.add(task)

    @asynccontextmanager
    async def stream(self, stream_id: str, *, begin: bool = True) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        async with self.session.ws_connect(f"{NODE_PATH}/streams", params={"id": stream_id}) as socket:
            await socket.receive_str(timeout=20)
            if begin:
                await socket.send_str(line.encode_answer(None, {}))
            yield socket


@pytest.fixture
async def make_hostile(api_server, make_node, client) -> AsyncIterator[Callable[..., Awaitable[Node]]]:
    """Make a node, bind a Pod to it, and open its line."""
    closing: list[Any] = []

    async def make(dialled: Callable[[Node, str], Awaitable[None]]) -> Node:
        await make_node("node1")
        body = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"containers": [{"name": "main", "image": "x"}]}}
        made = await client.create(pod.Pod.model_validate(body))
        await client.bind("web", "default", "node1", uid=made.uid)
        session = api_server.session("node1-token")
        node = Node(session, dialled)
        socket = await session.ws_connect(f"{NODE_PATH}/line")
        closing.extend([session, socket, node, asyncio.ensure_future(node.serve(socket))])
        await eventually(lambda: "node1" in api_server.api.lines)
        return node

    yield make
    if closing:
        session, socket, node, task = closing
        await socket.close()
        await asyncio.wait({task}, timeout=10)
        for each in node.tasks:
            each.cancel()
        await asyncio.gather(*node.tasks, return_exceptions=True)
        await session.close()


@pytest.fixture
async def admin(api_server) -> AsyncIterator[aiohttp.ClientSession]:
    async with api_server.session() as session:
        yield session


def framed(data: bytes, stamp: bytes = TIME) -> bytes:
    text = stamp + b" " + data
    return b"\1\1\0\0\0" + len(text).to_bytes(4, "big") + text


async def status_of(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    async with asyncio.timeout(30):
        async for message in socket:
            if message.data[0] == line.STATUS:
                return dict(json.loads(message.data[1:]))
    raise AssertionError("no status")


async def test_a_stream_that_was_not_asked_for_is_refused(api_server, make_hostile) -> None:
    async def nothing(_node: Node, _stream: str) -> None:
        return

    await make_hostile(nothing)
    async with api_server.session("node1-token") as session:
        for stream_id in ("x", f"{api_server.api.desk.server_id}.guessed", "other-server.guessed"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await session.ws_connect(f"{NODE_PATH}/streams", params={"id": stream_id})
            assert caught.value.status == 404


async def test_another_node_cannot_take_a_stream(api_server, make_hostile, make_node, admin) -> None:
    asked: asyncio.Queue[str] = asyncio.Queue()

    async def tell(node: Node, stream_id: str) -> None:
        await asked.put(stream_id)
        async with api_server.session("node2-token") as thief:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await thief.ws_connect("/api/v1/nodes/node2/streams", params={"id": stream_id})
            assert caught.value.status == 404
        async with node.stream(stream_id) as socket:
            await socket.send_bytes(framed(b"mine\n"))
            await socket.send_bytes(b'\3{"status":"Success"}')
            await socket.receive()

    await make_hostile(tell)
    await make_node("node2")
    async with asyncio.timeout(30), admin.get(LOG) as answer:
        assert await answer.text() == "mine\n"
    assert asked.qsize() == 1


async def test_an_id_opens_one_stream(api_server, make_hostile, admin) -> None:
    ids: list[str] = []

    async def twice(node: Node, stream_id: str) -> None:
        ids.append(stream_id)
        async with node.stream(stream_id) as socket:
            await socket.send_bytes(b'\3{"status":"Success"}')
            await socket.receive()

    node = await make_hostile(twice)
    async with asyncio.timeout(30), admin.get(LOG) as answer:
        assert await answer.text() == ""
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await node.session.ws_connect(f"{NODE_PATH}/streams", params={"id": ids[0]})
    assert caught.value.status == 404


@pytest.mark.parametrize("garbage", ["text", b"", b"\1" + b"x" * 300_000], ids=["text", "empty", "oversized"])
async def test_garbage_on_a_stream_ends_that_stream(api_server, make_hostile, admin, garbage: str | bytes) -> None:
    async def send(node: Node, stream_id: str) -> None:
        async with node.stream(stream_id) as socket:
            await (socket.send_str(garbage) if isinstance(garbage, str) else socket.send_bytes(garbage))
            await socket.receive()

    await make_hostile(send)
    async with admin.ws_connect(EXEC, protocols=[V5]) as socket:
        status = await status_of(socket)
    assert "the stream to the node node1 broke" in status["message"]
    await eventually(lambda: api_server.api.desk.open_streams == 0, 20)


@pytest.mark.parametrize("answer", ["no json", "[]", '{"neither": 1}', b"\1binary"], ids=["text", "list", "neither", "binary"])
async def test_garbage_instead_of_an_answer_is_an_error_at_once(api_server, make_hostile, admin, answer: str | bytes) -> None:
    async def send(node: Node, stream_id: str) -> None:
        async with node.stream(stream_id, begin=False) as socket:
            await (socket.send_str(answer) if isinstance(answer, str) else socket.send_bytes(answer))
            await socket.receive()

    await make_hostile(send)
    async with asyncio.timeout(30), admin.get(LOG) as response:
        assert response.status == 503
    assert api_server.api.desk.open_streams == 0


async def test_an_agent_s_error_is_told_as_it_is(make_hostile, admin) -> None:
    async def refuse(node: Node, stream_id: str) -> None:
        async with node.stream(stream_id, begin=False) as socket:
            status = {"kind": "Status", "code": 400, "reason": "BadRequest", "message": "container is waiting"}
            await socket.send_str(json.dumps({"error": status}))

    await make_hostile(refuse)
    async with asyncio.timeout(30), admin.get(LOG) as response:
        assert (response.status, (await response.json())["message"]) == (400, "container is waiting")


async def test_a_client_that_does_not_read_slows_its_own_stream_alone(api_server, make_hostile, admin) -> None:
    sent = 0

    async def flood(node: Node, stream_id: str) -> None:
        nonlocal sent
        async with node.stream(stream_id) as socket:
            while True:
                await socket.send_bytes(b"\1" + b"x" * 65536)
                sent += 65536

    await make_hostile(flood)
    async with admin.ws_connect(EXEC, protocols=[V5]):

        async def stands() -> bool:
            before = sent
            await asyncio.sleep(0.5)  # noqa: TID251 - nothing may move meanwhile
            return before == sent > 0

        await eventually(stands, 30, "the flood to stand still")
        assert sent < 64 * 1024 * 1024  # the buffers of four sockets, and nothing else
        async with asyncio.timeout(10), admin.get("/readyz") as answer:
            assert answer.status == 200
        async with asyncio.timeout(10):
            await api_server.api.lines.ask("node1", {"kind": "x", "stream": "y"})
    await eventually(lambda: api_server.api.desk.open_streams == 0, 20)
