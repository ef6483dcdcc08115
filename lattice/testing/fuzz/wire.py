"""A request that may be odd in any way, as bytes on a connection of its own; and the answer.

No HTTP library stands in between, because each of them refuses to send what is to be sent here: raw targets, doubled headers, chunks
with extensions, a body that is shorter than said. A request can be printed as a curl line and kept in a file, see :class:`Request`.
"""

from __future__ import annotations

import asyncio
import base64
import shlex
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Framing = Literal["length", "chunked", "chunk-extension", "trailer", "tiny-chunks", "bad-chunk", "negative", "both", "twice"]
"""How the body is announced. From ``bad-chunk`` on it is no correct HTTP."""

BROKEN_FRAMINGS: Final = frozenset({"bad-chunk", "negative", "both", "twice"})
_HEAD_LIMIT: Final = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. ``target`` and headers are sent as they are, in Latin-1."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    framing: Framing = "length"
    watch: bool = False
    """A 200 may be a stream without an end: only its head is read."""

    def header(self, name: str) -> str:
        """Return the first header of that name, lower case, or nothing."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    def encode(self, authority: str, token: str) -> bytes:
        """Return the bytes on the wire."""
        lines = [f"{self.method} {self.target} HTTP/1.1", f"Host: {authority}", f"Authorization: Bearer {token}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        body = self.body
        match self.framing:
            case "length":
                if body or self.method in {"POST", "PUT", "PATCH"}:
                    lines.append(f"Content-Length: {len(body)}")
            case "negative":
                lines.append("Content-Length: -1")
            case "twice":
                lines += [f"Content-Length: {len(body)}", f"Content-Length: {len(body) + 1}"]
            case "both":
                lines += [f"Content-Length: {len(body)}", "Transfer-Encoding: chunked"]
                body = _chunked(body, "chunked")
            case _:
                lines.append("Transfer-Encoding: chunked")
                body = _chunked(body, self.framing)
        return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body

    def curl(self) -> str:
        """Return a shell line that sends it (its body from standard input), for a person."""
        parts = ["curl", "-sk", "--path-as-is", "-X", self.method]
        for name, value in self.headers:
            parts += ["-H", f"{name}: {value}"]
        if self.framing != "length":
            parts += ["-H", f"X-Framing: {self.framing}"]
        line = f"{shlex.join(parts)} --data-binary @- {shlex.quote('$LATTICE' + self.target)}"
        return f"printf %s {base64.b64encode(self.body).decode()} | base64 -d | {line}" if self.body else line

    def to_json(self) -> dict[str, Any]:
        """Return what a file of it holds."""
        return {
            "method": self.method,
            "target": self.target,
            "headers": [list(header) for header in self.headers],
            "body": base64.b64encode(self.body).decode(),
            "framing": self.framing,
            "watch": self.watch,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Request:
        """Read what :meth:`to_json` wrote."""
        headers = tuple((name, value) for name, value in data["headers"])
        body = base64.b64decode(data["body"])
        return cls(method=data["method"], target=data["target"], headers=headers, body=body, framing=data["framing"], watch=data["watch"])


def _chunked(body: bytes, framing: str) -> bytes:
    size = {"tiny-chunks": 3, "bad-chunk": 7}.get(framing, max(1, len(body) // 3))
    size = max(size, len(body) // 1000)  # a body of megabytes in chunks of three bytes would only test the parser's speed
    extension = ';a="b";c' if framing == "chunk-extension" else ""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    out = b"".join(f"{len(piece):x}{extension}\r\n".encode() + piece + b"\r\n" for piece in pieces)
    if framing == "bad-chunk":
        return out + b"zz\r\n"
    return out + b"0\r\n" + (b"X-Trailer: 1\r\n" if framing == "trailer" else b"") + b"\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer. ``status`` 0: the connection was closed without one. ``partial``: only the head was read."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    partial: bool = False


class Connection:
    """Sends requests one after the other; connects again when it must.

    Args:
        host: of the server.
        port: of the server.
        context: TLS, ``None`` without.
        token: sent with every request.
    """

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None, token: str) -> None:
        self._host, self._port, self._context, self._token = host, port, context, token
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, request: Request) -> Response:
        """Send a request and read its answer. A connection that the server closed while idle is opened again, once.

        Raises:
            OSError: the server cannot be reached.
        """
        fresh = self._writer is None
        response = await self._try(request)
        if response.status == 0 and not fresh:
            response = await self._try(request)
        return response

    async def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._reader = self._writer = None

    async def _try(self, request: Request) -> Response:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(
                self._host, self._port, ssl=self._context, limit=_HEAD_LIMIT, server_hostname=self._host if self._context else None
            )
        assert self._reader is not None
        keep = False
        try:
            # Not awaited to the end: a server may answer and close before it has read a body that is too large.
            self._writer.write(request.encode(f"{self._host}:{self._port}", self._token))
            response, keep = await self._read(self._reader, request)
            return response
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            return Response(status=0)
        finally:
            if not keep:
                await self.close()

    async def _read(self, reader: asyncio.StreamReader, request: Request) -> tuple[Response, bool]:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = int(head[0].split(" ")[1])
            if status >= 200 or status == 101:
                break
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        keep = headers.get("connection", "").lower() != "close" and request.framing not in BROKEN_FRAMINGS
        if request.watch and status == 200:
            return Response(status=status, headers=headers, partial=True), False
        if request.method == "HEAD" or status in {204, 304}:
            return Response(status=status, headers=headers), keep
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = bytearray()
            while size := int((await reader.readline()).split(b";")[0], 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readline()
            return Response(status=status, headers=headers, body=bytes(body)), keep
        if "content-length" in headers:
            return Response(status=status, headers=headers, body=await reader.readexactly(int(headers["content-length"]))), keep
        return Response(status=status, headers=headers, body=await reader.read()), False
