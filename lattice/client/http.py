"""The HTTP transport: carries requests to an API server over TLS. The only importer of aiohttp's client.

Used by the CLI, the node agent and integrators through :class:`lattice.client.client.Client`. Most callers get one from
:meth:`lattice.client.kubeconfig.KubeConfig.transport`.

Guarantees:

* Every failure to get an answer is an :class:`~lattice.api.errors.UnavailableError` with one sentence: what was tried and what to do.
  No exception of aiohttp, ``ssl`` or ``socket`` leaves this module.
* Nothing is unbounded: connecting, the wait for the head of an answer, the whole call, the size of an answer and of a line of a stream.
* Credentials go to the configured server only: redirects are not followed, proxies and ``.netrc`` of the environment are not used, and a
  token is never sent in the clear to another machine.
* It never retries a write. (aiohttp repeats a GET once when the server closed the kept connection at that moment.)

It must be used from one event loop. What the answer means is left to ``Client``.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import aiohttp
from yarl import URL

from lattice.api import errors
from lattice.client import base, reasons, sockets, tls
from lattice.client.client import parse_error
from lattice.version import VERSION

CONNECT_TIMEOUT_S = 10.0
"""Name look-up, TCP and TLS. A line that needs longer is down for our purposes."""
HEAD_TIMEOUT_S = 30.0
"""From sending a request without a deadline of its own (a stream) to the head of the answer."""
MAX_LINE_BYTES = 8 * 1024 * 1024
"""One watch event holds one object: at most 1.5 MB as stored, some more as JSON in an envelope."""
MAX_ANSWER_BYTES = 512 * 1024 * 1024
"""A list of every object of the largest fleet that we plan for, with room."""
MAX_REFUSAL_BYTES = 64 * 1024
MAX_CONNECTIONS = 100
"""Open at once to the server; a further request waits. Each watch holds one."""


class HttpTransport:
    """Implements :class:`lattice.client.base.Transport` for one server.

    Args:
        server: base URL, such as ``https://127.0.0.1:7443``.
        ca_data: PEM of the authorities to trust; ``None``: those of the machine.
        token: bearer token.
        token_file: file with the bearer token, read again when it changes; wins over ``token``.
        client_cert_data: PEM of a client certificate (with its chain).
        client_key_data: PEM of its key.
        tls_server_name: name to expect in the server's certificate, instead of the URL's host.
        insecure_skip_tls_verify: accept any certificate. For experiments only.
        connect_timeout_s: see ``CONNECT_TIMEOUT_S``.
        max_connections: see ``MAX_CONNECTIONS``.

    Raises:
        errors.UsageError: the URL or the credentials cannot be used.
    """

    def __init__(
        self,
        server: str,
        *,
        ca_data: bytes | str | None = None,
        token: str | None = None,
        token_file: Path | None = None,
        client_cert_data: bytes | str | None = None,
        client_key_data: bytes | str | None = None,
        tls_server_name: str | None = None,
        insecure_skip_tls_verify: bool = False,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self.server = server.rstrip("/")
        self._is_tls = _check_server(self.server, has_credentials=bool(token or token_file))
        self._token = token
        self._token_file = token_file
        self._token_file_mtime_ns = -1
        self._tls_server_name = tls_server_name
        self._connect_timeout_s = connect_timeout_s
        self._max_connections = max_connections
        self._ssl: ssl.SSLContext | bool = False
        if self._is_tls:
            self._ssl = tls.client_context(
                ca_data=ca_data,
                cert_data=client_cert_data,
                key_data=client_key_data,
                insecure_skip_verify=insecure_skip_tls_verify,
            )
        self._session: aiohttp.ClientSession | None = None
        self._last_headers: Mapping[str, str] = {}
        self._closed = False

    async def send(self, request: base.Request) -> base.Response:
        """See :class:`~lattice.client.base.Transport`."""
        with reasons.translated(request, self.server):
            async with asyncio.timeout(request.timeout_s), self._answer(request) as answer:
                body = bytearray()
                async for chunk in answer.content.iter_any():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise errors.UnavailableError(
                            f"{request.method} {request.path}: the answer is over {MAX_ANSWER_BYTES} bytes; ask for one namespace"
                        )
                return base.Response(answer.status, self._last_headers, bytes(body))

    async def stream(self, request: base.Request) -> AsyncGenerator[bytes]:
        """See :class:`~lattice.client.base.Transport`."""
        with reasons.translated(request, self.server):
            async with aclosing(self.download(request)) as chunks, aclosing(split_lines(chunks)) as lines:
                async for line in lines:
                    yield line

    async def download(self, request: base.Request) -> AsyncGenerator[bytes]:
        """Send a request and yield the answer in pieces as they come, of any size in all. Close the generator to stop.

        Raises:
            errors.ApiError: the answer is not a 2xx.
            errors.UnavailableError: no answer, or it broke off.
        """
        with reasons.translated(request, self.server):
            async with asyncio.timeout(request.timeout_s or HEAD_TIMEOUT_S) as deadline, self._answer(request) as answer:
                if not 200 <= answer.status < 300:
                    body = await answer.content.read(1024 * 1024)
                    raise parse_error(base.Response(answer.status, self._last_headers, body))
                if request.timeout_s is None:
                    deadline.reschedule(None)
                async for chunk in answer.content.iter_any():
                    yield chunk

    async def connect(
        self,
        request: base.Request,
        *,
        protocols: Sequence[str] = (),
        max_message_bytes: int = sockets.STREAM_MESSAGE_BYTES,
        heartbeat_s: float | None = None,
    ) -> sockets.Socket:
        """See :class:`~lattice.client.base.Transport`."""
        refused: list[base.Response] = []

        async def look(_session: object, _context: object, end: aiohttp.TraceRequestEndParams) -> None:
            """Read why an upgrade is refused: the library's own error does not say it."""
            self._last_headers = {name.lower(): value for name, value in end.response.headers.items()}
            if end.response.status != 101:
                body = await end.response.content.read(MAX_REFUSAL_BYTES)
                refused.append(base.Response(end.response.status, self._last_headers, body))

        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(look)
        url, headers = self._address(request)
        owner = self._open_session()
        with reasons.translated(request, self.server):
            async with asyncio.timeout(request.timeout_s):
                # A session of its own, on the shared connector, for the trace; it is detached so that it may end before its socket.
                session = aiohttp.ClientSession(
                    connector=owner.connector, connector_owner=False, timeout=owner.timeout, headers=owner.headers,
                    cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[trace],
                )  # fmt: skip
                try:
                    connection = await session.ws_connect(
                        url,
                        protocols=protocols,
                        headers=headers,
                        ssl=self._ssl,
                        server_hostname=self._tls_server_name,
                        max_msg_size=max_message_bytes,
                        heartbeat=heartbeat_s,
                        compress=0,
                        timeout=aiohttp.ClientWSTimeout(ws_close=sockets.CLOSE_S),
                    )
                except aiohttp.WSServerHandshakeError as error:
                    if refused:
                        raise parse_error(refused[0]) from error
                    raise
                finally:
                    session.detach()
        if protocols and connection.protocol is None:
            await connection.close()
            raise errors.UnavailableError(f"{self.server}{request.path}: the server speaks none of {', '.join(protocols)}")
        sockets.keep_alive(connection._conn.transport if connection._conn is not None else None)
        return sockets.WebSocket(connection)

    async def headers(self) -> Mapping[str, str]:
        """See :class:`~lattice.client.base.Transport`."""
        return self._last_headers

    async def close(self) -> None:
        """See :class:`~lattice.client.base.Transport`."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @asynccontextmanager
    async def _answer(self, request: base.Request) -> AsyncIterator[aiohttp.ClientResponse]:
        url, headers = self._address(request)
        async with self._open_session().request(
            request.method,
            url,
            data=request.body or None,
            headers=headers,
            allow_redirects=False,
            ssl=self._ssl,
            server_hostname=self._tls_server_name,
        ) as answer:
            self._last_headers = {name.lower(): value for name, value in answer.headers.items()}
            yield answer

    def _address(self, request: base.Request) -> tuple[URL, dict[str, str]]:
        """Return where a request goes, and its headers with the credentials."""
        url = f"{self.server}{request.path}"
        if request.query:
            url = f"{url}?{urlencode(request.query)}"
        headers = dict(request.headers)
        if token := self._current_token():
            headers["authorization"] = f"Bearer {token}"
        return URL(url, encoded=True), headers

    def _open_session(self) -> aiohttp.ClientSession:
        if self._closed:
            raise errors.UnavailableError(f"the connection to {self.server} was closed by this program")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_connections),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s),
                headers={"user-agent": f"lattice/{VERSION}"},
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("content-type",),
            )
        return self._session

    def _current_token(self) -> str | None:
        """Return the token, read anew if its file has changed; an unreadable file keeps the last one that was read."""
        if self._token_file is not None:
            try:
                mtime_ns = self._token_file.stat().st_mtime_ns
                if mtime_ns != self._token_file_mtime_ns:
                    self._token = self._token_file.read_text().strip()
                    self._token_file_mtime_ns = mtime_ns
            except (OSError, UnicodeDecodeError) as error:
                if self._token is None:
                    raise errors.UsageError(f"cannot read the token file {self._token_file}: {error}") from error
        return self._token


async def split_lines(chunks: AsyncIterator[bytes], *, max_line_bytes: int = MAX_LINE_BYTES) -> AsyncGenerator[bytes]:
    """Yield the lines of a byte stream without their newlines, empty ones left out.

    Raises:
        errors.UnavailableError: a line is over ``max_line_bytes``, or the stream ended inside of a line.
    """
    pending: list[bytes] = []  # pieces of one line; joined once, so that a line in many chunks costs no quadratic copying
    pending_bytes = 0
    async for chunk in chunks:
        first, *others = chunk.split(b"\n")
        pending.append(first)
        pending_bytes += len(first)
        for piece in others:
            if pending_bytes:
                yield b"".join(pending)
            pending, pending_bytes = [piece], len(piece)
        if pending_bytes > max_line_bytes:
            raise errors.UnavailableError(f"the server sent a line over {max_line_bytes} bytes; connect again")
    if pending_bytes:
        raise errors.UnavailableError("the stream broke off inside of a line; connect again")


def _check_server(server: str, *, has_credentials: bool) -> bool:
    """Return whether the server speaks TLS."""
    try:
        parts = urlsplit(server)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise errors.UsageError(f"the server address {server!r} is not a URL: {error}; it looks like https://HOST:PORT") from error
    if parts.scheme not in ("http", "https") or not host:
        raise errors.UsageError(f"the server address {server!r} is not a URL; it looks like https://HOST:PORT")
    if parts.scheme == "http" and has_credentials and host not in ("127.0.0.1", "::1", "localhost"):
        raise errors.UsageError(f"{server} is not encrypted, so the token is not sent there; use an https:// address")
    return parts.scheme == "https"
