"""The HTTP shell: TLS, HTTP/1.1, body limit, compression, chunked watches. aiohttp stays in here.

``HttpServer(api).start(host, port, ssl_context)``; the port is known afterwards (0 picks one). Everything that a request means is
decided by :class:`controller.apiserver.server.ApiServer`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import ssl
import uuid
from typing import Final

from aiohttp import web

from controller.apiserver.request import ApiRequest, ApiResponse, ApiStream, error_response
from controller.apiserver.server import ApiServer
from lattice.api import errors
from lattice.machinery.tasks import TaskOwner

logger = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 3 * 1024 * 1024
"""Largest request body, as kube-apiserver's."""
_GZIP_FROM_BYTES: Final = 128 * 1024
_GZIP_LEVEL: Final = 1
_SHUTDOWN_S: Final = 5.0
_MAX_HEADER_BYTES: Final = 32 * 1024


class HttpServer:
    """Serves an :class:`ApiServer` over HTTP."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api
        self._tasks = TaskOwner("http")
        self._server = web.Server(
            self._handle,
            access_log=None,
            handler_cancellation=True,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
        )
        self._runner = web.ServerRunner(self._server, shutdown_timeout=_SHUTDOWN_S)
        self._site: web.TCPSite | None = None
        self.port = 0

    async def start(self, host: str, port: int, ssl_context: ssl.SSLContext | None) -> None:
        """Listen.

        Raises:
            OSError: the address is taken or not ours.
        """
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, host, port, ssl_context=ssl_context, backlog=1024)
        await self._site.start()
        self.port = self._runner.addresses[0][1]
        logger.info("listening", extra={"host": host, "port": self.port, "tls": ssl_context is not None})

    async def stop(self) -> None:
        """Stop accepting, then close what is open. End the watches (``ApiServer.stop``) first."""
        await self._runner.cleanup()
        await self._tasks.stop()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            body = await self._read(request)
        except errors.ApiError as error:
            answer: ApiResponse | ApiStream = error_response(error)
            answer.headers.update(self._api.identity_headers())
            response = await self._whole(request, answer)
            response.force_close()
            return response
        query = dict(request.query)
        # A client that goes away ends its watch at once, but never cancels a write that has begun.
        work = self._api.handle(ApiRequest(request.method, request.rel_url.raw_path, query, headers, body))
        reading = request.method in {"GET", "HEAD"}
        answer = await (work if reading else asyncio.shield(self._tasks.spawn(work, name="request")))
        if isinstance(answer, ApiStream):
            try:
                return await self._stream(request, answer)
            finally:
                answer.close()
        return await self._whole(request, answer)

    @staticmethod
    async def _read(request: web.BaseRequest) -> bytes:
        if not request.body_exists:
            return b""
        too_large = errors.TooLargeError(f"Request entity too large: limit is {MAX_BODY_BYTES}")
        if request.content_length is not None and request.content_length > MAX_BODY_BYTES:
            raise too_large
        chunks, size = [], 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise too_large
            chunks.append(chunk)
        return b"".join(chunks)

    @staticmethod
    def _headers(answer: ApiResponse | ApiStream) -> dict[str, str]:
        return {
            "Content-Type": answer.content_type,
            "Cache-Control": "no-cache, private",
            "Audit-Id": str(uuid.uuid4()),
            **answer.headers,
        }

    async def _whole(self, request: web.BaseRequest, answer: ApiResponse | ApiStream) -> web.Response:
        assert isinstance(answer, ApiResponse)
        headers, body = self._headers(answer), answer.body
        if len(body) > _GZIP_FROM_BYTES and "gzip" in request.headers.get("Accept-Encoding", ""):
            body = await asyncio.to_thread(gzip.compress, body, _GZIP_LEVEL, mtime=0)  # a large list must not hold up the others
            headers["Content-Encoding"] = "gzip"
            headers["Vary"] = "Accept-Encoding"
        return web.Response(status=answer.status, body=body, headers=headers)

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
                    await response.write(b"".join(lines))
                await response.write_eof()
            except ConnectionError:
                logger.debug("the reader of a stream is gone", extra={"path": request.path[:256]})
        return response
