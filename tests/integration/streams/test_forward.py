"""port-forward: SPDY inside a WebSocket, from a client to a port in a container of a real agent on a fake engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from lattice.machinery.spdy import codec
from lattice.testing.polling import eventually

PROTOCOL = "SPDY/3.1+portforward.k8s.io"


class Spdy:
    """A client of one session."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.writer = codec.Writer()
        self.reader = codec.Reader()
        self.frames: list[codec.Frame] = []

    async def send(self, *frames: codec.Frame) -> None:
        for frame in frames:
            await self.socket.send_bytes(self.writer.write(frame))

    async def open(self, request: int, port: int) -> int:
        """Open a connection and return its data stream."""
        error, data = 4 * request + 1, 4 * request + 3
        for stream, kind in ((error, "error"), (data, "data")):
            named = {"streamtype": kind, "port": str(port), "requestid": str(request)}
            await self.send(codec.SynStream(stream, named, fin=kind == "error"))
        return data

    async def until(self, wanted: Callable[[list[codec.Frame]], bool]) -> list[codec.Frame]:
        async with asyncio.timeout(30):
            while not wanted(self.frames):
                message = await self.socket.receive()
                assert message.type is aiohttp.WSMsgType.BINARY, message
                self.frames += self.reader.feed(message.data)
        return self.frames

    def received(self, stream: int) -> bytes:
        return b"".join(frame.data for frame in self.frames if isinstance(frame, codec.Data) and frame.stream == stream)

    def ended(self, stream: int) -> bool:
        return any(isinstance(frame, codec.Data) and frame.stream == stream and frame.fin for frame in self.frames)


@pytest.fixture
async def session(world: Any, admin: aiohttp.ClientSession):
    world.runtime.listening[80] = lambda sent: sent.upper()
    await world.run_pod()
    async with admin.ws_connect("/api/v1/namespaces/default/pods/web/portforward", protocols=[PROTOCOL]) as socket:
        assert socket.protocol == PROTOCOL
        yield Spdy(socket)


async def test_bytes_go_both_ways_until_one_side_ends(session: Spdy) -> None:
    stream = await session.open(0, 80)
    await session.send(codec.Data(stream, b"hello"))
    await session.until(lambda _frames: session.received(stream) == b"HELLO")
    await session.send(codec.Data(stream, b"", fin=True))
    await session.until(lambda _frames: session.ended(stream) and session.ended(stream - 2))
    assert session.received(stream - 2) == b""  # no error


async def test_many_connections_share_a_session(session: Spdy, world: Any) -> None:
    opened = [await session.open(number, 80) for number in range(20)]
    for number, stream in enumerate(opened):
        await session.send(codec.Data(stream, f"c{number}".encode() * 1000, fin=True))
    await session.until(lambda _frames: all(session.ended(stream) for stream in opened))
    for number, stream in enumerate(opened):
        assert session.received(stream) == f"C{number}".encode() * 1000
    await eventually(lambda: world.server.api.desk.open_streams == 0, 20)


async def test_a_port_on_which_nothing_listens_is_told_and_harms_no_other(session: Spdy) -> None:
    good, bad = await session.open(0, 80), await session.open(1, 81)
    await session.until(lambda _frames: session.ended(bad))
    assert b"error forwarding port 81 to pod web" in session.received(bad - 2)
    assert b"connection refused" in session.received(bad - 2)
    await session.send(codec.Data(good, b"x"))
    await session.until(lambda _frames: session.received(good) == b"X")


async def test_a_reset_frees_the_stream(session: Spdy, world: Any) -> None:
    stream = await session.open(0, 80)
    await eventually(lambda: world.server.api.desk.open_streams == 1, 20)
    await session.send(codec.Reset(stream, codec.CANCEL))
    await eventually(lambda: world.server.api.desk.open_streams == 0, 20)


async def test_a_client_that_goes_frees_everything(session: Spdy, world: Any) -> None:
    for number in range(5):
        await session.open(number, 80)
    await eventually(lambda: world.server.api.desk.open_streams == 5, 20)
    await session.socket.close()
    await eventually(lambda: world.server.api.desk.open_streams == 0, 20)


async def test_a_ping_is_answered(session: Spdy) -> None:
    await session.send(codec.Ping(7))
    await session.until(lambda frames: codec.Ping(7) in frames)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"streamtype": "data", "port": "0"},
        {"streamtype": "data", "port": "70000"},
        {"streamtype": "data", "port": "80x"},
        {"streamtype": "other", "port": "80"},
    ],
)
async def test_a_stream_that_makes_no_sense_is_reset(session: Spdy, headers: dict[str, str]) -> None:
    await session.send(codec.SynStream(1, headers))
    await session.until(lambda frames: codec.Reset(1, codec.PROTOCOL_ERROR) in frames)


async def text(session: Spdy) -> None:
    await session.socket.send_str("text")


async def garbage(session: Spdy) -> None:
    await session.socket.send_bytes(b"\xff" * 64)


async def oversized(session: Spdy) -> None:
    await session.socket.send_bytes(b"\0\0\0\1\0\xff\xff\xff")


async def even_stream(session: Spdy) -> None:
    await session.send(codec.SynStream(2, {"streamtype": "data", "port": "80"}))


async def stream_of_the_past(session: Spdy) -> None:
    await session.open(1, 80)
    await session.send(codec.SynStream(1, {"streamtype": "data", "port": "80"}))


@pytest.mark.parametrize("breach", [text, garbage, oversized, even_stream, stream_of_the_past])
async def test_who_breaks_the_protocol_is_told_to_go(session: Spdy, world: Any, breach: Callable[[Spdy], Awaitable[None]]) -> None:
    await breach(session)
    await session.until(lambda frames: any(isinstance(frame, codec.GoAway) for frame in frames))
    await eventually(lambda: world.server.api.desk.open_streams == 0, 20)


async def test_more_connections_than_a_session_takes_are_refused(session: Spdy) -> None:
    for number in range(65):
        await session.send(codec.SynStream(2 * number + 1, {"streamtype": "error", "port": "80", "requestid": str(number)}))
    await session.until(lambda frames: codec.Reset(129, codec.REFUSED_STREAM) in frames)
