"""Requests and answers of the API server, without any transport in them.

``http.py`` and ``inprocess.py`` make an :class:`ApiRequest`; :class:`controller.apiserver.server.ApiServer` answers it with an
:class:`ApiResponse` or an :class:`ApiStream`. :func:`parse_path` says what a path is about, as kube-apiserver's RequestInfo does; it
knows no table of resources, so that authorization can judge a request for something that does not exist.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import orjson

from lattice.api import errors
from lattice.client.sockets import STREAM_MESSAGE_BYTES, Socket

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
_LIST_END: Final = b"]}"
TRUE: Final = frozenset({"true", "1", "t", "T", "TRUE", "True"})


@dataclass(frozen=True, slots=True)
class User:
    """Who asks. ``name`` and ``groups`` decide the role (``authz.py``)."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()


ANONYMOUS: Final = User("system:anonymous", groups=("system:unauthenticated",))


@dataclass(slots=True)
class ApiRequest:
    """One request. ``path`` is still escaped, ``query`` is not; ``headers`` has lower-case names.

    ``user``: set by a transport that has a fixed user; ``None`` lets the server read the credentials in the headers.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # has the credentials
    body: bytes = field(default=b"", repr=False)  # may be a Secret
    user: User | None = None
    raw_query: str = ""
    """The query as it came, for parameters that stand there several times (``command`` of exec)."""
    info: RequestInfo | None = None
    """What it is about, once the server has found that its user may ask for it."""

    def flag(self, name: str) -> bool:
        """Return a query parameter as a boolean."""
        return flag(self.query, name)


def flag(query: Mapping[str, str], name: str) -> bool:
    """Return a query parameter as a boolean, as Kubernetes reads those of lists: there, and neither ``0`` nor ``false``."""
    value = query.get(name)
    return value is not None and value != "0" and value.lower() != "false"


@dataclass(slots=True)
class ApiResponse:
    """A whole answer. ``headers`` has the names as they are sent."""

    status: int
    body: bytes
    """The body, or of a list what stands before its items: then :meth:`whole` and :meth:`pieces` have all of it."""
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    """Sentences for the user, each in a Warning header of its own."""
    items: Sequence[bytes] | None = None
    """The items of a list in JSON. They are the cache's own bytes: a large list is never copied into one piece to be sent."""

    @property
    def size_bytes(self) -> int:
        """How large the body is."""
        if self.items is None:
            return len(self.body)
        return len(self.body) + sum(map(len, self.items)) + max(len(self.items) - 1, 0) + len(_LIST_END)

    def whole(self) -> bytes:
        """Return the body in one piece."""
        return self.body if self.items is None else b"".join((self.body, b",".join(self.items), _LIST_END))

    def pieces(self, most_bytes: int) -> Iterator[bytes]:
        """Yield the body in order, in pieces of about ``most_bytes``; one item is never divided."""
        if self.items is None:
            yield self.body
            return
        before, taken, size_bytes = self.body, list[bytes](), 0
        for item in self.items:
            taken.append(item)
            size_bytes += len(item) + 1
            if size_bytes >= most_bytes:
                yield before + b",".join(taken)
                before, taken, size_bytes = b"", [b""], 0  # the empty one puts a comma before the next
        yield b"".join((before, b",".join(taken), _LIST_END))

    def warning_headers(self) -> list[str]:
        """Return the values of the Warning headers: RFC 7234 code 299, no agent, the text quoted."""
        return [f'299 - "{_quoted(text)}"' for text in self.warnings]


def _quoted(text: str) -> str:
    printable = "".join(character if character.isprintable() and character.isascii() else "?" for character in text)
    return printable.replace("\\", "\\\\").replace('"', '\\"')


@dataclass(slots=True)
class ApiStream:
    """An answer that goes on: batches of lines, each with its newline, until the server or the client ends it.

    ``on_cut`` takes a callback that is called when the server gives the reader up because it does not keep pace: the transport must
    then drop the connection at once, for its writer may be blocked. ``close`` releases what the stream holds; the transport calls it at
    the end in every case, also where it never began to read ``batches`` (closing an unstarted generator runs nothing of it).
    """

    batches: AsyncGenerator[list[bytes]]
    on_cut: Callable[[Callable[[], None]], None]
    content_type: str = JSON
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    close: Callable[[], None] = lambda: None
    stall_s: float | None = None
    """How long the reader may take for what there is for it; ``None``: as for every answer."""


