"""A client of the local API of this machine's agent, for the verbs of ``lattice node``. The API is ``nodeagent.controls.api``."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from lattice.api import errors

_MAX_PATH_BYTES = 107
_CONNECT_S = 5.0
_ANSWER_S = 120.0
"""A prune stops containers one after the other, ten seconds each at the most."""


class LocalAgent:
    """Asks the agent behind one socket."""

    def __init__(self, session: aiohttp.ClientSession, path: Path) -> None:
        self._session = session
        self._path = path

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the agent's answer.

        Raises:
            errors.ApiError: it refuses.
            errors.UnavailableError: no agent answers.
        """
        async with self._send(method, path, body, timeout_s=_ANSWER_S) as answer:
            return await _read(answer)

    async def lines(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[str]:
        """Yield the lines of an answer that comes step by step.

        Raises:
            errors.ApiError: it refuses, or a step failed.
            errors.UnavailableError: no agent answers, or it ended on the way.
        """
        async with self._send("POST", path, body, timeout_s=None) as answer:
            if answer.content_type != "application/x-ndjson":
                await _read(answer)
                return
            async for raw in answer.content:
                message = orjson.loads(raw)
                if "error" in message:
                    raise errors.from_status(message["error"])
                if message.get("done"):
                    return
                yield str(message["line"])
            raise errors.UnavailableError("the agent ended before it was done; `lattice node status` shows how far it came")

    @asynccontextmanager
    async def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, *, timeout_s: float | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        data = None if body is None else orjson.dumps(dict(body))
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_S)
        try:
            async with self._session.request(method, f"http://agent{path}", data=data, timeout=timeout) as answer:
                yield answer
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, PermissionError):
                raise errors.UsageError(f"{self._path} belongs to another user: ask as that user, or as root") from error
            raise errors.UnavailableError(
                f"no agent answers at {self._path}: start it with `lattice node`, or say its --data-dir or --api-socket"
            ) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise errors.UnavailableError(f"the agent at {self._path} did not answer: {str(error) or 'too slow'}") from error


@asynccontextmanager
async def connect(path: Path) -> AsyncIterator[LocalAgent]:
    """Open a client for the agent behind a socket, however long the socket's path is."""
    handle = -1
    address = str(path)
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        try:
            handle = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise errors.UnavailableError(f"no agent answers at {path}: {error.strerror}") from error
        address = f"/proc/self/fd/{handle}/{path.name}"
    try:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=address)) as session:
            yield LocalAgent(session, path)
    finally:
        if handle >= 0:
            os.close(handle)


async def _read(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    try:
        found = orjson.loads(await answer.read())
    except orjson.JSONDecodeError as error:
        raise errors.UnavailableError(f"what answers there is no agent of Lattice (status {answer.status})") from error
    if answer.status >= 400:
        raise errors.from_status(found, code=answer.status)
    result: dict[str, Any] = found
    return result
