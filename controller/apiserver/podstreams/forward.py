"""port-forward: a client's SPDY/3.1 session inside a WebSocket; each connection in it becomes one stream to the node.

Kubernetes' protocol ``portforward.k8s.io``: for each connection the client opens two SPDY streams with the same ``requestID``, one of type
``error`` on which we say what went wrong, or nothing, and one of type ``data`` for the bytes. The same inside a WebSocket with the
sub-protocol ``SPDY/3.1+portforward.k8s.io``: its messages are pieces of one stream of bytes.

The session has no windows of its own (kubectl's library has none), so the bytes of a connection whose program does not read are kept up to
a bound, and then hold up the session; one that stands still for long is reset, for the others' sake.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from controller.apiserver.podstreams import programs
from controller.apiserver.podstreams.options import question_about
from controller.relay.desk import NodeStream, StreamDesk
from lattice.api import errors, line
from lattice.client.sockets import Socket
from lattice.machinery.clock import Clock
from lattice.machinery.spdy import codec
from lattice.machinery.tasks import TaskOwner, TimeLimit

logger = logging.getLogger(__name__)

PROTOCOLS: Final = ("SPDY/3.1+portforward.k8s.io",)
MAX_CONNECTIONS: Final = 64
"""In one session: as many as a node has streams."""
_KEPT_BYTES: Final = 1024 * 1024
_STUCK_S: Final = 60.0
_PIECE_BYTES: Final = 32 * 1024


@dataclass(slots=True)
class _Connection:
    """One forwarded connection."""

    port: int
    data_stream: int = 0
    error_stream: int = 0
    pieces: deque[bytes] = field(default_factory=deque)
    kept_bytes: int = 0
    ended: bool = False
    """The client sends nothing more."""
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    task: asyncio.Task[None] | None = None


class Session:
    """One client's session."""

    def __init__(self, client: Socket, desk: StreamDesk, clock: Clock, node: str, pod: Mapping[str, Any]) -> None:
        self._client = client
        self._desk = desk
        self._clock = clock
        self._node = node
        self._pod = pod
        self._writer = codec.Writer()
        self._sending = asyncio.Lock()
        self._by_request: dict[str, _Connection] = {}
        self._by_stream: dict[int, tuple[str, _Connection, bool]] = {}
        """Stream to its request, its connection, and whether it is the one for data."""
        self._tasks = TaskOwner("forward")
        self._last_stream = 0

    async def run(self) -> None:
        """Serve until the client goes away or breaks the protocol."""
        reader = codec.Reader()
        try:
            async with TimeLimit(self._clock, programs.IDLE_S) as limit:
                while (message := await self._client.receive()) is not None:
                    limit.touch()
                    if isinstance(message, str):
                        raise codec.SpdyError("a text message")  # noqa: TRY301 - answered below, as every other breach
                    for frame in reader.feed(message):
                        await self._on_frame(frame)
        except codec.SpdyError as error:
            logger.info("a port-forward is ended: it is no SPDY", extra={"error": str(error)[:200]})
            with contextlib.suppress(errors.UnavailableError):
                await self._send(codec.GoAway(self._last_stream))
        except TimeoutError:
            logger.info("an idle port-forward is ended")
        finally:
            await self._tasks.stop()

    async def _send(self, *frames: codec.Frame) -> None:
        async with self._sending:  # header blocks must leave in the order in which they are compressed
            await self._client.send(b"".join(self._writer.write(frame) for frame in frames))

    async def _on_frame(self, frame: codec.Frame) -> None:
        match frame:
            case codec.SynStream():
                await self._begin(frame)
            case codec.Data(stream, data, fin):
                await self._on_data(stream, data, fin)
            case codec.Headers(stream, _, fin):
                await self._on_data(stream, b"", fin)
            case codec.Reset(stream, _):
                if (known := self._by_stream.get(stream)) is not None:
                    self._drop(known[0])
            case codec.Ping(number):
                if number % 2:  # a client's own are odd
                    await self._send(frame)
            case _:
                return

    async def _begin(self, frame: codec.SynStream) -> None:
        if frame.stream % 2 == 0 or frame.stream <= self._last_stream:
            raise codec.SpdyError(f"the stream id {frame.stream} cannot be a client's next")
        self._last_stream = frame.stream
        kind, port, request = (frame.headers.get(name, "") for name in ("streamtype", "port", "requestid"))
        good = port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536
        if kind not in {"error", "data"} or not good:
            await self._send(codec.Reset(frame.stream, codec.PROTOCOL_ERROR))
            return
        # Clients of before 2015 send no requestID and rely on the order: error stream first, then data.
        key = request or f"#{frame.stream if kind == 'error' else frame.stream - 2}"
        connection = self._by_request.get(key)
        if connection is None:
            if len(self._by_request) >= MAX_CONNECTIONS:
                await self._send(codec.Reset(frame.stream, codec.REFUSED_STREAM))
                return
            connection = self._by_request[key] = _Connection(int(port))
        if (connection.data_stream if kind == "data" else connection.error_stream) or connection.port != int(port):
            await self._send(codec.Reset(frame.stream, codec.PROTOCOL_ERROR))
            return
        self._by_stream[frame.stream] = (key, connection, kind == "data")
        if kind == "data":
            connection.data_stream, connection.ended = frame.stream, frame.fin
        else:
            connection.error_stream = frame.stream
        await self._send(codec.SynReply(frame.stream))
        if connection.data_stream and connection.error_stream:
            connection.task = self._tasks.spawn(self._forward(key, connection), name=f"port-{port}")

    async def _on_data(self, stream: int, data: bytes, fin: bool) -> None:
        known = self._by_stream.get(stream)
        if known is None or not known[2]:
            return  # of a connection that has ended; nothing is said on a stream for errors
        key, connection, _ = known
        try:
            async with asyncio.timeout(_STUCK_S), connection.changed:
                await connection.changed.wait_for(lambda: connection.kept_bytes < _KEPT_BYTES or key not in self._by_request)
                if data:
                    connection.pieces.append(data)
                    connection.kept_bytes += len(data)
                connection.ended = connection.ended or fin
                connection.changed.notify_all()
        except TimeoutError:
            self._drop(key)
            await self._send(codec.Reset(stream, codec.CANCEL))

    def _drop(self, key: str) -> None:
        """Forget a connection, and end what it does."""
        connection = self._by_request.pop(key, None)
        if connection is None:
            return
        for stream in (connection.data_stream, connection.error_stream):
            self._by_stream.pop(stream, None)
        if connection.task is not None:
            connection.task.cancel()

    async def _forward(self, key: str, connection: _Connection) -> None:
        """Join one connection with a stream to the node, and say on its error stream what went wrong."""
        problem = ""
        try:
            stream = await self._desk.open(self._node, question_about(self._pod, line.FORWARD, "", port=connection.port))
            try:
                problem = await self._join(connection, stream)
            finally:
                await stream.close()
        except errors.ApiError as error:
            problem = error.message
        except errors.UnavailableError as error:
            problem = f"the stream to the node {self._node} broke: {error}"
        said = f"error forwarding port {connection.port} to pod {self._pod['metadata']['name']}: {problem}".encode() if problem else b""
        connection.task = None
        self._drop(key)
        with contextlib.suppress(errors.UnavailableError):
            await self._send(codec.Data(connection.error_stream, said, fin=True), codec.Data(connection.data_stream, b"", fin=True))

    async def _join(self, connection: _Connection, stream: NodeStream) -> str:
        """Pass bytes both ways until the node has ended what it sends; return what went wrong."""
        uploading = self._tasks.spawn(_upload(connection, stream), name="upload")
        try:
            while (message := await stream.receive()) is not None:
                if message[0] == line.STDIN:
                    data = message[1:]
                    for start in range(0, len(data), _PIECE_BYTES):
                        await self._send(codec.Data(connection.data_stream, data[start : start + _PIECE_BYTES]))
                elif message[0] == line.STATUS:
                    return "" if b'"Success"' in message else message[1:1025].decode(errors="replace")
            return f"the stream to the node {self._node} ended early"
        finally:
            uploading.cancel()


async def _upload(connection: _Connection, stream: NodeStream) -> None:
    with contextlib.suppress(errors.UnavailableError):  # the other direction says why
        while True:
            async with connection.changed:
                await connection.changed.wait_for(lambda: bool(connection.pieces) or connection.ended)
                piece = connection.pieces.popleft() if connection.pieces else None
                if piece is not None:
                    connection.kept_bytes -= len(piece)
                connection.changed.notify_all()
            if piece is None:
                await stream.send_raw(bytes((line.CLOSE, line.STDIN)))
                return
            for start in range(0, len(piece), _PIECE_BYTES):
                await stream.send(line.STDIN, piece[start : start + _PIECE_BYTES])
