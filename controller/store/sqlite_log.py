"""The log in SQLite: schema and statements, synchronous, for one connection. Used by ``sqlite.py`` (reads) and ``sqlite_writer.py``.

    log(id, revision, key, value, create_revision, prev_revision, expires_at)   one row for each change; value NULL: a deletion
    meta(name, value)                                                           compacted, swept: see below

A row names the revision it supersedes (``prev_revision``) instead of carrying the old value, so a change costs one row, and what a
compaction may drop is known from the rows after it: a row above ``compacted`` is always there, and so is the row that it supersedes.

* ``compacted``: history at or below it is incomplete. Written before the first row is dropped.
* ``swept``: up to where rows have been dropped; between the two, a compaction was interrupted and goes on after a restart.
* The present revision is the highest row, or ``compacted`` where that row was itself dropped: it never goes back.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from controller.store import base

FORMAT: Final = 1
APPLICATION_ID: Final = 0x4C617474  # "Latt", so that `file` and we can tell our files from others

_SCHEMA: Final = """
CREATE TABLE log (
    id INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL,
    key TEXT NOT NULL,
    value BLOB,
    create_revision INTEGER NOT NULL,
    prev_revision INTEGER NOT NULL,
    expires_at REAL
);
CREATE UNIQUE INDEX log_key ON log (key, revision);
CREATE INDEX log_revision ON log (revision);
CREATE INDEX log_expiry ON log (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('compacted', 0), ('swept', 0);
"""
_HEAD: Final = "SELECT value, revision, create_revision FROM log WHERE key = ? ORDER BY revision DESC LIMIT 1"
_INSERT: Final = "INSERT INTO log (revision, key, value, create_revision, prev_revision, expires_at) VALUES (?, ?, ?, ?, ?, ?)"
_HISTORY: Final = """
SELECT l.revision, l.key, l.value, l.create_revision, l.prev_revision, p.value, p.create_revision
FROM log l LEFT JOIN log p ON l.prev_revision > 0 AND p.key = l.key AND p.revision = l.prev_revision
WHERE l.revision > ? ORDER BY l.revision, l.id
"""
_LIST: Final = """
SELECT l.key, l.value, l.revision, l.create_revision FROM log l
WHERE l.key > ? AND l.key >= ? AND l.key < ? AND l.revision <= ? AND l.value IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM log n WHERE n.key = l.key AND n.revision > l.revision AND n.revision <= ?)
ORDER BY l.key LIMIT ?
"""
_SLICE: Final = """
SELECT id, revision, key, value IS NULL, prev_revision FROM log WHERE revision > ? AND revision <= ? ORDER BY revision LIMIT ?
"""

_ELSEWHERE: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_CANTOPEN,
    }
)
"""Result codes that blame the surroundings and not the file."""


def connect(path: Path, *, synchronous: str) -> sqlite3.Connection:
    """Open the file, making it where it does not exist.

    Raises:
        base.CorruptStoreError: it is no store, is damaged, or is of a newer format.
    """
    try:
        # Secrets are kept here: nobody else may read it. The write-ahead log gets the same mode from SQLite.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
    except (sqlite3.OperationalError, OSError) as error:
        raise base.StoreUnavailableError(f"cannot open {path}: {error}; check that the directory exists and is writable") from error
    try:
        db.execute("PRAGMA busy_timeout = 5000")
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
        application: int = db.execute("PRAGMA application_id").fetchone()[0]
        empty = not db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        if empty:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only takes effect before the first table
        elif application != APPLICATION_ID:
            raise base.CorruptStoreError(f"{path} is not a store of Lattice; move it away, or name another --data-dir")
        elif version != FORMAT:
            raise base.CorruptStoreError(f"{path} has format {version}, this release reads {FORMAT}; use the release that wrote it")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {synchronous}")
        db.execute("PRAGMA journal_size_limit = 8388608")
        db.execute("PRAGMA temp_store = MEMORY")
        if empty:
            db.executescript(f"BEGIN; {_SCHEMA} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; COMMIT;")
        present_revision(db)  # the tables are there and can be read
    except sqlite3.DatabaseError as error:
        db.close()
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            raise base.StoreFullError(f"no space left to open the store {path}: {error}; free some space and start again") from error
        if error.sqlite_errorcode & 0xFF in _ELSEWHERE:
            raise base.StoreUnavailableError(f"cannot open {path}: {error}; check who uses it, its permissions and the disk") from error
        raise base.CorruptStoreError(corrupt_message(path, error)) from error
    except base.StoreError:
        db.close()
        raise
    return db


def corrupt_message(path: Path, error: BaseException) -> str:
    """Return what to tell of a damaged file."""
    return f"{path} cannot be read: {error}; restore a backup into an empty data directory (lattice restore)"


def present_revision(db: sqlite3.Connection) -> base.Revision:
    """Return the highest revision that was ever committed."""
    top: int | None = db.execute("SELECT max(revision) FROM log").fetchone()[0]
    return base.Revision(max(top or 0, _meta(db, "compacted")))


def compacted_revision(db: sqlite3.Connection) -> base.Revision:
    """Return the revision at or below which history is incomplete."""
    return base.Revision(_meta(db, "compacted"))


def head(db: sqlite3.Connection, key: str) -> base.Record | None:
    """Return the present record of a key."""
    found = db.execute(_HEAD, (key,)).fetchone()
    if found is None or found[0] is None:
        return None
    return base.Record(key, found[0], found[1], found[2])


def apply(
    db: sqlite3.Connection, ops: Sequence[base.Op], revision: base.Revision, now_s: float
) -> tuple[base.TxnResult, tuple[base.StoreEvent, ...]]:
    """Apply a transaction at ``revision`` inside an open SQLite transaction, if all of its expectations hold.

    Returns:
        the result, and its events; without events nothing was changed and the revision was not used.
    """
    previous: list[base.Record | None] = []
    holds = True
    for op in ops:
        record = head(db, op.key)
        previous.append(record)
        if op.expected is not None and op.expected != (record.mod_revision if record is not None else base.NO_REVISION):
            holds = False
    unused = base.Revision(revision - 1)
    if not holds:
        return base.TxnResult(False, unused, tuple(previous)), ()
    events: list[base.StoreEvent] = []
    for op, before in zip(ops, previous, strict=True):
        superseded = before.mod_revision if before is not None else 0
        if isinstance(op, base.Put):
            created = before.create_revision if before is not None else revision
            expires_at = None if op.ttl_s is None else now_s + op.ttl_s
            db.execute(_INSERT, (revision, op.key, op.value, created, superseded, expires_at))
            events.append(base.StoreEvent(op.key, revision, base.Record(op.key, op.value, revision, created), before))
        elif before is not None:
            db.execute(_INSERT, (revision, op.key, None, before.create_revision, superseded, None))
            events.append(base.StoreEvent(op.key, revision, None, before))
    return base.TxnResult(True, revision if events else unused, tuple(previous)), tuple(events)


def expired(db: sqlite3.Connection, now_s: float, limit: int) -> list[base.Delete]:
    """Return deletions of keys whose time is over. Those that were written again since have another revision and will not match."""
    found = db.execute("SELECT key, revision FROM log WHERE expires_at <= ? ORDER BY expires_at LIMIT ?", (now_s, limit))
    return [base.Delete(key, base.Revision(revision)) for key, revision in found]


def forget_expiry(db: sqlite3.Connection, deletion: base.Delete) -> None:
    """Drop a row's expiry once it was acted upon."""
    db.execute("UPDATE log SET expires_at = NULL WHERE key = ? AND revision = ?", (deletion.key, deletion.expected))


