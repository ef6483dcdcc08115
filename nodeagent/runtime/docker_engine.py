"""Requests to a Docker engine: the one door to the Docker client library. Used by the parts of ``docker.py`` and by nothing else.

Requests go through aiodocker's connection handling; the calls are written out, because its typed layer merges log streams and hides status
codes. Guarantees: only the errors of ``base.py`` come out; every call has a deadline, except where the caller has set one; an engine that
restarts is reconnected to by the next call.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiodocker
import aiohttp
import orjson
from aiodocker.stream import Stream
from yarl import URL

from nodeagent.runtime import base, docker_errors

CALL_TIMEOUT_S: Final = 60.0
"""Starting a container on a busy two-core machine was measured at up to 4 s; a minute means that the engine hangs."""

_CONNECT_S: Final = 10.0


class DockerEngine:
    """A connection to an engine.

    Args:
        host: ``unix:///path`` or ``tcp://host:port``; ``None``: as the ``docker`` command would choose.
    """

    def __init__(self, host: str | None = None) -> None:
        self._docker = aiodocker.Docker(url=host)
        self._api_version: tuple[int, int] | None = None

    async def close(self) -> None:
        """Release connections. Idempotent."""
        await self._docker.close()

    async def api_version(self) -> tuple[int, int]:
        """Return the newest version of the API that the engine speaks, such as ``(1, 41)``. Asked once: an engine is not downgraded."""
        if self._api_version is None:
            answer = await self.json("version", doing="ask Docker for its version")
            major, _, minor = str(answer.get("ApiVersion", "1.24")).partition(".")
            self._api_version = (int(major), int(minor or 0))
        return self._api_version

    async def json(self, path: str, method: str = "GET", **options: Any) -> Any:
        """Send one request, see :meth:`read`, and return the parsed answer."""
        return orjson.loads(await self.read(path, method, **options))

    async def text(self, path: str, method: str = "GET", **options: Any) -> str:
        """Send one request, see :meth:`read`, and return the answer as text."""
        return (await self.read(path, method, **options)).decode(errors="replace")

    async def read(
        self,
        path: str,
        method: str = "GET",
        *,
        doing: str,
        params: Mapping[str, str] | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = CALL_TIMEOUT_S,
        limit_bytes: int | None = None,
    ) -> bytes:
        """Send one request and return the body, cut at ``limit_bytes``. ``timeout_s=None``: the caller has set a deadline."""
        async with (
            errors(doing, own_deadline=timeout_s is not None),
            asyncio.timeout(timeout_s),
            self._docker._query(path, method, params=dict(params) if params else None, data=data, headers=headers) as response,
        ):
            try:
                if limit_bytes is None:
                    return await response.read()
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) >= limit_bytes:
                        break
                return bytes(body)
            finally:
                response.release()

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        method: str = "GET",
        *,
        doing: str,
        params: Mapping[str, str] | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        pulling: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request whose answer is read as it comes; the caller sets the deadline. What fails while it is read is translated too.

        The connection is closed at the end, not kept: an answer without end cannot be read to its end.
        """
        async with (
            errors(doing, pulling=pulling, own_deadline=False),
            self._docker._query(path, method, params=dict(params) if params else None, data=data, headers=headers) as response,
        ):
            try:
                yield response
            finally:
                response.close()

    async def hijack(self, path: str, *, doing: str, data: bytes = b"", tty: bool) -> Hijacked:
        """Send a POST that makes the connection a raw one, as exec and attach do, and return it. Close it."""
        url = URL(path)

        async def setup() -> tuple[URL, bytes | None, bool]:
            return url, data or None, tty

        stream = Stream(self._docker, setup, aiohttp.ClientTimeout(connect=_CONNECT_S, sock_connect=_CONNECT_S))
        async with errors(doing):
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await stream._init()
        return Hijacked(stream, doing)


class Hijacked:
    """A raw connection to a program's streams."""

    def __init__(self, stream: Stream, doing: str) -> None:
        self._stream = stream
        self._doing = doing

    async def read(self) -> tuple[int, bytes] | None:
        """Return the next piece of output with its channel, ``None`` at the end."""
        async with errors(self._doing):
            message = await self._stream.read_out()
        return None if message is None else (message.stream, message.data)

    async def write(self, data: bytes) -> None:
        """Write to the program's input; waits while it does not read."""
        async with errors(self._doing):
            await self._stream.write_in(data)

    async def close_input(self) -> None:
        """End the program's input."""
        response = self._stream._resp
        transport = response.connection.transport if response is not None and response.connection is not None else None
        if transport is not None and not transport.is_closing() and transport.can_write_eof():
            transport.write_eof()

    async def close(self) -> None:
        """Close the connection. Idempotent."""
        response = self._stream._resp
        if response is not None and response.connection is None:  # it broke: the library would stumble over it
            self._stream._closed = True
            response.close()
            return
        with contextlib.suppress(aiohttp.ClientError, OSError, RuntimeError):
            await self._stream.close()


class errors:  # noqa: N801 - used like a function
    """``async with errors("start container x")``: what the client library raises becomes an error of ``base.py``."""

    def __init__(self, doing: str, *, pulling: bool = False, own_deadline: bool = True) -> None:
        self._doing = doing
        self._pulling = pulling
        self._own_deadline = own_deadline

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _traceback: object) -> None:
        match error:
            case aiodocker.DockerError():
                raise docker_errors.classify(error.status, str(error.message), doing=self._doing, pulling=self._pulling) from error
            case TimeoutError() if self._own_deadline:
                raise base.RuntimeUnavailableError(f"cannot {self._doing}: Docker did not answer in time") from error
            case aiohttp.ClientError() | OSError() if not isinstance(error, TimeoutError):
                raise base.RuntimeUnavailableError(f"cannot {self._doing}: {error}") from error
            case _:
                return


def filters(labels: Mapping[str, str]) -> str:
    """Return the ``filters`` parameter for labels; an empty value asks for the label's presence."""
    return orjson.dumps({"label": [f"{key}={value}" if value else key for key, value in sorted(labels.items())]}).decode()