@dataclass(slots=True)
class ApiUpgrade:
    """An answer that makes the connection a message socket: everything has been checked, the other end is there.

    The transport agrees to the upgrade, calls ``serve`` with the socket, and closes the socket when that returns. It calls ``close`` at
    the end in every case, also where ``serve`` never began.
    """

    serve: Callable[[Socket], Coroutine[Any, Any, None]]
    protocol: str = ""
    """Sub-protocol that is agreed on; empty for none."""
    max_message_bytes: int = STREAM_MESSAGE_BYTES
    heartbeat_s: float | None = None
    """Ask for signs of life so often. Only where ``serve`` always reads; ``None``: the kernel watches."""
    close: Callable[[], None] = lambda: None
    status: int = 101
    headers: dict[str, str] = field(default_factory=dict)


Answer: TypeAlias = ApiResponse | ApiStream | ApiUpgrade


def is_upgrade(headers: Mapping[str, str]) -> bool:
    """Return whether a request (header names in lower case) asks for a WebSocket."""
    return headers.get("upgrade", "").strip().lower() == "websocket" and "upgrade" in headers.get("connection", "").lower()


def offered_protocols(headers: Mapping[str, str]) -> list[str]:
    """Return the WebSocket sub-protocols that a client offers, its favourite first."""
    return [protocol.strip() for protocol in headers.get("sec-websocket-protocol", "").split(",") if protocol.strip()]


def json_response(value: Any, status: int = 200) -> ApiResponse:
    """Return an answer with a JSON value."""
    return ApiResponse(status, orjson.dumps(value))


def text_response(text: str, status: int = 200) -> ApiResponse:
    """Return an answer in plain text, as kube-apiserver gives for health and for unknown paths."""
    return ApiResponse(status, text.encode(), TEXT, {"X-Content-Type-Options": "nosniff"})


def error_response(error: errors.ApiError) -> ApiResponse:
    """Return the Status that says ``error``."""
    response = json_response(error.to_status(), error.status_code)
    if (retry_s := error.details.get("retryAfterSeconds")) is not None:
        response.headers["Retry-After"] = str(retry_s)
    if error.status_code == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="lattice"'
    return response


def path_not_found() -> ApiResponse:
    """Return what kube-apiserver answers for a path that nothing serves."""
    return text_response("404 page not found\n", 404)


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What a request is about. ``resource`` is empty for paths that are not about objects."""

    verb: str
    path: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""


_NAMESPACE_SUBRESOURCES: Final = frozenset({"status", "finalize"})
_OBJECT_VERBS: Final = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_PATH_VERBS: Final = {"GET": "get", "HEAD": "head", "POST": "post", "PUT": "put", "PATCH": "patch", "DELETE": "delete"}


def parse_path(request: ApiRequest) -> RequestInfo:
    """Return what ``request`` is about."""
    path = request.path
    parts = [unquote(part) if "%" in part else part for part in path.split("/") if part]
    other = RequestInfo(_PATH_VERBS.get(request.method, request.method.lower()), path)
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return other
    watch = rest[0] == "watch" and len(rest) > 1
    if watch:
        rest = rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 2:
        namespace = rest[1]
        if len(rest) >= 3 and not (len(rest) == 3 and rest[2] in _NAMESPACE_SUBRESOURCES):
            rest = rest[2:]
    resource, name, subresource = rest[0], rest[1] if len(rest) > 1 else "", "/".join(rest[2:])
    verb = _OBJECT_VERBS.get(request.method, request.method.lower())
    if watch:
        verb = "watch"
    elif not name:
        if verb == "get":
            verb = "watch" if request.flag("watch") else "list"
        elif verb == "delete":
            verb = "deletecollection"
    return RequestInfo(verb, path, group, version, resource, subresource, namespace, name)
