"""The HTTP shell: TLS, HTTP/1.1, limits, compression, chunked watches. aiohttp stays in here.

``HttpServer(api).start(host, port, ssl_context)``; the port is known afterwards (0 picks one). Everything that a request means is
decided by :class:`controller.apiserver.server.ApiServer`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import ssl
import uuid
from collections.abc import Iterable
from typing import Any, Final

from aiohttp import http_exceptions, web, web_protocol
from multidict import CIMultiDict

from controller.apiserver import compression, websocket
from controller.apiserver.limits import Connections, Limits, Work, fitted
from controller.apiserver.request import ANONYMOUS, Answer, ApiRequest, ApiResponse, ApiStream, ApiUpgrade, error_response, is_upgrade
from controller.apiserver.server import ApiServer
from lattice.api import errors
from lattice.machinery.tasks import TaskOwner

logger = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 3 * 1024 * 1024
"""Largest request body, as kube-apiserver's."""
_GZIP_FROM_BYTES: Final = 128 * 1024
_SLICE_BYTES: Final = 128 * 1024
"""A large body is handed to the connection in slices of this size, each when the last has left: what is encrypted and not yet sent stays
small (a connection never gives the memory of its largest write back), and a reader that stands still is found out."""
_STALL_S: Final = 60.0
"""How long a reader may take for a slice, or for what a watch has for it."""
_AT_ONCE: Final = contextlib.nullcontext()
_SHUTDOWN_S: Final = 5.0
_BACKLOG: Final = 1024
_HANDSHAKE_S: Final = 10.0
"""How long a connection may take for TLS. Until then it holds a file and is not counted among the strangers."""
_MAX_HEADER_BYTES: Final = 32 * 1024
_IDLE_S: Final = 120.0
"""How long a connection may take for the head of its next request. Above the 90 s after which Go's clients close idle ones themselves."""
_BODY_WITHIN_S: Final = 60.0
"""How long a request may take to send its body."""


