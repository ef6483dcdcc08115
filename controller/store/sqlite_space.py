"""What is free on the disk and what a transaction needs of it. Used by ``sqlite_writer.py`` alone.

Creations are refused while less than the headroom would be left, updates below half of that, so that deletions, and the compaction that
follows them, still find room.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from controller.store import base, sqlite_log

HEADROOM_BYTES: Final = 16 * 2**20


@dataclass(slots=True)
class Space:
    """What is left for a group."""

    free_bytes: int
    headroom_bytes: int

    @property
    def scarce(self) -> bool:
        """Whether creations would be refused."""
        return self.free_bytes < self.headroom_bytes

    def take(self, db: sqlite3.Connection, ops: Sequence[base.Op]) -> int | None:
        """Return what would be free after a transaction, or ``None`` if it has to be refused."""
        left = self.free_bytes - _cost_bytes(ops)
        if left < self.headroom_bytes and _grows(db, ops, updates_too=left < self.headroom_bytes // 2):
            return None
        return left


def look(path: Path) -> Space:
    """Return what is free once the write-ahead log has been copied to the file, which may grow the file by as much."""
    stat = os.statvfs(path.parent)
    try:
        pending = os.stat(f"{path}-wal").st_size  # noqa: PTH116 - the name is a path plus a suffix
    except FileNotFoundError:
        pending = 0
    return Space(stat.f_bavail * stat.f_frsize - pending, min(HEADROOM_BYTES, stat.f_blocks * stat.f_frsize // 8))


def full_message(path: Path) -> str:
    """Return what to tell of a disk without space."""
    return f"the store is full: the disk of {path.parent} has no space left; free some space or delete objects"


def _cost_bytes(ops: Sequence[base.Op]) -> int:
    """Return about what a transaction takes on disk: once in the write-ahead log and once in the file, with a page or so for each key."""
    return 2 * sum(4096 + (len(op.value) if isinstance(op, base.Put) else 0) for op in ops)


def _grows(db: sqlite3.Connection, ops: Sequence[base.Op], *, updates_too: bool) -> bool:
    """Return whether a transaction adds a key, or, with ``updates_too``, writes any value."""
    puts = [op for op in ops if isinstance(op, base.Put)]
    return bool(puts) and (updates_too or any(sqlite_log.head(db, op.key) is None for op in puts))
