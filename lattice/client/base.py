"""The seam between typed calls and the wire: plain request and answer values, and the protocol that carries them.

Two transports implement :class:`Transport`: ``http.py`` (aiohttp, TLS, tokens) and the control plane's in-process one
(``controller/apiserver/inprocess.py``), which hands the same request values to the same handler without a socket. So a reconciler, the
CLI and the node agent run the same code against both, with the same validation and the same errors.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lattice.client.sockets import STREAM_MESSAGE_BYTES, Socket


@dataclass(frozen=True, slots=True)
class Request:
    """One request, without any transport in it. ``path`` is absolute and already escaped; ``query`` is not escaped yet."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    timeout_s: float | None = 30.0
    """Deadline of the whole call; ``None`` for streams that are meant to stay open."""


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. ``headers`` has lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class RawEvent:
    """One line of a watch: ``type`` is ADDED, MODIFIED, DELETED or BOOKMARK; ``raw`` is the object's JSON."""

    type: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class RawList:
    """A list as JSON objects, one per item, with apiVersion and kind, at one revision."""

    items: tuple[bytes, ...]
    resource_version: str


class Transport(Protocol):
    """Carries requests. Implementations raise ``errors.UnavailableError`` when no answer came; HTTP errors are answers."""

    async def send(self, request: Request) -> Response:
        """Send a request and return the whole answer."""
        ...

    def stream(self, request: Request) -> AsyncGenerator[bytes]:
        """Send a request and yield the lines of the answer (without the newline). Close the generator to stop.

        Raises:
            errors.ApiError: the answer is not a 2xx.
            errors.UnavailableError: no answer, or the stream broke off.
        """
        ...

    async def connect(
        self,
        request: Request,
        *,
        protocols: Sequence[str] = (),
        max_message_bytes: int = STREAM_MESSAGE_BYTES,
        heartbeat_s: float | None = None,
    ) -> Socket:
        """Ask for an upgrade to a WebSocket and return it. Its headers are those of ``headers``.

        Args:
            request: a GET; ``timeout_s`` is for the handshake.
            protocols: sub-protocols, the best first; the server must agree on one.
            max_message_bytes: a larger message from the server breaks the connection.
            heartbeat_s: ask the server for a sign of life so often. Only where somebody always reads; ``None``: the kernel watches.

        Raises:
            errors.ApiError: the server refused.
            errors.UnavailableError: no answer, or none of the protocols.
        """
        ...

    async def headers(self) -> Mapping[str, str]:
        """Return the headers of the last answer (lower-case names), empty before the first: cluster id and store epoch."""
        ...

    async def close(self) -> None:
        """Release connections. Idempotent."""
        ...
