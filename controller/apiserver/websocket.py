"""WebSockets (RFC 6455): the streams to nodes, and watches for browsers, which can neither read an endless answer nor send a token.

The second half of the HTTP shell, used by ``http.py`` alone. An :class:`~controller.apiserver.request.ApiUpgrade` gets its socket. A GET
of a watch that asks to be upgraded gets every event as one text message, the JSON line that an ordinary watch would get; what the client
sends is read and ignored; when it goes away the watch ends.

A browser gives its token as a sub-protocol, ``base64url.bearer.authorization.k8s.io.<token in base64url>``, beside at least one other,
which is the one that is agreed on.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import logging
from collections.abc import Mapping
from typing import Final

from aiohttp import WSCloseCode, web

from controller.apiserver.request import ApiStream, ApiUpgrade, offered_protocols
from lattice.api import errors
from lattice.client import sockets

logger = logging.getLogger(__name__)

_BEARER: Final = "base64url.bearer.authorization.k8s.io."
_PROTOCOLS: Final = "sec-websocket-protocol"
_HEARTBEAT_S: Final = 30.0
"""A peer that does not answer a ping for half of this is gone."""
_MAX_MESSAGE_BYTES: Final = 64 * 1024
"""Of what clients send, which says nothing to us."""


class _PeerGoneError(Exception):
    """The client has closed the connection, or it broke."""


def with_token(headers: dict[str, str]) -> dict[str, str]:
    """Return the headers with the token of a sub-protocol as the Authorization that it stands for, and without that sub-protocol.

    Raises:
        errors.UnauthorizedError: such a sub-protocol is there and does not carry a token, or is the only one.
    """
    offered = offered_protocols(headers)
    tokens = [protocol for protocol in offered if protocol.startswith(_BEARER)]
    if not tokens:
        return headers
    others = [protocol for protocol in offered if protocol not in tokens]
    try:
        (encoded,) = (protocol.removeprefix(_BEARER) for protocol in tokens)
        token = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        token = ""
    if not token or not others or "authorization" in headers:
        raise errors.UnauthorizedError("Unauthorized")
    return {**headers, "authorization": f"Bearer {token}", _PROTOCOLS: ", ".join(others)}


async def upgrade(request: web.BaseRequest, answer: ApiUpgrade) -> web.WebSocketResponse:
    """Make the connection a socket and serve it to its end."""
    connection = web.WebSocketResponse(
        protocols=[answer.protocol] if answer.protocol else (),
        heartbeat=answer.heartbeat_s,
        max_msg_size=answer.max_message_bytes,
        compress=False,
        timeout=sockets.CLOSE_S,
    )
    connection.headers.update(answer.headers)
    sockets.keep_alive(request.transport)
    await connection.prepare(request)
    socket = sockets.WebSocket(connection)
    try:
        await answer.serve(socket)
    except errors.UnavailableError as error:
        logger.debug("a socket broke", extra={"path": request.path[:256], "error": str(error)[:200]})
    finally:
        await socket.close()
    return connection


async def serve(request: web.BaseRequest, stream: ApiStream, headers: Mapping[str, str]) -> web.WebSocketResponse:
    """Send a watch's events until it ends or the client goes away.

    Args:
        request: the one that asks for the upgrade.
        stream: the watch. The caller closes it.
        headers: of the request, as ``with_token`` returned them.
    """
    protocols = [protocol for protocol in offered_protocols(headers) if not protocol.startswith(_BEARER)]
    socket = web.WebSocketResponse(protocols=protocols[:1], heartbeat=_HEARTBEAT_S, max_msg_size=_MAX_MESSAGE_BYTES, compress=False)
    socket.headers.update(stream.headers)
    transport = request.transport
    if transport is not None:
        stream.on_cut(transport.abort)
    await socket.prepare(request)
    async with contextlib.aclosing(stream.batches) as batches:
        try:
            async with asyncio.TaskGroup() as group:
                reader = group.create_task(_read(socket))
                async for lines in batches:
                    for line in lines:
                        await socket.send_str(line.decode())
                reader.cancel()
        except* (_PeerGoneError, ConnectionError):
            logger.debug("the reader of a stream is gone", extra={"path": request.path[:256]})
    await socket.close(code=WSCloseCode.OK)
    return socket


async def _read(socket: web.WebSocketResponse) -> None:
    """Read, and ignore, what the client sends; without a reader neither pings nor its farewell would be seen.

    Raises:
        _PeerGoneError: always, at the end.
    """
    async for _ in socket:
        pass
    raise _PeerGoneError
