"""Group commit for the embedded store: the one writer of its file. Used by ``sqlite.py`` alone.

What is asked for while a commit is under way becomes the next group: one fsync acknowledges many writes, and a lone writer waits for one
fsync and nothing else. The statements of a group run on the event loop's thread, in slices of a few milliseconds; only what waits for the
disk (COMMIT, with its fsync and now and then a checkpoint; giving space back) run in a thread. Why: each call of
SQLite lets go of the GIL and a thread must win it back from the loop. Statements cost some 10 µs each on the loop; in a thread, beside a
busy loop, each of them cost milliseconds. This way a group crosses threads once.

All state belongs to the event loop. The thread uses the connection while a job runs and the loop does not touch it then.

Order after a commit: ``revision`` is raised, ``deliver`` tells the watchers, then the writers are told. A commit that ended with an I/O
error may have happened, and a later fsync may claim success for pages that were lost: all writes are refused from then on.

What there is room for: ``sqlite_space``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from controller.store import base, sqlite_log, sqlite_space
from controller.store.sqlite_thread import JobThread
from lattice.machinery.clock import Clock

logger = logging.getLogger(__name__)

_GROUP: Final = 128
_GROUP_BYTES: Final = 8 * 2**20
_GROUP_S: Final = 0.003
"""Bounds of one group: how long the event loop does nothing but statements."""
_EXPIRE: Final = 100
_SWEEP_ROWS: Final = 128
"""Rows looked at in one slice of compaction between two groups: more than a transaction has, few enough for the loop."""
_VACUUM_PAGES: Final = 64
_SPARE_PAGES: Final = 256
"""Free pages (1 MiB) that stay in the file for the next writes."""
_BUSY_S: Final = 5.0
"""How long another program (a ``sqlite3`` shell, say) may hold the file's write lock before writes are refused."""
_BUSY_RETRY_S: Final = 0.02
_CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_FATAL: Final = _CORRUPT | {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
"""What would fail again for each transaction of a group alone, or must not be tried again because it may have been written."""


@dataclass(slots=True)
class _Item:
    """Something to be written. ``run`` executes its statements in the group's transaction and returns the answer for ``done``."""

    run: Callable[[_Group], Any]
    done: asyncio.Future[Any] | None
    size_bytes: int = 0
    last_try: bool = False
    """Its group has failed: it is committed alone, and a further failure is its own."""
    then: Callable[[], None] | None = None
    """Called in the loop once it is durable."""


@dataclass(slots=True)
class _Group:
    """A group under way, between BEGIN and COMMIT."""

    revision: base.Revision
    space: sqlite_space.Space
    now_s: float
    items: list[_Item] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    events: list[base.StoreEvent] = field(default_factory=list)
    size_bytes: int = 0


class Writer:
    """See the module's docstring. Its methods are called on the event loop that made it."""

    def __init__(
        self, path: Path, db: sqlite3.Connection, clock: Clock, deliver: Callable[[base.Revision, tuple[base.StoreEvent, ...]], None]
    ) -> None:
        self.revision = sqlite_log.present_revision(db)
        """The last one that was committed."""
        self._path = path
        self._db = db
        self._clock = clock
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Item] = deque()
        self._thread = JobThread(f"store-write-{path.stem}", self._step)
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._broken: base.StoreUnavailableError | None = None
        self._busy_since_s: float | None = None
        self._sweeping = True  # an interrupted compaction of the last life goes on
        self._group_was_last = False
        self._wal_due = False  # the write-ahead log should be emptied
        self._wal_held = False  # readers were in the way of that
        self._just_emptied = False
        db.execute("PRAGMA busy_timeout = 0")  # the loop must not wait for a lock, and a checkpoint not for a reader
        self._wake()

    # What is asked for

    async def txn(self, ops: Sequence[base.Op]) -> base.TxnResult:
        """Write a transaction. A caller that is cancelled leaves it to be written."""
        size_bytes = sum(len(op.value) for op in ops if isinstance(op, base.Put))
        result: base.TxnResult = await self._submit(lambda group: self._apply(group, ops), size_bytes)
        return result

    async def compact(self, revision: base.Revision) -> None:
        """Mark history as forgotten; rows are dropped in slices, between groups."""

        def begin() -> None:
            # The log is emptied first: on a disk that is nearly full, the slices need what it takes.
            self._sweeping = self._wal_due = True

        await self._submit(lambda _group: sqlite_log.mark_compacted(self._db, revision), then=begin)

    async def advance(self, revision: base.Revision) -> None:
        """Skip to a revision."""

        def skip(group: _Group) -> None:
            sqlite_log.skip_to(self._db, revision)
            group.revision = max(group.revision, revision)

        await self._submit(skip)

    def upkeep(self) -> None:
        """Delete what has expired; try again to empty the write-ahead log. Called every few seconds."""
        if self._closing or self._broken is not None:
            return
        self._queue.append(_Item(self._expire, None))
        self._wal_due, self._wal_held = self._wal_held or self._wal_due, False
        self._wake()

    async def close(self) -> None:
        """Finish what was accepted, then close the connection."""
        self._closing = True
        await self._idle.wait()
        await self._thread.close(self._end)

    def _submit(self, run: Callable[[_Group], Any], size_bytes: int = 0, *, then: Callable[[], None] | None = None) -> asyncio.Future[Any]:
        if self._broken is not None:
            raise self._broken
        done: asyncio.Future[Any] = self._loop.create_future()
        self._queue.append(_Item(run, done, size_bytes, then=then))
        self._wake()
        return done

    # One step after the other

    def _wake(self) -> None:
        """See to it that a step follows. Not at once: who asks in the same turn of the loop belongs to the same group."""
        if self._idle.is_set():
            self._idle.clear()
            self._loop.call_soon(self._step)

    def _step(self) -> None:
        """Begin what is next, unless a job runs: its end calls this again."""
        if self._thread.busy:
            return
        upkeep = (self._wal_due or self._sweeping) and not self._closing
        if self._queue and not (upkeep and self._group_was_last):
            self._group_was_last = True
            self._write_group()
        elif upkeep:
            self._group_was_last = False
            if self._wal_due:
                self._wal_due = False
                self._thread.run(self._empty_wal, self._emptied)
            else:
                self._sweep()
        else:
            self._idle.set()

    # Groups

    def _write_group(self) -> None:
        group = _Group(self.revision, sqlite_space.Space(0, 0), self._clock.now().timestamp())
        try:
            group.space = sqlite_space.look(self._path)
            if group.space.scarce and not self._just_emptied:
                self._just_emptied = True
                self._thread.run(self._empty_wal, self._emptied)
                return
            self._just_emptied = False
            if not self._begin():
                self._loop.call_later(_BUSY_RETRY_S, self._step)
                return
            before = self._db.total_changes
            self._fill(group)
            if self._db.total_changes != before:
                self._thread.run(self._commit, lambda future: self._committed(group, future))
                return
            self._db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - told to the callers; a dead writer would leave every later one waiting for ever
            self._rollback()
            self._failed(group, error)
        else:
            self._settle(group)
        self._loop.call_soon(self._step)

    def _begin(self) -> bool:
        """Begin a transaction. Return whether that worked; if not, it is worth another try."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            now_s = self._loop.time()
            if _code(error) != sqlite3.SQLITE_BUSY:
                raise
            if self._busy_since_s is None:
                self._busy_since_s = now_s
            if now_s < self._busy_since_s + _BUSY_S:
                return False
            if len(self._queue) == 1:
                self._busy_since_s = None
            raise
        self._busy_since_s = None
        return True

    def _fill(self, group: _Group) -> None:
        """Execute what waits, up to the bounds of a group."""
        end_s = self._clock.monotonic() + _GROUP_S
        while self._queue and len(group.items) < _GROUP:
            item = self._queue[0]
            group.size_bytes += item.size_bytes
            if group.items and (item.last_try or group.size_bytes > _GROUP_BYTES or self._clock.monotonic() > end_s):
                break
            group.items.append(self._queue.popleft())
            group.answers.append(item.run(group))
            if item.last_try:
                break

    def _commit(self) -> None:
        try:
            self._db.execute("COMMIT")
        except BaseException:
            self._rollback()
            raise

    def _committed(self, group: _Group, future: Future[Any]) -> None:
        error = future.exception()
        if error is None:
            self._settle(group)
            return
        if _code(error) == sqlite3.SQLITE_IOERR:
            self._broken = base.StoreUnavailableError(
                f"{self._path} is read-only since a write to the disk failed ({error}): check the disk, then restart the server"
            )
            logger.critical("the disk of the store failed: no more writes until a restart", extra={"path": str(self._path)})
            unknown = base.OutcomeUnknownError(f"writing {self._path} failed ({error}): the write may or may not be there")
            _answer(group.items, [unknown] * len(group.items))
            waiting, self._queue = list(self._queue), deque()
            _answer(waiting, [self._broken] * len(waiting))
            self._sweeping = self._wal_due = False
            return
        self._failed(group, error)

    def _settle(self, group: _Group) -> None:
        if group.revision > self.revision:
            self.revision = group.revision
            self._deliver(group.revision, tuple(group.events))
        for item in group.items:
            if item.then is not None:
                item.then()
        _answer(group.items, group.answers)

    def _failed(self, group: _Group, error: BaseException) -> None:
        """Nothing of the group was written: try each of its items alone where that may help, else tell."""
        code = _code(error)
        items = group.items or ([self._queue.popleft()] if self._queue else [])  # it did not even begin
        last_try = any(item.last_try for item in items)
        if not last_try and (code == sqlite3.SQLITE_FULL or (len(items) > 1 and code not in _FATAL)):
            for item in items:
                item.last_try = True
            self._queue.extendleft(reversed(items))
            if code == sqlite3.SQLITE_FULL and not self._thread.busy:
                self._thread.run(self._empty_wal, self._emptied)  # a deletion may fit into what that gives back
            return
        failure: base.StoreError
        if code == sqlite3.SQLITE_FULL:
            failure = base.StoreFullError(sqlite_space.full_message(self._path))
        elif code in _CORRUPT:
            failure = base.CorruptStoreError(sqlite_log.corrupt_message(self._path, error))
        else:
            failure = base.StoreUnavailableError(f"cannot write {self._path}: {error}")
        logger.error("a write to the store failed", extra={"path": str(self._path), "error": str(error)})
        _answer(items, [failure] * len(items))

    # The statements of the items

    def _apply(self, group: _Group, ops: Sequence[base.Op]) -> base.TxnResult | base.StoreFullError:
        left_bytes = group.space.take(self._db, ops)
        if left_bytes is None:
            return base.StoreFullError(sqlite_space.full_message(self._path))
        result, events = sqlite_log.apply(self._db, ops, base.Revision(group.revision + 1), group.now_s)
        if events:
            group.space.free_bytes, group.revision = left_bytes, base.Revision(group.revision + 1)
            group.events.extend(events)
        return result

    def _expire(self, group: _Group) -> None:
        due = sqlite_log.expired(self._db, group.now_s, _EXPIRE)
        for deletion in due:
            sqlite_log.forget_expiry(self._db, deletion)
            _, events = sqlite_log.apply(self._db, [deletion], base.Revision(group.revision + 1), group.now_s)
            if events:
                group.revision = base.Revision(group.revision + 1)
                group.events.extend(events)
        if len(due) == _EXPIRE:
            self._queue.append(_Item(self._expire, None))  # more may be due; writers that wait go first

    # Upkeep

    def _sweep(self) -> None:
        """Drop one slice of superseded rows; its commit and the free pages are the thread's."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            more = sqlite_log.sweep(self._db, _SWEEP_ROWS)
        except sqlite3.Error as error:
            self._rollback()
            self._swept(_outcome(error))
        else:
            self._thread.run(lambda: self._shrink(more=more), self._swept)
            return
        self._loop.call_soon(self._step)

    def _shrink(self, *, more: bool) -> bool:
        """Commit a slice and give free pages back. Return whether to go on."""
        self._commit()
        # A script, because the statement has no columns and ``execute`` would take one step: one page.
        self._db.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
        free: int = self._db.execute("PRAGMA freelist_count").fetchone()[0]
        return more or free > _SPARE_PAGES

    def _swept(self, future: Future[bool]) -> None:
        error = future.exception()
        if error is not None:  # tried again after the next compaction
            logger.warning("upkeep of the store failed", extra={"path": str(self._path), "error": str(error)})
        self._sweeping = error is None and future.result()
        self._wal_due = not self._sweeping

    def _empty_wal(self) -> bool:
        """Copy the write-ahead log to the file and give its space back. Return whether readers (or a lock) were in the way."""
        try:
            busy: int = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.Error:
            return True
        return bool(busy)

    def _emptied(self, future: Future[bool]) -> None:
        self._wal_held = future.exception() is not None or future.result()

    def _end(self) -> None:
        if self._broken is None:  # else the log is the only copy to trust
            self._empty_wal()
        self._db.close()

    def _rollback(self) -> None:
        if self._db.in_transaction:
            with contextlib.suppress(sqlite3.DatabaseError):
                self._db.execute("ROLLBACK")


def _answer(items: Sequence[_Item], answers: Sequence[Any]) -> None:
    for item, answer in zip(items, answers, strict=True):
        if item.done is None or item.done.done():
            continue
        if isinstance(answer, Exception):
            item.done.set_exception(answer)
        else:
            item.done.set_result(answer)


def _outcome(error: BaseException) -> Future[Any]:
    """Return a job that has failed."""
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def _code(error: BaseException) -> int:
    """Return SQLite's primary result code of an error, 0 where it has none."""
    return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
