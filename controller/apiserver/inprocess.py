"""A client transport without sockets: reconcilers and the scheduler in the same process use the same API as everybody.

Same authorization, validation and errors as over HTTP, with a fixed user; a watch hands out the cache's own bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping

from controller.apiserver.request import ApiRequest, ApiStream, User
from controller.apiserver.server import ApiServer
from lattice.api import errors
from lattice.client import base
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
            raise parse_error(base.Response(answer.status, self._headers, answer.whole()))
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

    async def headers(self) -> Mapping[str, str]:
        """See the protocol."""
        return self._headers

    async def close(self) -> None:
        """Nothing is held."""

    def _request(self, request: base.Request) -> ApiRequest:
        headers = {name.lower(): value for name, value in request.headers.items()}
        return ApiRequest(request.method, request.path, request.query, headers, request.body, self._user)
