"""The embedded store: a log with revisions in one SQLite file. The default on one machine.

One thread writes. What is asked of it while it syncs the last group to disk becomes the next group: one fsync acknowledges many writes
(group commit), and a lone writer waits for one fsync and nothing else. Readers use connections of their own in a small pool (WAL: they
never wait for the writer, nor it for them). Watchers get each group right after its commit, from the event loop; one that lags, or
starts in the past, reads the log until it has caught up.

The calling side is one event loop; the store's state (`_revision`, `_watchers`) belongs to it. The thread touches only its connection
and the queue, and reports back through ``call_soon_threadsafe``: first the events, then the acknowledgements.

Space: creations are refused while the disk has less than ``_headroom_bytes`` left, updates below half of that, so that deletions, and the
compaction that follows them, still find room.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar

from controller.store import base, sqlite_log
from lattice.machinery.clock import Clock, SystemClock
from lattice.machinery.tasks import TaskOwner

logger = logging.getLogger(__name__)
T = TypeVar("T")

Durability = Literal["full", "normal", "off"]
"""``full``: every acknowledged write is on disk. ``normal``: survives kill -9, may lose the last writes at a loss of power (never
damages the file). ``off``: for data that may go, such as Events."""

MAX_OPS: Final = 100
_GROUP: Final = 512
"""Most transactions in one commit: about 20 ms of work, which bounds what the first of them waits for the last."""
_SWEEP_ROWS: Final = 200
"""Rows looked at in one slice of compaction: some milliseconds between two groups (store.md: larger slices show in writers' p99)."""
_VACUUM_PAGES: Final = 64
_SPARE_PAGES: Final = 256
"""Free pages (1 MiB) that stay in the file for the next writes."""
_HISTORY_ROWS: Final = 1000
_WATCH_BUFFER: Final = 10_000
"""Events kept for a watcher that lags before it is sent to the log instead."""
_HEADROOM_BYTES: Final = 16 * 2**20
_EXPIRY_PERIOD_S: Final = 2.0
_READERS: Final = 2
_CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_FATAL: Final = _CORRUPT | {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
"""What would fail again for each transaction of a group alone, or must not be tried again because it may have been written."""


@dataclass(slots=True)
class _Write:
    """A transaction under way."""

    ops: Sequence[base.Op]
    done: asyncio.Future[base.TxnResult]


@dataclass(slots=True)
class _Compaction:
    """A wish to forget."""

    revision: base.Revision
    done: asyncio.Future[None]


@dataclass(slots=True)
class _Advance:
    """A wish to skip revisions."""

    revision: base.Revision
    done: asyncio.Future[None]


@dataclass(slots=True)
class _Expire:
    """A look at what has expired."""


_Item: TypeAlias = "_Write | _Compaction | _Advance | _Expire"
# Aliases, because inside the class the name ``list`` is the method.
_Items: TypeAlias = list[_Item]
_Writes: TypeAlias = list[_Write]
_Settled: TypeAlias = list[tuple[asyncio.Future[base.TxnResult], base.TxnResult | Exception]]
_Connections: TypeAlias = list[sqlite3.Connection]
_Events: TypeAlias = list[base.StoreEvent]


@dataclass(slots=True, eq=False)
class _Watcher:
    """Buffer of one watch. ``lagging``: the buffer was dropped; read the log."""

    batches: deque[base.WatchBatch] = field(default_factory=deque)
    events: int = 0
    lagging: bool = True
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class SqliteStore:
    """See the module's docstring, and ``controller.store.base.Store`` for the contract. Made by :func:`open_sqlite`."""

    def __init__(self, path: Path, *, durability: Durability, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _lock(path)
        try:
            self._db = sqlite_log.connect(path, synchronous=durability.upper())
            self._revision = sqlite_log.present_revision(self._db)
        except BaseException:
            os.close(self._lock)
            raise
        self._known = self._revision  # the thread's own: what it last committed
        self._headroom = _HEADROOM_BYTES
        self._watchers: set[_Watcher] = set()
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix=f"store-read-{path.stem}")
        self._reader_local = threading.local()
        self._reader_connections: _Connections = []
        self._closed = False
        self._thread = threading.Thread(target=self._write_loop, name=f"store-write-{path.stem}", daemon=True)
        self._thread.start()
        self._tasks = TaskOwner(f"store-{path.stem}")
        self._tasks.spawn(self._expire_loop(), name="expiry")

    # The calling side

    async def txn(self, ops: Sequence[base.Op]) -> base.TxnResult:
        """See :class:`controller.store.base.Store`."""
        self._check_open()
        _check(ops)
        done: asyncio.Future[base.TxnResult] = self._loop.create_future()
        self._queue.put(_Write(ops, done))
        return await asyncio.shield(done)

    async def get(self, key: str) -> base.Record | None:
        """See :class:`controller.store.base.Store`."""
        return await self._read(lambda db: sqlite_log.head(db, key))

    async def list(
        self,
        prefix: str,
        *,
        limit: int | None = None,
        start_after: str | None = None,
        revision: base.Revision | None = None,
    ) -> base.ListResult:
        """See :class:`controller.store.base.Store`."""
        return await self._read(lambda db: sqlite_log.listing(db, prefix, limit, start_after, revision))

    async def revision(self) -> base.Revision:
        """See :class:`controller.store.base.Store`. Acknowledgements come after this is raised, so it covers them all."""
        self._check_open()
        return self._revision

    async def watch(self, after: base.Revision) -> AsyncGenerator[base.WatchBatch]:
        """See :class:`controller.store.base.Store`."""
        self._check_open()
        watcher = _Watcher()
        self._watchers.add(watcher)
        position = after
        try:
            while not self._closed:
                while watcher.lagging:
                    # From here on the buffer is kept; what the log has and the buffer gets too is skipped by its revision.
                    watcher.lagging = False
                    first = True
                    while first or position < self._revision:
                        first = False
                        batch = await self._read(partial(sqlite_log.history, after=position, limit=_HISTORY_ROWS))
                        if batch is None:
                            break
                        position = batch.revision
                        yield batch
                        if watcher.lagging:
                            break
                while watcher.batches and not watcher.lagging:
                    batch = watcher.batches.popleft()
                    watcher.events -= len(batch.events)
                    if batch.revision <= position:
                        continue
                    if batch.events and batch.events[0].revision <= position:
                        batch = base.WatchBatch(batch.revision, tuple(e for e in batch.events if e.revision > position))
                    position = batch.revision
                    yield batch
                if not watcher.lagging and not watcher.batches:
                    watcher.wake.clear()
                    await watcher.wake.wait()
        finally:
            self._watchers.discard(watcher)
        raise base.StoreUnavailableError("the store was closed")

    async def compact(self, revision: base.Revision) -> None:
        """See :class:`controller.store.base.Store`. Returns when the mark is durable; rows are dropped between the next writes."""
        self._check_open()
        done: asyncio.Future[None] = self._loop.create_future()
        self._queue.put(_Compaction(revision, done))
        await asyncio.shield(done)

    async def advance(self, revision: base.Revision) -> None:
        """Skip to ``revision``: the next write gets a higher one. History before it is gone. For restores, before anything is watched."""
        self._check_open()
        done: asyncio.Future[None] = self._loop.create_future()
        self._queue.put(_Advance(revision, done))
        await asyncio.shield(done)

    async def size_bytes(self) -> int:
        """See :class:`controller.store.base.Store`: the file and its write-ahead log."""
        total = 0
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(f"{self._path}{suffix}").st_size  # noqa: PTH116 - the name is a path plus a suffix
        return total

    async def close(self) -> None:
        """See :class:`controller.store.base.Store`."""
        if self._closed:
            return
        self._closed = True
        await self._tasks.stop()
        for watcher in self._watchers:
            watcher.wake.set()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._readers.shutdown)
        for connection in self._reader_connections:
            connection.close()
        os.close(self._lock)

    def _check_open(self) -> None:
        if self._closed:
            raise base.StoreUnavailableError("the store was closed")

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        self._check_open()

        def run() -> T:
            connection: sqlite3.Connection | None = getattr(self._reader_local, "connection", None)
            if connection is None:
                connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
                connection.execute("PRAGMA query_only = ON")
                self._reader_local.connection = connection
                self._reader_connections.append(connection)
            return query(connection)

        try:
            return await self._loop.run_in_executor(self._readers, run)
        except sqlite3.Error as error:
            if _code(error) in _CORRUPT:
                raise base.CorruptStoreError(sqlite_log.corrupt_message(self._path, error)) from error
            raise base.StoreUnavailableError(f"cannot read {self._path}: {error}") from error

    async def _expire_loop(self) -> None:
        while True:
            await self._clock.sleep(_EXPIRY_PERIOD_S)
            self._queue.put(_Expire())

    def _deliver(
        self,
        revision: base.Revision,
        events: tuple[base.StoreEvent, ...],
        settled: _Settled,
    ) -> None:
        """Run in the loop after a commit: first everybody sees it, then the writers are told."""
        if revision > self._revision:
            self._revision = revision
            batch = base.WatchBatch(revision, events)
            for watcher in self._watchers:
                if watcher.lagging:
                    continue
                if watcher.events + len(events) > _WATCH_BUFFER:
                    watcher.lagging = True
                    watcher.batches.clear()
                    watcher.events = 0
                else:
                    watcher.batches.append(batch)
                    watcher.events += len(events)
                watcher.wake.set()
        for done, outcome in settled:
            if done.done():
                continue
            if isinstance(outcome, Exception):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)

    # The writing thread

    def _write_loop(self) -> None:
        sweeping = True  # an interrupted compaction of the last life goes on
        while True:
            items = self._next_items(block=not sweeping)
            if items is None:
                break
            writes = [item for item in items if isinstance(item, _Write)]
            if writes:
                self._commit(writes)
            for item in items:
                match item:
                    case _Compaction():
                        sweeping = self._mark(item.done, partial(sqlite_log.mark_compacted, revision=item.revision)) or sweeping
                    case _Advance():
                        self._skip(item)
                    case _Expire():
                        self._expire()
                    case _Write():
                        pass
            if sweeping:
                sweeping = self._sweep()
        self._empty_wal()
        self._db.close()

    def _next_items(self, *, block: bool) -> _Items | None:
        """Return everything that waits, up to a group; ``None`` at the end."""
        items: _Items = []
        try:
            while len(items) < _GROUP:
                item = self._queue.get(block=block and not items)
                if item is None:
                    if not items:
                        return None
                    self._queue.put(None)  # finish what was accepted first
                    break
                items.append(item)
        except queue.Empty:
            pass
        return items

    def _commit(self, writes: _Writes, *, last_try: bool = False) -> None:
        """Commit a group; where it fails as a whole, each of its transactions alone. Whatever goes wrong, the writer outlives it."""
        try:
            self._commit_group(writes)
        except Exception as error:  # noqa: BLE001 - told to the caller; a dead writer would leave every later one waiting for ever
            self._rollback()
            code = _code(error)
            if not last_try and (code == sqlite3.SQLITE_FULL or (len(writes) > 1 and code not in _FATAL)):
                if code == sqlite3.SQLITE_FULL:
                    self._empty_wal()  # a deletion may fit into what that gives back
                for write in writes:
                    self._commit([write], last_try=True)
                return
            failure: base.StoreError
            if code == sqlite3.SQLITE_FULL:
                failure = base.StoreFullError(_full_message(self._path))
            elif code == sqlite3.SQLITE_IOERR:
                failure = base.OutcomeUnknownError(f"writing {self._path} failed ({error}): the write may or may not be there")
            elif code in _CORRUPT:
                failure = base.CorruptStoreError(sqlite_log.corrupt_message(self._path, error))
            else:
                failure = base.StoreUnavailableError(f"cannot write {self._path}: {error}")
            logger.error("a write to the store failed", extra={"path": str(self._path), "error": str(error)})  # noqa: TRY400 - told to the caller
            self._tell(self._known, (), [(write.done, failure) for write in writes])

    def _commit_group(self, writes: _Writes) -> None:
        db, free, now_s = self._db, self._free_bytes(), self._clock.now().timestamp()
        if free < self._headroom:
            self._empty_wal()
            free = self._free_bytes()
        db.execute("BEGIN IMMEDIATE")
        revision = self._known = sqlite_log.present_revision(db)
        settled: _Settled = []
        events: _Events = []
        for write in writes:
            left = free - _cost_bytes(write.ops)
            if left < self._headroom and _grows(db, write.ops, updates_too=left < self._headroom // 2):
                settled.append((write.done, base.StoreFullError(_full_message(self._path))))
                continue
            result, caused = sqlite_log.apply(db, write.ops, base.Revision(revision + 1), now_s)
            if caused:
                free, revision = left, base.Revision(revision + 1)
                events.extend(caused)
            settled.append((write.done, result))
        db.execute("COMMIT")
        self._known = revision
        self._tell(revision, tuple(events), settled)

    def _expire(self) -> None:
        now_s = self._clock.now().timestamp()
        with self._guarded("expiry"):
            due = sqlite_log.expired(self._db, now_s, _GROUP)
            if not due:
                return
            self._db.execute("BEGIN IMMEDIATE")
            revision = sqlite_log.present_revision(self._db)
            events: _Events = []
            for deletion in due:
                sqlite_log.forget_expiry(self._db, deletion)
                _, caused = sqlite_log.apply(self._db, [deletion], base.Revision(revision + 1), now_s)
                if caused:
                    revision = base.Revision(revision + 1)
                    events.extend(caused)
            self._db.execute("COMMIT")
            if events:
                self._tell(revision, tuple(events), [])
            if len(due) == _GROUP:
                self._queue.put(_Expire())  # more may be due; writers that wait go first

    def _skip(self, item: _Advance) -> None:
        def skip(db: sqlite3.Connection) -> None:
            target = item.revision
            if target > sqlite_log.present_revision(db):
                db.execute("UPDATE meta SET value = ? WHERE name = 'compacted'", (target,))

        # The revision is raised in the same step as the caller is told, and before: whoever asks next sees it.
        self._mark(item.done, skip, lambda: self._deliver(max(item.revision, self._revision), (), []))

    def _mark(
        self, done: asyncio.Future[None], write: Callable[[sqlite3.Connection], None], then: Callable[[], None] | None = None
    ) -> bool:
        """Commit a change of ``meta``, run ``then`` in the loop, and tell the caller. Return whether it worked."""
        failure: Exception | None = None
        try:
            self._db.execute("BEGIN IMMEDIATE")
            write(self._db)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._rollback()
            failure = base.StoreUnavailableError(f"cannot compact {self._path}: {error}")

        def settle() -> None:
            if failure is None and then is not None:
                then()
            if not done.done():
                if failure is None:
                    done.set_result(None)
                else:
                    done.set_exception(failure)

        self._call(settle)
        return failure is None

    def _sweep(self) -> bool:
        """Drop one slice of superseded rows, give free pages back. Return whether to go on; a failure waits for the next compaction."""
        more = False
        with self._guarded("compaction"):
            self._db.execute("BEGIN IMMEDIATE")
            more = sqlite_log.sweep(self._db, _SWEEP_ROWS)
            self._db.execute("COMMIT")
            # A script, because the statement has no columns and ``execute`` would take one step: one page.
            self._db.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
            free: int = self._db.execute("PRAGMA freelist_count").fetchone()[0]
            more = more or free > _SPARE_PAGES
            if not more:
                self._empty_wal()
        return more

    @contextlib.contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        """Roll back and log a failure of upkeep: it is tried again, and must never end the writer."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._rollback()
            logger.warning("upkeep of the store failed", extra={"what": what, "path": str(self._path), "error": str(error)})

    def _rollback(self) -> None:
        if self._db.in_transaction:
            with contextlib.suppress(sqlite3.DatabaseError):
                self._db.execute("ROLLBACK")

    def _free_bytes(self) -> int:
        """Return what is free on the disk once the write-ahead log has been copied to the file, which may grow the file by as much."""
        stat = os.statvfs(self._path.parent)
        self._headroom = min(_HEADROOM_BYTES, stat.f_blocks * stat.f_frsize // 8)
        try:
            pending = os.stat(f"{self._path}-wal").st_size  # noqa: PTH116 - the name is a path plus a suffix
        except FileNotFoundError:
            pending = 0
        return stat.f_bavail * stat.f_frsize - pending

    def _empty_wal(self) -> None:
        """Copy the write-ahead log to the file and give its space back, as far as readers allow."""
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _tell(
        self,
        revision: base.Revision,
        events: tuple[base.StoreEvent, ...],
        settled: _Settled,
    ) -> None:
        self._call(lambda: self._deliver(revision, events, settled))

    def _call(self, function: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(function)


async def open_sqlite(path: Path, *, durability: Durability = "full", clock: Clock | None = None) -> SqliteStore:
    """Open the store at ``path``, making it where it does not exist.

    Raises:
        base.StoreLockedError: another process has it open.
        base.CorruptStoreError: the file is no store, damaged, or of a newer format.
        base.StoreFullError: no space to open it.
    """
    return SqliteStore(path, durability=durability, clock=clock or SystemClock())


def _lock(path: Path) -> int:
    """Take the lock beside the file; it is free again when the process ends, however it ends."""
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise base.StoreUnavailableError(f"cannot open {path}.lock: {error}; check the data directory") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise base.StoreLockedError(
            f"{path} is in use by another process: one server at a time can use a data directory; stop it first"
        ) from error
    return descriptor


def _check(ops: Sequence[base.Op]) -> None:
    if not 1 <= len(ops) <= MAX_OPS or len({op.key for op in ops}) != len(ops):
        raise ValueError(f"a transaction has 1 to {MAX_OPS} operations on different keys, not {len(ops)}")
    for op in ops:
        op.key.encode()  # text that is no Unicode (a lone surrogate) is the caller's error, and must not reach the writer
        if isinstance(op, base.Put) and len(op.value) > base.MAX_VALUE_BYTES:
            raise base.ValueTooLargeError(f"the value of {op.key} has {len(op.value)} bytes; at most {base.MAX_VALUE_BYTES} fit")


def _cost_bytes(ops: Sequence[base.Op]) -> int:
    """Return about what a transaction takes on disk: once in the write-ahead log and once in the file, with a page or so for each key."""
    return 2 * sum(4096 + (len(op.value) if isinstance(op, base.Put) else 0) for op in ops)


def _grows(db: sqlite3.Connection, ops: Sequence[base.Op], *, updates_too: bool) -> bool:
    """Return whether a transaction adds a key, or, with ``updates_too``, writes any value."""
    puts = [op for op in ops if isinstance(op, base.Put)]
    return bool(puts) and (updates_too or any(sqlite_log.head(db, op.key) is None for op in puts))


def _code(error: BaseException) -> int:
    """Return SQLite's primary result code of an error, 0 where it has none."""
    return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def _full_message(path: Path) -> str:
    return f"the store is full: the disk of {path.parent} has no space left; free some space or delete objects"
