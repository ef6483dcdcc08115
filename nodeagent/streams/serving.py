"""What the node does on an open stream: send a log, join a program's streams, join a port. One coroutine each.

Each first makes sure that what is asked can be done, and only then calls ``begin``; errors before that are told to the server as the
answer. Messages are those of ``lattice.api.line``. A log's entries travel as Docker frames them: a byte for the channel, three zeros, four
bytes for the length, the time, a blank, the data; as many in one message as there are.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final

import orjson

from lattice.api import errors, line
from lattice.client.sockets import Socket
from nodeagent.runtime import base, streams

logger = logging.getLogger(__name__)

Begin = Callable[[], Awaitable[None]]

_MESSAGE_BYTES: Final = 128 * 1024
_PIECE_BYTES: Final = 32 * 1024
SUCCESS: Final = b'{"metadata":{},"status":"Success"}'


async def send_log(runtime: base.Runtime, container: base.Container, query: streams.LogQuery, socket: Socket, begin: Begin) -> None:
    """Send a log to its end. When the engine goes away the stream ends without a status: the server asks again."""
    async with aclosing(runtime.follow_logs(container.id, query)) as batches:
        await begin()
        async for entries in batches:
            message = bytearray((line.STDOUT,))
            for entry in entries:
                text = entry.time.encode() + b" " + entry.data
                message += bytes((entry.channel, 0, 0, 0)) + len(text).to_bytes(4, "big") + text
                if len(message) >= _MESSAGE_BYTES:
                    await socket.send(bytes(message))
                    message = bytearray((line.STDOUT,))
            if len(message) > 1:
                await socket.send(bytes(message))
    await _send_end(socket, SUCCESS)


async def join_process(process: streams.Process, socket: Socket) -> None:
    """Join a program's streams with the socket until its output ends; then say how it ended."""
    try:
        async with asyncio.TaskGroup() as group:
            feeding = group.create_task(_feed(process, socket))
            while (piece := await process.read()) is not None:
                channel, data = piece
                kind = line.STDERR if channel == streams.STDERR else line.STDOUT
                for start in range(0, len(data), _PIECE_BYTES):
                    await socket.send(bytes((kind,)) + data[start : start + _PIECE_BYTES])
            code = await process.exit_code()
            feeding.cancel()
        await _send_end(socket, _ended(code))
    except* (_PeerGoneError, errors.UnavailableError):
        logger.debug("whoever looked at a program has gone")
    except* base.RuntimeUnavailableError as group_error:
        status = errors.InternalError(f"the engine went away: {group_error.exceptions[0]}"[:1024]).to_status()
        await _send_end(socket, orjson.dumps(status))
    finally:
        await process.close()


async def join_connection(connection: streams.Connection, socket: Socket) -> None:
    """Join a connection with the socket until both sides have ended what they send, or one is gone."""

    async def upload() -> None:
        while (message := await _message(socket)) is not None:
            if message[0] == line.CLOSE:
                await connection.close_output()
            elif message[0] == line.STDIN:
                await connection.write(message[1:])
        raise _PeerGoneError

    try:
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(upload())
            while data := await connection.read():
                for start in range(0, len(data), _PIECE_BYTES):
                    await socket.send(bytes((line.STDIN,)) + data[start : start + _PIECE_BYTES])
            sending.cancel()
        await _send_end(socket, SUCCESS)
    except* (_PeerGoneError, errors.UnavailableError):
        logger.debug("whoever used a port has gone")
    except* base.RuntimeFailedError as group_error:
        await _send_end(socket, orjson.dumps(errors.InternalError(str(group_error.exceptions[0])[:1024]).to_status()))
    finally:
        await connection.close()


class _PeerGoneError(Exception):
    """The server has closed the stream, or it broke."""


async def _message(socket: Socket) -> bytes | None:
    try:
        message = await socket.receive()
    except errors.UnavailableError:
        return None
    if isinstance(message, str) or (message is not None and not message):
        raise errors.UnavailableError("the server sent what is no message of a stream")
    return message


async def _feed(process: streams.Process, socket: Socket) -> None:
    while (message := await _message(socket)) is not None:
        match message[0]:
            case line.STDIN:
                try:
                    await process.write(message[1:])
                except errors.LatticeError:
                    continue  # it has closed its input, as `head` does; its output may go on
            case line.CLOSE if message[1:2] == bytes((line.STDIN,)):
                await process.close_input()
            case line.RESIZE:
                size = _size(message[1:])
                if size is not None:
                    await process.resize(width=size[0], height=size[1])
            case _:
                continue
    raise _PeerGoneError


def _size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a terminal, ``None`` for what is no size."""
    try:
        found: Mapping[str, Any] = orjson.loads(data)
        width, height = found["Width"], found["Height"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    good = all(isinstance(each, int) and not isinstance(each, bool) and 0 < each < 65536 for each in (width, height))
    return (width, height) if good else None


def _ended(code: int | None) -> bytes:
    """Return the Status of a program's end, as kubelet words it."""
    if not code:
        return SUCCESS
    return orjson.dumps(
        {
            "metadata": {},
            "status": "Failure",
            "message": f"command terminated with non-zero exit code: exit status {code}",
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
        }
    )


async def _send_end(socket: Socket, status: bytes) -> None:
    with contextlib.suppress(errors.UnavailableError):
        await socket.send(bytes((line.STATUS,)) + status)
