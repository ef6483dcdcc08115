"""Streams to nodes: this process asks the node to dial, and joins what comes with who waits for it.

``StreamDesk.open(node, question)`` returns a :class:`NodeStream` whose far end is ready, or raises what the agent says. The id of a
stream is a random secret, valid once, for a few seconds, and for the node that was asked. What a node dials ahead of time without an id
is kept warm here, so that the next stream costs no handshake.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from controller.relay.lines import NodeLines
from lattice.api import errors, line
from lattice.client.sockets import Socket

logger = logging.getLogger(__name__)

_DIAL_S: Final = 15.0
"""From asking a node to dial to its connection: name look-up, TCP and TLS over a slow line."""
_BEGIN_S: Final = 30.0
"""How long the agent may take to begin what it is asked: Docker makes an exec in 0.1 s when it is idle."""
_MAX_STREAMS: Final = 1024
"""Streams of this process."""
WARM: Final = 2
"""Connections of one node that are kept for its next streams."""
_ID_BYTES: Final = 24


class NodeStream:
    """An open stream: binary messages of ``lattice.api.line``'s channels. Close it."""

    def __init__(self, node: str, socket: Socket, done: asyncio.Event) -> None:
        self.node = node
        self._socket = socket
        self._done = done

    async def send(self, channel: int, data: bytes) -> None:
        """Send data to the node; waits while it does not keep pace. Raises ``errors.UnavailableError``."""
        await self._socket.send(bytes((channel,)) + data)

    async def send_raw(self, message: bytes) -> None:
        """Send a message that has its channel already."""
        await self._socket.send(message)

    async def receive(self) -> bytes | None:
        """Return the next message, its channel in front; ``None`` at the end.

        Raises:
            errors.UnavailableError: the stream broke, or the node sent what is no message.
        """
        message = await self._socket.receive()
        if message is None:
            return None
        if not isinstance(message, bytes) or not message:
            raise errors.UnavailableError(f"the node {self.node} sent what is no message of a stream")
        return message

    def release(self) -> None:
        """Let the stream go from where nothing can be waited for; its connection is closed soon."""
        self._done.set()

    async def close(self) -> None:
        """Let the stream go. Idempotent."""
        try:
            await self._socket.close()
        finally:
            self._done.set()


class _Dialled:
    """A node's connection while it is here."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.done = asyncio.Event()


class StreamDesk:
    """See the module's docstring."""

    def __init__(self, lines: NodeLines, server_id: str = "") -> None:
        self._lines = lines
        self.server_id = server_id
        """First part of the ids of streams that begin here: where a peer brings what a node has dialled to it."""
        self._expected: dict[str, tuple[str, asyncio.Future[_Dialled]]] = {}
        """Stream id to the node that may dial it and who waits."""
        self._warm: dict[str, deque[_Dialled]] = {}
        self._open: dict[NodeStream, None] = {}
        self._opening = 0

    @property
    def open_streams(self) -> int:
        """How many streams there are."""
        return sum(not stream._done.is_set() for stream in self._open) + self._opening

    async def open(self, node: str, question: Mapping[str, Any]) -> NodeStream:
        """Open a stream and let the agent begin what ``question`` asks.

        Raises:
            errors.ApiError: the node cannot be reached, or what the agent says.
        """
        self._forget_closed()
        if self.open_streams >= _MAX_STREAMS:
            raise errors.TooManyRequestsError(f"{_MAX_STREAMS} streams are open already; try again", details={"retryAfterSeconds": 1})
        self._opening += 1
        try:
            while True:
                dialled = self._take_warm(node)
                warm = dialled is not None
                dialled = dialled or await self._dial(node)
                try:
                    await self._begin(node, dialled.socket, question)
                except errors.UnavailableError as error:
                    await self._release(dialled)
                    if warm:  # it died while it was kept
                        continue
                    raise errors.ServiceUnavailableError(f"the stream to the node {node} broke before it began: {error}") from error
                except BaseException:
                    await self._release(dialled)
                    raise
                stream = NodeStream(node, dialled.socket, dialled.done)
                self._open[stream] = None
                return stream
        finally:
            self._opening -= 1

    async def take(self, node: str, stream_id: str, socket: Socket) -> None:
        """Take a connection that ``node`` has dialled, and return when it is not needed any more.

        Raises:
            errors.UnavailableError: the id is not one that this node was asked to dial.
        """
        dialled = _Dialled(socket)
        if stream_id:
            expected = self._expected.get(stream_id)
            if expected is None or expected[0] != node or expected[1].done():
                raise errors.UnavailableError(f"the node {node} dialled a stream that it was not asked for")
            expected[1].set_result(dialled)
        else:
            kept = self._warm.setdefault(node, deque())
            if len(kept) >= WARM:
                return
            kept.append(dialled)
        try:
            await dialled.done.wait()
        finally:
            self._unwarm(node, dialled)

    def expects(self, node: str, stream_id: str) -> bool:
        """Return whether this node was asked to dial this stream."""
        expected = self._expected.get(stream_id)
        return expected is not None and expected[0] == node

    async def stop(self) -> None:
        """End all streams."""
        for stream in tuple(self._open):
            await stream.close()
        for kept in tuple(self._warm.values()):
            for dialled in tuple(kept):
                await self._release(dialled)

    async def _dial(self, node: str) -> _Dialled:
        stream_id = f"{self.server_id}.{secrets.token_urlsafe(_ID_BYTES)}"
        arrived: asyncio.Future[_Dialled] = asyncio.get_running_loop().create_future()
        self._expected[stream_id] = (node, arrived)
        dialled: _Dialled | None = None
        try:
            async with asyncio.timeout(_DIAL_S):
                await self._lines.ask(node, {"kind": line.DIAL, "stream": stream_id})
                dialled = await arrived
                return dialled
        except TimeoutError:
            raise errors.TimeoutStatusError(f"the node {node} was asked for a stream and did not open one within {_DIAL_S:g} s") from None
        finally:
            del self._expected[stream_id]
            if dialled is None and arrived.done() and not arrived.cancelled():
                arrived.result().done.set()  # it came in the moment in which we gave up

    async def _begin(self, node: str, socket: Socket, question: Mapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(_BEGIN_S):
                await socket.send(line.encode_question(0, question))
                line.answer_of(line.parse(await socket.receive()))
        except TimeoutError:
            raise errors.TimeoutStatusError(f"the node {node} did not begin the stream within {_BEGIN_S:g} s; try again") from None
        except line.MessageError as error:
            raise errors.UnavailableError(str(error)) from error

    def _take_warm(self, node: str) -> _Dialled | None:
        kept = self._warm.get(node)
        return kept.popleft() if kept else None

    def _unwarm(self, node: str, dialled: _Dialled) -> None:
        kept = self._warm.get(node)
        if kept is not None and dialled in kept:
            kept.remove(dialled)
        if kept is not None and not kept:
            del self._warm[node]

    @staticmethod
    async def _release(dialled: _Dialled) -> None:
        try:
            await dialled.socket.close()
        finally:
            dialled.done.set()

    def _forget_closed(self) -> None:
        for stream in [stream for stream in self._open if stream._done.is_set()]:
            del self._open[stream]
