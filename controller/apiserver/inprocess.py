"""A client transport without sockets: reconcilers and the scheduler in the same process use the same API as everybody.

Same authorization, validation and errors as over HTTP, with a fixed user; a watch hands out the cache's own bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence

from controller.apiserver.request import ApiRequest, ApiStream, ApiUpgrade, User
from controller.apiserver.server import ApiServer
from lattice.api import errors
from lattice.client import base, sockets
from lattice.client.client import parse_error


class InProcessTransport:
    """Implements ``lattice.client.base.Transport``."""

    def __init__(self, api: ApiServer, user: User) -> None:
        self._api = api
        self._user = user
        self._headers: Mapping[str, str] = {}

    async def send(self, request: base.Request) -> base.Response:
        """See the protocol."""
        answer = await self._api.handle(self._request(request))
        self._headers = {name.lower(): value for name, value in answer.headers.items()}
        if isinstance(answer, ApiUpgrade):
            answer.close()
            raise errors.BadRequestError("this path is for WebSockets")
        if isinstance(answer, ApiStream):
            async with contextlib.aclosing(answer.batches) as batches:
                body = b"".join([line async for lines in batches for line in lines])
            return base.Response(answer.status, self._headers, body)
        if answer.warnings:
            self._headers["warning"] = ", ".join(answer.warning_headers())
        return base.Response(answer.status, self._headers, answer.whole())

    async def stream(self, request: base.Request) -> AsyncGenerator[bytes]:
        """See the protocol."""
        answer = await self._api.handle(self._request(request))
        self._headers = {name.lower(): value for name, value in answer.headers.items()}
        if not isinstance(answer, ApiStream):
            raise parse_error(base.Response(answer.status, self._headers, b"" if isinstance(answer, ApiUpgrade) else answer.whole()))
        cut = False

        def note() -> None:
            nonlocal cut
            cut = True

        answer.on_cut(note)
        try:
            async with contextlib.aclosing(answer.batches) as batches:
                async for lines in batches:
                    for line in lines:
                        yield line[:-1]
        finally:
            answer.close()
        if cut:
            raise errors.UnavailableError("the watch was cut: its reader did not keep pace")

    async def connect(
        self,
        request: base.Request,
        *,
        protocols: Sequence[str] = (),
        max_message_bytes: int = sockets.STREAM_MESSAGE_BYTES,
        heartbeat_s: float | None = None,
    ) -> sockets.Socket:
        """See the protocol."""
        asked = self._request(request)
        asked.headers = {**asked.headers, "connection": "Upgrade", "upgrade": "websocket", "sec-websocket-protocol": ", ".join(protocols)}
        answer = await self._api.handle(asked)
        self._headers = {name.lower(): value for name, value in answer.headers.items()}
        if not isinstance(answer, ApiUpgrade):
            raise parse_error(base.Response(answer.status, self._headers, b"" if isinstance(answer, ApiStream) else answer.whole()))
        ours, theirs = sockets.memory_pair()
        self._api.tasks.spawn(_serve(answer, theirs), name="socket")
        return ours

    async def headers(self) -> Mapping[str, str]:
        """See the protocol."""
        return self._headers

    async def close(self) -> None:
        """Nothing is held."""

    def _request(self, request: base.Request) -> ApiRequest:
        headers = {name.lower(): value for name, value in request.headers.items()}
        return ApiRequest(request.method, request.path, request.query, headers, request.body, self._user)


async def _serve(answer: ApiUpgrade, socket: sockets.Socket) -> None:
    try:
        with contextlib.suppress(errors.UnavailableError):
            await answer.serve(socket)
    finally:
        await socket.close()
        answer.close()
