"""Entries of a container's log as they come from a node, and the place in a log from which it goes on after a break. Pure.

A node sends entries as Docker frames them: a byte for the channel, three zeros, four bytes for the length, then the time (RFC 3339 with
nine digits of a second, UTC: it sorts as text), a blank, the data. A log that is asked for again from a time has the entries of that very
moment again; :class:`Cursor` knows how many of them were seen, skips those, and notices when they are not there any more, for then others
may be lost with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from lattice.api import errors

MAX_ENTRY_BYTES: Final = 1024 * 1024
"""Docker writes entries of at most 16 KiB."""
_HEAD_BYTES: Final = 8
_TIME_BYTES: Final = 30


class Entry(NamedTuple):
    """One entry. ``time`` is empty for what an engine says about itself."""

    channel: int
    time: bytes
    data: bytes


class Framing:
    """Splits what a node sends into entries."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Entry]:
        """Yield the entries that are whole now.

        Raises:
            errors.UnavailableError: the node does not send entries.
        """
        data = self._rest + data
        position, size = 0, len(data)
        while position + _HEAD_BYTES <= size:
            length = int.from_bytes(data[position + 4 : position + _HEAD_BYTES], "big")
            if length > MAX_ENTRY_BYTES or data[position + 1 : position + 4] != b"\0\0\0" or length < 1:
                raise errors.UnavailableError("the node sent what is no log")
            end = position + _HEAD_BYTES + length
            if end > size:
                break
            yield _entry(data[position], data[position + _HEAD_BYTES : end])
            position = end
        self._rest = data[position:]


def _entry(channel: int, text: bytes) -> Entry:
    if text[:1] == b" ":
        return Entry(channel, b"", text[1:])
    if len(text) > _TIME_BYTES and text[_TIME_BYTES] == 32 and text[_TIME_BYTES - 1] == 90:
        return Entry(channel, text[:_TIME_BYTES], text[_TIME_BYTES + 1 :])
    raise errors.UnavailableError("the node sent a log entry without its time")


class Cursor:
    """The place that was reached in one log."""

    def __init__(self) -> None:
        self.time = b""
        """Time of the last entry that was taken; empty: none was."""
        self._seen = 0
        """How many entries of that time were taken."""
        self._skip = 0
        """How many entries of that time are to come again, after a break."""
        self._resuming = False

    def resume(self) -> None:
        """Prepare for a log that is asked for again from ``time``."""
        self._skip = self._seen
        self._resuming = bool(self.time)

    def take(self, entry: Entry) -> tuple[bool, bool]:
        """Return whether an entry is new, and whether entries before it may be lost."""
        if not entry.time:
            return not self._resuming, False
        if self._resuming:
            if entry.time < self.time:
                return False, False
            if entry.time == self.time and self._skip:
                self._skip -= 1
                return False, False
        gap = self._resuming and self._skip > 0
        self._resuming, self._skip = False, 0
        if entry.time == self.time:
            self._seen += 1
        else:
            self.time, self._seen = entry.time, 1
        return True, gap