def history(db: sqlite3.Connection, after: base.Revision, limit: int, limit_bytes: int) -> base.WatchBatch | None:
    """Return the next events after a revision, or ``None``: whole revisions, at least one, and about as much as the limits say.

    Raises:
        base.CompactedError: they are not all there any more.
    """
    rows: list[tuple[Any, ...]] = []
    size_bytes = 0
    db.execute("BEGIN")
    try:
        compacted = compacted_revision(db)
        if after < compacted:
            raise base.CompactedError(compacted)
        for row in db.execute(_HISTORY, (after,)):
            if (len(rows) >= limit or size_bytes >= limit_bytes) and row[0] != rows[-1][0]:
                break
            rows.append(row)
            size_bytes += len(row[2] or b"") + len(row[5] or b"")
    finally:
        db.execute("COMMIT")
    if not rows:
        return None
    events = []
    for revision, key, value, created, superseded, old_value, old_created in rows:
        record = None if value is None else base.Record(key, value, revision, created)
        before = None if old_value is None else base.Record(key, old_value, superseded, old_created)
        events.append(base.StoreEvent(key, revision, record, before))
    return base.WatchBatch(events[-1].revision, tuple(events))


def listing(
    db: sqlite3.Connection, prefix: str, limit: int | None, start_after: str | None, revision: base.Revision | None
) -> base.ListResult:
    """Return records in key order at one revision.

    Raises:
        base.CompactedError, base.FutureRevisionError: of ``revision``.
    """
    db.execute("BEGIN")
    try:
        present = present_revision(db)
        at = present if revision is None else revision
        if at > present:
            raise base.FutureRevisionError(f"revision {at} has not been written yet; the store is at {present}")
        if at < (compacted := compacted_revision(db)):
            raise base.CompactedError(compacted)
        wanted = -1 if limit is None else limit + 1
        bounds = (start_after or "", prefix, _after_prefix(prefix), at, at, wanted)
        rows = db.execute(_LIST, bounds).fetchall()
    finally:
        db.execute("COMMIT")
    more = limit is not None and len(rows) > limit
    records = tuple(base.Record(*row) for row in (rows[:limit] if more else rows))
    return base.ListResult(records, at, more)


