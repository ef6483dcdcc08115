"""TCP connections from inside a container's network namespace, as kubelet makes them for port-forward. Used by ``docker_streams.py``.

A program that listens on its container's loopback alone is reached only so. Entering a namespace needs the right to (root on the machine
of the engine) and the container's first process under ``/proc``; whether that process really is the container's is read from its cgroup,
for an agent in a container of its own, or one whose engine is elsewhere, sees other processes under that number. Where it cannot be done,
the container's address is dialled.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import re
import socket
import threading
from pathlib import Path
from typing import Final

from nodeagent.runtime import base

_CLONE_NEWNET: Final = 0x40000000
_CONNECT_S: Final = 10.0
_READ_BYTES: Final = 64 * 1024


async def connect(pid: int, container_id: str, port: int, *, address: str, doing: str) -> TcpConnection:
    """Connect to ``port`` of the container whose first process is ``pid``.

    Raises:
        base.RuntimeFailedError: nothing listens there, or the container cannot be reached.
    """
    entered = await _enter_and_connect(pid, container_id, port, doing)
    if entered is not None:
        reader, writer = await asyncio.open_connection(sock=entered, limit=_READ_BYTES)
        return TcpConnection(reader, writer)
    if not address:
        raise base.RuntimeFailedError(f"cannot {doing}: the container has no address, and its network cannot be entered from here")
    try:
        async with asyncio.timeout(_CONNECT_S):
            reader, writer = await asyncio.open_connection(address, port, limit=_READ_BYTES)
    except (OSError, TimeoutError) as error:
        raise base.RuntimeFailedError(f"cannot {doing}: {_said(error)}") from error
    return TcpConnection(reader, writer)


async def _enter_and_connect(pid: int, container_id: str, port: int, doing: str) -> socket.socket | None:
    """Return a connected socket, ``None`` where the namespace cannot be entered."""
    try:
        handle = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY) if pid > 0 else -1
    except OSError:
        return None
    if handle < 0:
        return None
    try:
        if not _is_container(pid, container_id):
            return None
        made = await _socket_inside(handle)
    finally:
        os.close(handle)
    if made is None:
        return None
    loop = asyncio.get_running_loop()
    failure: Exception = ConnectionRefusedError(errno.ECONNREFUSED, "connection refused")
    try:
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            candidate = made.pop(family, None)
            if candidate is None:
                continue
            candidate.setblocking(False)
            try:
                async with asyncio.timeout(_CONNECT_S):
                    await loop.sock_connect(candidate, (host, port))
            except (OSError, TimeoutError) as error:
                candidate.close()
                failure = error if family == socket.AF_INET else failure
            except BaseException:
                candidate.close()
                raise
            else:
                return candidate
    finally:
        for left in made.values():
            left.close()
    raise base.RuntimeFailedError(f"cannot {doing}: {_said(failure)}") from failure


def _is_container(pid: int, container_id: str) -> bool:
    """Return whether a process is in the container's cgroup."""
    try:
        return re.search(re.escape(container_id), Path(f"/proc/{pid}/cgroup").read_text()) is not None
    except OSError:
        return False


async def _socket_inside(handle: int) -> dict[int, socket.socket] | None:
    """Return unconnected sockets that belong to a network namespace. A thread enters it and ends: nothing else of us ever runs in there."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[dict[int, socket.socket] | None] = loop.create_future()

    def tell(made: dict[int, socket.socket] | None) -> None:
        if not done.done():
            done.set_result(made)
        elif made:
            for each in made.values():
                each.close()

    def enter() -> None:
        made: dict[int, socket.socket] | None = None
        library = ctypes.CDLL(None, use_errno=True)
        if library.setns(handle, _CLONE_NEWNET) == 0:
            made = {}
            for family in (socket.AF_INET, socket.AF_INET6):
                with contextlib.suppress(OSError):
                    made[family] = socket.socket(family, socket.SOCK_STREAM)
        loop.call_soon_threadsafe(tell, made)

    thread = threading.Thread(target=enter, name="namespace", daemon=True)
    thread.start()
    try:
        return await asyncio.shield(done)
    finally:
        thread.join()  # it does three system calls; the handle must stay open until then


def _said(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {_CONNECT_S:g} s"
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number).lower() if number else str(error)


class TcpConnection:
    """Implements ``streams.Connection``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """See ``Connection``."""
        try:
            return await self._reader.read(_READ_BYTES)
        except OSError:
            return b""  # reset: nothing more comes

    async def write(self, data: bytes) -> None:
        """See ``Connection``."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise base.RuntimeFailedError(f"the connection broke: {_said(error)}") from error

    async def close_output(self) -> None:
        """See ``Connection``."""
        with contextlib.suppress(OSError, RuntimeError):
            if self._writer.can_write_eof():
                self._writer.write_eof()

    async def close(self) -> None:
        """See ``Connection``."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
