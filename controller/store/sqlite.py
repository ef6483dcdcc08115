"""The embedded store: a log with revisions in one SQLite file. The default on one machine.

What is here: the public store, reads and watches. ``sqlite_writer`` commits (one fsync acknowledges many writes), ``sqlite_log`` has the
schema and the statements. Readers use connections of their own in a small pool (WAL: they never wait for the writer, nor it for them).
Watchers get each group right after its commit, from the event loop; one that lags, or starts in the past, reads the log until it has
caught up. The calling side is one event loop; all state belongs to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar

from controller.store import base, sqlite_log
from controller.store.sqlite_writer import Writer
from lattice.machinery.clock import Clock, SystemClock
from lattice.machinery.filelock import FileLock
from lattice.machinery.tasks import TaskOwner

T = TypeVar("T")

Durability = Literal["full", "normal", "off"]
"""``full``: every acknowledged write is on disk. ``normal``: survives kill -9, may lose the last writes at a loss of power (never
damages the file). ``off``: for data that may go, such as Events."""

MAX_OPS: Final = 100
_HISTORY_ROWS: Final = 1000
_HISTORY_BYTES: Final = 8 * 2**20
_WATCH_BUFFER: Final = 10_000
"""Events kept for a watcher that lags before it is sent to the log instead."""
_WATCH_BUFFER_BYTES: Final = 32 * 2**20
_UPKEEP_PERIOD_S: Final = 2.0
_READERS: Final = 2
_READER_BUSY_S: Final = 5.0
_CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

# An alias, because inside the class the name ``list`` is the method.
_Connections: TypeAlias = list[sqlite3.Connection]


@dataclass(slots=True, eq=False)
class _Watcher:
    """Buffer of one watch. ``lagging``: the buffer was dropped; read the log."""

    batches: deque[base.WatchBatch] = field(default_factory=deque)
    events: int = 0
    size_bytes: int = 0
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
            db = sqlite_log.connect(path, synchronous=durability.upper())
        except BaseException:
            self._lock.release()
            raise
        self._writer = Writer(path, db, clock, self._deliver)
        self._watchers: set[_Watcher] = set()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix=f"store-read-{path.stem}")
        self._reader_local = threading.local()
        self._reader_connections: _Connections = []
        self._reader = self._connect_reader(0)
        self._closed = False
        self._tasks = TaskOwner(f"store-{path.stem}")
        self._tasks.spawn(self._upkeep_loop(), name="upkeep")

    async def txn(self, ops: Sequence[base.Op]) -> base.TxnResult:
        """See :class:`controller.store.base.Store`."""
        self._check_open()
        _check(ops)
        return await self._writer.txn(ops)

    async def get(self, key: str) -> base.Record | None:
        """See :class:`controller.store.base.Store`."""
        self._check_open()
        # One lookup on the loop: some 10 µs, where the way to a thread and back costs a multiple, and milliseconds beside a busy loop.
        try:
            return sqlite_log.head(self._reader, key)
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

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
        return self._writer.revision

    async def watch(self, after: base.Revision) -> AsyncGenerator[base.WatchBatch]:
        """See :class:`controller.store.base.Store`."""
        self._check_open()
        if after > self._writer.revision:
            raise base.FutureRevisionError(f"revision {after} has not been written yet; the store is at {self._writer.revision}")
        watcher = _Watcher()
        self._watchers.add(watcher)
        position = after
        try:
            while not self._closed:
                while watcher.lagging:
                    # From here on the buffer is kept; what the log has and the buffer gets too is skipped by its revision.
                    watcher.lagging = False
                    first = True
                    while first or position < self._writer.revision:
                        first = False
                        batch = await self._read(
                            partial(sqlite_log.history, after=position, limit=_HISTORY_ROWS, limit_bytes=_HISTORY_BYTES)
                        )
                        if batch is None:
                            break
                        position = batch.revision
                        yield batch
                        if watcher.lagging:
                            break
                while watcher.batches and not watcher.lagging:
                    batch = watcher.batches.popleft()
                    watcher.events -= len(batch.events)
                    watcher.size_bytes -= sum(map(_size_bytes, batch.events))
                    if batch.revision <= position:
                        continue
                    if batch.events and batch.events[0].revision <= position:
                        batch = base.WatchBatch(batch.revision, tuple(e for e in batch.events if e.revision > position))
                    position = batch.revision
                    yield batch
                # Not if it was closed while the log was read: nobody would wake this again.
                if not watcher.lagging and not watcher.batches and not self._closed:
                    watcher.wake.clear()
                    await watcher.wake.wait()
        finally:
            self._watchers.discard(watcher)
        raise base.StoreUnavailableError("the store was closed")

    async def compact(self, revision: base.Revision) -> None:
        """See :class:`controller.store.base.Store`. Returns when the mark is durable; rows are dropped between the next writes."""
        self._check_open()
        await self._writer.compact(revision)

    async def advance(self, revision: base.Revision) -> bool:
        """See :class:`controller.store.base.Store`."""
        self._check_open()
        await self._writer.advance(revision)
        return True

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
        await self._writer.close()
        await asyncio.to_thread(self._readers.shutdown)
        for connection in self._reader_connections:
            connection.close()
        self._lock.release()

    def _check_open(self) -> None:
        if self._closed:
            raise base.StoreUnavailableError("the store was closed")

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        self._check_open()

        def run() -> T:
            connection: sqlite3.Connection | None = getattr(self._reader_local, "connection", None)
            if connection is None:
                connection = self._reader_local.connection = self._connect_reader(_READER_BUSY_S)
            return query(connection)

        try:
            return await self._loop.run_in_executor(self._readers, run)
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: sqlite3.Error) -> base.StoreError:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _CORRUPT:
            return base.CorruptStoreError(sqlite_log.corrupt_message(self._path, error))
        return base.StoreUnavailableError(f"cannot read {self._path}: {error}")

    def _connect_reader(self, timeout_s: float) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA query_only = ON")
        self._reader_connections.append(connection)
        return connection

    async def _upkeep_loop(self) -> None:
        while True:
            await self._clock.sleep(_UPKEEP_PERIOD_S)
            self._writer.upkeep()

    def _deliver(self, revision: base.Revision, events: tuple[base.StoreEvent, ...]) -> None:
        """Give a commit to the watchers; its writers are told afterwards."""
        batch = base.WatchBatch(revision, events)
        size_bytes = sum(map(_size_bytes, events))
        for watcher in self._watchers:
            if watcher.lagging:
                continue
            if watcher.events + len(events) > _WATCH_BUFFER or watcher.size_bytes + size_bytes > _WATCH_BUFFER_BYTES:
                watcher.lagging = True
                watcher.batches.clear()
                watcher.events = watcher.size_bytes = 0
            else:
                watcher.batches.append(batch)
                watcher.events += len(events)
                watcher.size_bytes += size_bytes
            watcher.wake.set()


async def open_sqlite(path: Path, *, durability: Durability = "full", clock: Clock | None = None) -> SqliteStore:
    """Open the store at ``path``, making it where it does not exist.

    Raises:
        base.StoreLockedError: another process has it open.
        base.CorruptStoreError: the file is no store, damaged, or of a newer format.
        base.StoreFullError: no space to open it.
    """
    return SqliteStore(path, durability=durability, clock=clock or SystemClock())


def _lock(path: Path) -> FileLock:
    """Take the lock beside the file; it is free again when the process ends, however it ends."""
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        lock.acquire()
    except BlockingIOError as error:
        raise base.StoreLockedError(
            f"{path} is in use by another process: one server at a time can use a data directory; stop it first"
        ) from error
    except OSError as error:
        raise base.StoreUnavailableError(f"cannot lock {path}.lock: {error}; check the data directory") from error
    return lock


def _check(ops: Sequence[base.Op]) -> None:
    if not 1 <= len(ops) <= MAX_OPS or len({op.key for op in ops}) != len(ops):
        raise ValueError(f"a transaction has 1 to {MAX_OPS} operations on different keys, not {len(ops)}")
    for op in ops:
        op.key.encode()  # text that is no Unicode (a lone surrogate) is the caller's error, and must not reach the writer
        if isinstance(op, base.Put) and len(op.value) > base.MAX_VALUE_BYTES:
            raise base.ValueTooLargeError(f"the value of {op.key} has {len(op.value)} bytes; at most {base.MAX_VALUE_BYTES} fit")


def _size_bytes(event: base.StoreEvent) -> int:
    return sum(len(record.value) for record in (event.record, event.previous) if record is not None)
