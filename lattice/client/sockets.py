"""Message sockets: WebSockets as the rest of Lattice sees them, and pairs in memory for both ends in one process.

A :class:`Socket` carries whole messages both ways, in order. One task reads it and one writes it; ``send`` waits while the other end
does not keep pace, so a relay that awaits each ``send`` before the next ``receive`` is bounded and passes the pressure on.
No exception of a library leaves this module: a connection that breaks is an :class:`~lattice.api.errors.UnavailableError`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from typing import Final, Protocol

import aiohttp
from aiohttp import web

from lattice.api import errors

LINE_MESSAGE_BYTES: Final = 1024 * 1024
"""Largest message of a node's control line."""
STREAM_MESSAGE_BYTES: Final = 256 * 1024
"""Largest message of a stream: kubectl, Docker and we send at most 32 KiB at a time."""
CLOSE_S: Final = 5.0
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""The kernel finds a dead peer within 45 s. Unlike WebSocket pings that also works while nobody reads, as behind a paused ``less``."""
_MEMORY_MESSAGES: Final = 16


class Socket(Protocol):
    """See the module's docstring."""

    async def send(self, message: bytes | str) -> None:
        """Send one message.

        Raises:
            errors.UnavailableError: the connection is closed or broke.
        """
        ...

    async def receive(self) -> bytes | str | None:
        """Return the next message; ``None``: the other end has closed in order.

        Raises:
            errors.UnavailableError: the connection broke, or the other end broke the protocol (such as a message that is too large).
        """
        ...

    async def close(self) -> None:
        """Close in order; bounded in time. Idempotent."""
        ...


class WebSocket:
    """A connection of aiohttp's, of a client or of a server, as a :class:`Socket`."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse | web.WebSocketResponse) -> None:
        self._connection = connection

    async def send(self, message: bytes | str) -> None:
        """See :class:`Socket`."""
        try:
            if isinstance(message, str):
                await self._connection.send_str(message)
            else:
                await self._connection.send_bytes(message)
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            raise errors.UnavailableError(f"the connection is closed: {error}") from error

    async def receive(self) -> bytes | str | None:
        """See :class:`Socket`."""
        try:
            message = await self._connection.receive()
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            raise errors.UnavailableError(f"the connection broke: {error}") from error
        match message.type:
            case aiohttp.WSMsgType.BINARY | aiohttp.WSMsgType.TEXT:
                data: bytes | str = message.data
                return data
            case aiohttp.WSMsgType.ERROR:
                raise errors.UnavailableError(f"the connection broke: {message.data}")
            case _:
                if self._connection.close_code in (aiohttp.WSCloseCode.OK, aiohttp.WSCloseCode.GOING_AWAY):
                    return None
                raise errors.UnavailableError(f"the connection broke (close code {self._connection.close_code})")

    async def close(self) -> None:
        """See :class:`Socket`."""
        with contextlib.suppress(aiohttp.ClientError, OSError, RuntimeError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._connection.close()


def keep_alive(transport: asyncio.BaseTransport | None) -> None:
    """Let the kernel find out when the other end of a TCP connection is dead. Does nothing for other transports."""
    found = None if transport is None else transport.get_extra_info("socket")
    if found is None or found.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with contextlib.suppress(OSError):
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if (option := getattr(socket, name, None)) is not None:
                found.setsockopt(socket.IPPROTO_TCP, option, value)


class _Pipe:
    """One direction of a connection in memory."""

    def __init__(self) -> None:
        self._messages: deque[bytes | str] = deque()
        self._changed = asyncio.Condition()
        self._closed = False

    async def put(self, message: bytes | str) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or len(self._messages) < _MEMORY_MESSAGES)
            if self._closed:
                raise errors.UnavailableError("the connection is closed")
            self._messages.append(message)
            self._changed.notify_all()

    async def get(self) -> bytes | str | None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or bool(self._messages))
            message = self._messages.popleft() if self._messages else None
            self._changed.notify_all()
            return message

    async def close(self) -> None:
        async with self._changed:
            self._closed = True
            self._changed.notify_all()


class _MemorySocket:
    """One end of a pair in memory."""

    def __init__(self, inbox: _Pipe, outbox: _Pipe) -> None:
        self._inbox = inbox
        self._outbox = outbox

    async def send(self, message: bytes | str) -> None:
        """See :class:`Socket`."""
        await self._outbox.put(message)

    async def receive(self) -> bytes | str | None:
        """See :class:`Socket`."""
        return await self._inbox.get()

    async def close(self) -> None:
        """See :class:`Socket`."""
        await self._outbox.close()
        await self._inbox.close()


def memory_pair() -> tuple[Socket, Socket]:
    """Return the two ends of a connection inside this process."""
    there, back = _Pipe(), _Pipe()
    return _MemorySocket(back, there), _MemorySocket(there, back)