def mark_compacted(db: sqlite3.Connection, revision: base.Revision) -> None:
    """Say that history at or below ``revision`` (at most the present one) is incomplete from now on."""
    target = min(revision, present_revision(db))
    db.execute("UPDATE meta SET value = max(value, ?) WHERE name = 'compacted'", (target,))


def skip_to(db: sqlite3.Connection, revision: base.Revision) -> None:
    """Let the next write have a revision above ``revision``; never goes back. History at or below it is incomplete from now on."""
    if revision > present_revision(db):
        db.execute("UPDATE meta SET value = ? WHERE name = 'compacted'", (revision,))


def sweep(db: sqlite3.Connection, rows: int) -> bool:
    """Drop the rows that one further slice of revisions supersedes. Return whether more is left to do.

    Args:
        db: inside an open transaction.
        rows: how many log rows to look at; more than a transaction has operations.
    """
    compacted, swept = _meta(db, "compacted"), _meta(db, "swept")
    if swept >= compacted:
        return False
    found = db.execute(_SLICE, (swept, compacted, rows)).fetchall()
    end = found[-1][1] if len(found) == rows else compacted
    # Row by row: for a statement that drops many, SQLite writes the freed pages to the log too, which a full disk has no room for.
    for row_id, _revision, key, is_deletion, superseded in found:
        if superseded:
            db.execute("DELETE FROM log WHERE key = ? AND revision = ?", (key, superseded))
        if is_deletion:
            db.execute("DELETE FROM log WHERE id = ?", (row_id,))
    # Rows of the last revision that did not fit into this slice are looked at again: dropping is idempotent.
    end = end - 1 if len(found) == rows and end - 1 > swept else end
    db.execute("UPDATE meta SET value = ? WHERE name = 'swept'", (end,))
    return bool(end < compacted)


def _meta(db: sqlite3.Connection, name: str) -> int:
    value: int = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0]
    return value


def _after_prefix(prefix: str) -> str:
    """Return a key above all keys with this prefix: SQLite compares text by its UTF-8 bytes, and U+10FFFF is in no key of ours."""
    return prefix + "\U0010ffff"