class _NoForeignBytes(logging.Filter):
    """Drops what aiohttp logs about bytes that are not HTTP: it quotes them, so a damaged Authorization header would show its token."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep everything else."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, http_exceptions.HttpProcessingError):
            return True
        logger.debug("a request was not HTTP", extra={"error": type(error).__name__})
        return False


_protocol_logger = logging.getLogger(f"{__name__}.protocol")
_protocol_logger.addFilter(_NoForeignBytes())


class _Connection(web.RequestHandler):
    """aiohttp's connection, which tells the reader of a body that the rest of it will not come.

    A segment that is no HTTP is queued by aiohttp as the next request, to be answered after the present one; which waits for its body
    meanwhile, if the segment was meant to be part of that.
    """

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        super().data_received(data)
        if self._messages and isinstance(self._messages[-1][0], web_protocol._ErrInfo) and self._current_request is not None:
            self._current_request.content.set_exception(self._messages[-1][0].exc)


class _Server(web.Server):
    """aiohttp's connection factory, which counts."""

    def __init__(self, connections: Connections, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._counted = connections

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._counted.opened(handler, transport.abort)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._counted.closed(handler)


class HttpServer:
    """Serves an :class:`ApiServer` over HTTP.

    Args:
        api: what answers.
        limits: how much is taken on at once; connections are fewer where the process may not open as many files.
    """

    def __init__(self, api: ApiServer, limits: Limits | None = None) -> None:
        self._api = api
        self._tasks = TaskOwner("http")
        self._audit = str(uuid.uuid4()).rpartition("-")[0]  # the rest counts: a new UUID for each answer would be 2 % of a read
        self._answered = itertools.count()
        limits = fitted(limits or Limits())
        self.connections = Connections(limits)
        self.work = Work(limits)
        self._server = _Server(
            self.connections,
            self._handle,
            access_log=None,
            logger=_protocol_logger,
            auto_decompress=False,  # no request has to be compressed, and a small one must not grow
            keepalive_timeout=_IDLE_S,
            handler_cancellation=True,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
        )
        self._runner = web.ServerRunner(self._server, shutdown_timeout=_SHUTDOWN_S)
        self._listener: asyncio.Server | None = None
        self._own: asyncio.Server | None = None
        self.port = 0

    async def start(self, host: str, port: int, ssl_context: ssl.SSLContext | None, *, share: bool = False) -> None:
        """Listen. ``share``: other processes of this control plane may listen at the same address.

        Raises:
            OSError: the address is taken or not ours.
        """
        await self._runner.setup()
        self._listener = await asyncio.get_running_loop().create_server(
            self._server,
            host,
            port,
            ssl=ssl_context,
            backlog=_BACKLOG,
            reuse_port=share,
            ssl_handshake_timeout=_HANDSHAKE_S if ssl_context else None,
        )
        self.port = self._listener.sockets[0].getsockname()[1]
        logger.info("listening", extra={"host": host, "port": self.port, "tls": ssl_context is not None})

    async def listen_alone(self, host: str, ssl_context: ssl.SSLContext | None) -> int:
        """Listen at a port that is this process's own, besides the one that it shares, and return it."""
        self._own = await asyncio.get_running_loop().create_server(
            self._server, host, 0, ssl=ssl_context, backlog=_BACKLOG, ssl_handshake_timeout=_HANDSHAKE_S if ssl_context else None
        )
        port: int = self._own.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Stop accepting, then close what is open. End the watches (``ApiServer.stop``) first."""
        for listener in (self._listener, self._own):
            if listener is not None:
                listener.close()
        await self._runner.cleanup()
        await self._tasks.stop()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        stream: ApiStream | ApiUpgrade
        # Of a header that comes twice the first counts, as in Go: a proxy in front must not judge by another than we do.
        headers = {name.lower(): value for name, value in reversed(list(request.headers.items()))}
        try:
            self.work.begin()
            try:
                if is_upgrade(headers):
                    headers = websocket.with_token(headers)
                answer = await self._answer(request, headers)
                if isinstance(answer, ApiResponse):
                    return await self._whole(request, answer)
                stream = answer
            finally:
                self.work.end()
        except errors.ApiError as error:
            # Refused before the request was taken on. Its body, if it has one, is not read: the connection cannot go on.
            refusal = error_response(error)
            refusal.headers.update(self._api.identity_headers())
            response = await self._whole(request, refusal)
            if request.body_exists:
                response.force_close()
            return response
        try:
            if isinstance(stream, ApiUpgrade):
                return await websocket.upgrade(request, stream)
            if request.method == "HEAD":  # the same headers, and nothing that could pass for the next answer on this connection
                return web.Response(status=stream.status, headers=self._headers(stream))
            if is_upgrade(headers):
                return await websocket.serve(request, stream, headers)
            return await self._stream(request, stream)
        finally:
            stream.close()

    async def _answer(self, request: web.BaseRequest, headers: dict[str, str]) -> Answer:
        if "impersonate-group" in headers:  # the one header that comes several times
            headers["impersonate-group"] = ",".join(request.headers.getall("Impersonate-Group"))
        url = request.rel_url
        asked = ApiRequest(request.method, url.raw_path, dict(request.query), headers, raw_query=url.raw_query_string)
        taken = 0
        try:
            if "#" in request.raw_path:
                # No client sends a fragment. Dropped silently, as URL libraries do, it would turn a path to "#x" into its collection.
                raise errors.BadRequestError("the path has a '#', which must be written as %23")
            if request.body_exists:
                self._api.identify(asked)  # who may not do this does not get to fill memory with a body
                asked.body = await self._read(request)
                taken = len(asked.body)
            # A client that goes away ends its watch at once, but never cancels a write that has begun.
            work = self._api.handle(asked)
            reading = request.method in {"GET", "HEAD"}
            return await (work if reading else asyncio.shield(self._tasks.spawn(work, name="request")))
        finally:
            self.work.take(-taken)
            if asked.user is not None and asked.user is not ANONYMOUS:
                self.connections.authenticated(request.protocol)

    async def _read(self, request: web.BaseRequest) -> bytes:
        """Return the body, which stays counted among the bytes in work."""
        too_large = errors.TooLargeError(f"Request entity too large: limit is {MAX_BODY_BYTES}")
        if request.content_length is not None and request.content_length > MAX_BODY_BYTES:
            raise too_large
        if request.content.is_eof():  # it came with the head, as small ones do: nothing to wait for
            body = request.content.read_nowait()
            self.work.take(len(body))
            return body
        chunks, size = [], 0
        try:
            async with asyncio.timeout(_BODY_WITHIN_S):
                async for chunk in request.content.iter_any():
                    self.work.take(len(chunk))
                    size += len(chunk)
                    chunks.append(chunk)
                    if size > MAX_BODY_BYTES:
                        break
        except http_exceptions.HttpProcessingError as error:
            self.work.take(-size)
            raise errors.BadRequestError("the body of the request is no correct HTTP") from error
        except TimeoutError:
            self.work.take(-size)
            message = f"the body of the request did not arrive within {_BODY_WITHIN_S:.0f} s: send it again"
            raise errors.BadRequestError(message, code=408, reason="RequestTimeout") from None
        except BaseException:
            self.work.take(-size)
            raise
        if size > MAX_BODY_BYTES:
            self.work.take(-size)
            raise too_large
        return b"".join(chunks)

    def _headers(self, answer: ApiResponse | ApiStream) -> CIMultiDict[str]:
        audit = f"{self._audit}-{next(self._answered):012x}"
        fixed = {"Cache-Control": "no-cache, private", "Audit-Id": audit}
        if answer.content_type:  # none: an answer without a body may have no type
            fixed["Content-Type"] = answer.content_type
        return CIMultiDict({**fixed, **answer.headers})

    async def _whole(self, request: web.BaseRequest, answer: ApiResponse) -> web.StreamResponse:
        headers, size_bytes = self._headers(answer), answer.size_bytes
        for warning in answer.warning_headers():
            headers.add("Warning", warning)
        pieces: Iterable[bytes] = answer.pieces(_SLICE_BYTES)
        if size_bytes > _GZIP_FROM_BYTES and "gzip" in request.headers.get("Accept-Encoding", ""):
            quick = size_bytes <= compression.QUICK_BYTES
            packed = compression.gzip(pieces) if quick else await asyncio.to_thread(compression.gzip, pieces)  # must not hold up the others
            pieces, size_bytes = (packed,), len(packed)
            headers["Content-Encoding"] = "gzip"
            headers["Vary"] = "Accept-Encoding"
        if size_bytes <= _SLICE_BYTES:
            return web.Response(status=answer.status, body=b"".join(pieces), headers=headers)
        self.work.take(size_bytes, refuse=request.method == "GET")  # what a write has done is told in every case
        try:
            headers["Content-Length"] = str(size_bytes)
            return await self._in_slices(request, web.StreamResponse(status=answer.status, headers=headers), pieces)
        finally:
            self.work.take(-size_bytes)

    @staticmethod
    async def _in_slices(request: web.BaseRequest, response: web.StreamResponse, pieces: Iterable[bytes]) -> web.StreamResponse:
        try:
            await response.prepare(request)
            for piece in pieces if request.method != "HEAD" else ():
                view = memoryview(piece)
                for start in range(0, len(piece), _SLICE_BYTES):
                    async with asyncio.timeout(_STALL_S):
                        await response.write(view[start : start + _SLICE_BYTES])
            await response.write_eof()
        except ConnectionError:
            logger.debug("the reader of a large answer is gone", extra={"path": request.path[:256]})
        except TimeoutError:
            logger.info("the reader of a large answer stands still and is cut", extra={"path": request.path[:256]})
            if request.transport is not None:
                request.transport.abort()
        return response

    async def _stream(self, request: web.BaseRequest, answer: ApiStream) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=self._headers(answer))
        response.enable_chunked_encoding()
        transport = request.transport
        if transport is not None:
            answer.on_cut(transport.abort)
        async with contextlib.aclosing(answer.batches) as batches:
            try:
                await response.prepare(request)
                async for lines in batches:
                    data = b"".join(lines)
                    waits = len(data) > _SLICE_BYTES or (transport is not None and transport.get_write_buffer_size() > 0)
                    async with asyncio.timeout(_STALL_S if answer.stall_s is None else answer.stall_s) if waits else _AT_ONCE:
                        await response.write(data)
                await response.write_eof()
            except ConnectionError:
                logger.debug("the reader of a stream is gone", extra={"path": request.path[:256]})
            except TimeoutError:
                logger.info("the reader of a stream stands still and is cut", extra={"path": request.path[:256]})
                if transport is not None:
                    transport.abort()
        return response
