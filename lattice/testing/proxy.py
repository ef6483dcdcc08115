"""A TCP proxy between a client and a server, whose line tests cut: as a NAT box that forgets, or a network that is away for a while.

async with Proxy("127.0.0.1", server_port) as proxy:
    ...                        # the client talks to proxy.port
    proxy.cut()                # every open connection breaks at once
    async with proxy.away():   # and for a while there is nobody to connect to
        ...
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Self


class Proxy:
    """Forwards connections until it is told to cut them.

    Args:
        host: where the server listens.
        port: where the server listens.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._refusing = False
        self.port = 0
        self.accepted = 0
        """Connections so far: a client that connects again raises it."""
        self.to_server_bytes = 0
        self.to_client_bytes = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._server is not None
        self._server.close()
        self._refusing = True
        self.cut()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> int:
        """Reset every open connection, in both directions; return how many there were."""
        for writer in self._open:
            writer.transport.abort()
        return len(self._open) // 2

    @contextlib.asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Cut everything and reset whoever connects, until the block ends."""
        self._refusing = True
        self.cut()
        try:
            yield
        finally:
            self._refusing = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        both = {writer}
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            both.add(far_writer)
            self._open |= both
            await asyncio.gather(_copy(reader, far_writer, self._count_sent), _copy(far_reader, writer, self._count_received))
        except OSError:  # the server is away
            return
        finally:
            self._open -= both
            self._serving.discard(task)
            for each in both:
                each.transport.abort()

    def _count_sent(self, size_bytes: int) -> None:
        self.to_server_bytes += size_bytes

    def _count_received(self, size_bytes: int) -> None:
        self.to_client_bytes += size_bytes


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], None]) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            count(len(data))
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
            return
    writer.transport.abort()
