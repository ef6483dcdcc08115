"""What the agent needs of an engine for logs, exec, attach and forwarded ports: values and protocols. A part of ``base.py``.

Errors are those of ``base.py``. Everything that is opened here is closed by who opened it; closing is idempotent and never raises.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

STDOUT: Final = 1
STDERR: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Which part of a container's log."""

    follow: bool = False
    since: str = ""
    """RFC 3339 with nanoseconds, or seconds since 1970 with a fraction: entries from then on, inclusive. Empty: from the beginning."""
    tail: int | None = None
    """So many of the last entries; ``None``: all."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry: a line with its newline, or a piece of a line that was too long for the engine (16 KiB)."""

    channel: int
    """``STDOUT`` or ``STDERR``; a terminal's output is all ``STDOUT``."""
    time: str
    """RFC 3339 with nine digits of a second, in UTC: sorts as text."""
    data: bytes


class Process(Protocol):
    """A program with its streams: one that was started (exec), or a container's own (attach). One task reads, one writes."""

    async def read(self) -> tuple[int, bytes] | None:
        """Return the next piece of output with its channel; ``None``: nothing more comes."""
        ...

    async def write(self, data: bytes) -> None:
        """Write to its standard input; waits while it does not read."""
        ...

    async def close_input(self) -> None:
        """End its standard input."""
        ...

    async def resize(self, *, width: int, height: int) -> None:
        """Tell its terminal the size in characters. Without a terminal, or after the end, nothing happens."""
        ...

    async def exit_code(self) -> int | None:
        """Wait for its end and return how it ended; ``None``: not known (attach)."""
        ...

    async def close(self) -> None:
        """Let go of it. The program itself goes on."""
        ...


class Connection(Protocol):
    """A TCP connection to a port in a container."""

    async def read(self) -> bytes:
        """Return what came, at most 64 KiB; empty: the other side sends nothing more."""
        ...

    async def write(self, data: bytes) -> None:
        """Send; waits while the other side does not read."""
        ...

    async def close_output(self) -> None:
        """Say that nothing more is sent."""
        ...

    async def close(self) -> None:
        """Close it."""
        ...
