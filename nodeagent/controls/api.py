"""The local API: HTTP with JSON on a Unix socket, for the owner of the machine: ``lattice node …``, a desktop app, a rule in cron.

Whoever may open the socket (0600: the agent's own user, and root) may do all of it; there is no other check. Paths begin with the version.
What fails is answered with a Kubernetes Status, as by the API server. ``docs/reference/node-api.md`` has the paths; a test holds it to
:data:`ROUTES`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import orjson
from aiohttp import web

from lattice.api import errors

logger = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 64 * 1024
MAX_PATH_BYTES: Final = 107
"""Of a Unix socket's address (``sun_path``, with its ending zero)."""


class Controls(Protocol):
    """What the routes call. Bodies and answers are JSON objects; every method may raise a ``LatticeError``."""

    async def status(self) -> Mapping[str, Any]:
        """Return what runs here and what it uses."""
        ...

    async def settings(self) -> Mapping[str, Any]:
        """Return what the agent goes by, and who said it."""
        ...

    async def failures(self, query: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the records of failures."""
        ...

    async def pause(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Let nothing new start."""
        ...

    async def resume(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """End the pause."""
        ...

    async def prune_list(self) -> Mapping[str, Any]:
        """Return what the server does not know."""
        ...

    async def prune(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Remove it."""
        ...

    async def leave_list(self) -> Mapping[str, Any]:
        """Return what leaving would end."""
        ...

    def leave(self, body: Mapping[str, Any]) -> AsyncGenerator[str]:
        """Leave the cluster."""
        ...


ROUTES: Final[tuple[tuple[str, str, str], ...]] = (
    ("GET", "/v1/status", "status"),
    ("GET", "/v1/settings", "settings"),
    ("GET", "/v1/failures", "failures"),
    ("POST", "/v1/pause", "pause"),
    ("POST", "/v1/resume", "resume"),
    ("GET", "/v1/prune", "prune_list"),
    ("POST", "/v1/prune", "prune"),
    ("GET", "/v1/leave", "leave_list"),
    ("POST", "/v1/leave", "leave"),
)
"""Method, path, and what of :class:`Controls` answers it."""


@contextlib.contextmanager
def reachable(path: Path) -> Any:
    """Yield an address by which a Unix socket can be bound or dialled, however long its path is (Linux: by the directory's descriptor)."""
    if len(os.fsencode(path)) <= MAX_PATH_BYTES:
        yield str(path)
        return
    handle = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}/{path.name}"
    finally:
        os.close(handle)


class LocalApi:
    """Serves :class:`Controls` until :meth:`stop`."""

    def __init__(self, path: Path, controls: Controls) -> None:
        self._path = path
        self._controls = controls
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen. The agent holds the lock of its data directory, so a socket that is there is of an earlier life.

        Raises:
            errors.UsageError: the socket cannot be made there.
        """
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        for method, route, name in ROUTES:
            app.router.add_route(method, route, self._leave if (method, name) == ("POST", "leave") else self._handler(method, name))
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.SockSite(self._runner, _listen(self._path)).start()
        except OSError as error:
            await self.stop()
            raise errors.UsageError(f"cannot serve the local API at {self._path}: {error.strerror}; choose another --api-socket") from error

    async def stop(self) -> None:
        """Stop listening. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _handler(self, method: str, name: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                call = getattr(self._controls, name)
                if method == "POST":
                    answer = await call(await _body(request))
                elif name == "failures":
                    answer = await call(dict(request.query))
                else:
                    answer = await call()
                return _json(200, answer)
            except errors.LatticeError as error:
                return _refusal(error)

        return handle

    async def _leave(self, request: web.Request) -> web.StreamResponse:
        """Answer with one JSON object a line: ``{"line": …}`` for a step, at last ``{"done": true}`` or ``{"error": <Status>}``."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                lines = await stack.enter_async_context(contextlib.aclosing(self._controls.leave(await _body(request))))
                first = await anext(lines)
            except errors.LatticeError as error:
                return _refusal(error)
            response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
            await response.prepare(request)
            await response.write(orjson.dumps({"line": first}) + b"\n")
            try:
                async for line in lines:
                    await response.write(orjson.dumps({"line": line}) + b"\n")
                await response.write(orjson.dumps({"done": True}) + b"\n")
            except errors.LatticeError as error:
                await response.write(orjson.dumps({"error": _status(error)}) + b"\n")
            await response.write_eof()
            return response


def _listen(path: Path) -> socket.socket:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)  # readable and writable by the owner alone from its first moment
        try:
            with reachable(path) as address:
                made.bind(address)
        finally:
            os.umask(before)
        made.listen(16)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


async def _body(request: web.Request) -> Mapping[str, Any]:
    try:
        raw = await request.read()
        found = orjson.loads(raw) if raw.strip() else {}
    except (orjson.JSONDecodeError, web.HTTPRequestEntityTooLarge) as error:
        raise errors.BadRequestError("the body is no JSON object") from error
    if not isinstance(found, dict):
        raise errors.BadRequestError("the body is no JSON object")
    return found


def _json(code: int, answer: Mapping[str, Any]) -> web.Response:
    return web.Response(status=code, body=orjson.dumps(answer) + b"\n", content_type="application/json")


def _status(error: errors.LatticeError) -> dict[str, Any]:
    if not isinstance(error, errors.ApiError):
        error = errors.ServiceUnavailableError(str(error)[:4096])
    return error.to_status()


def _refusal(error: errors.LatticeError) -> web.Response:
    status = _status(error)
    return _json(int(status.get("code", 500)), status)
