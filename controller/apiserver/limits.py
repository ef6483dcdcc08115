"""How much the server takes on at once: connections, requests in work, bytes of bodies.

Pure bookkeeping; ``http.py`` asks it. A connection is a stranger's until a request on it has been authenticated. When all places for
strangers are taken, the one that has been silent for longest gives way, so that nobody can lock others out by opening connections and
sending nothing. Watches hold a connection, but no place among the requests in work.
"""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from lattice.api import errors

_FILES_KEPT: Final = 256
"""Open files that are not connections: the store, logs, the controllers' own."""
_FILES_WANTED: Final = 65_536
_FEWEST_CONNECTIONS: Final = 64
_RETRY: Final = {"retryAfterSeconds": 1}


@dataclass(frozen=True, slots=True)
class Limits:
    """What is taken on at once. Above it, a client is told to come back (429), or its connection is closed."""

    connections: int = 16_384
    strangers: int = 1_024
    """Connections on which nobody has authenticated yet."""
    requests: int = 1_024
    """Requests in work; a watch that has begun is none."""
    body_bytes: int = 256 * 1024 * 1024
    """Bodies that are being received, and large answers that are being sent, together."""


def fitted(limits: Limits) -> Limits:
    """Return ``limits`` with as many connections as this process may open files; raises that number to what the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, _FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft == resource.RLIM_INFINITY:
        return limits
    connections = max(_FEWEST_CONNECTIONS, min(limits.connections, soft - _FILES_KEPT))
    return Limits(connections, min(limits.strangers, connections // 2), limits.requests, limits.body_bytes)


class Connections:
    """The open connections, each with the call that closes it at once."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._strangers: dict[Hashable, Callable[[], object]] = {}  # in the order in which they came
        self._known: set[Hashable] = set()
        self.refused = 0
        """Connections that were closed for want of a place."""

    def __len__(self) -> int:
        return len(self._strangers) + len(self._known)

    def opened(self, key: Hashable, abort: Callable[[], object]) -> None:
        """Take a new connection on; the longest silent stranger may be closed for it, or the new one itself."""
        self._strangers[key] = abort
        if len(self._strangers) > self._limits.strangers or len(self) > self._limits.connections:
            self.refused += 1
            self._strangers.pop(next(iter(self._strangers)))()

    def authenticated(self, key: Hashable) -> None:
        """Note that a request on this connection had good credentials."""
        if self._strangers.pop(key, None) is not None:
            self._known.add(key)

    def closed(self, key: Hashable) -> None:
        """Forget a connection. Idempotent."""
        self._strangers.pop(key, None)
        self._known.discard(key)


class Work:
    """Requests and bytes in work."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.requests = 0
        self.body_bytes = 0

    def begin(self) -> None:
        """Count a request, until :meth:`end`.

        Raises:
            errors.TooManyRequestsError: enough are in work; nothing is counted.
        """
        if self.requests >= self._limits.requests:
            raise errors.TooManyRequestsError("too many requests are in work, please try again later", details=_RETRY)
        self.requests += 1

    def end(self) -> None:
        """Give the place of a request back."""
        self.requests -= 1

    def take(self, size_bytes: int, *, refuse: bool = True) -> None:
        """Count so many bytes of a body; give them back with a negative number. Without ``refuse`` they are counted in every case.

        Raises:
            errors.TooManyRequestsError: that would be too many; nothing is counted.
        """
        if refuse and size_bytes > 0 and self.body_bytes + size_bytes > self._limits.body_bytes:
            raise errors.TooManyRequestsError("too many large requests are in work, please try again later", details=_RETRY)
        self.body_bytes += size_bytes
