"""What only the embedded store does: its files, its lock, groups, expiry over restarts. The contract: tests/contract/test_store*.py."""

import asyncio
import sqlite3
import stat
from contextlib import aclosing

import pytest

from controller.store import sqlite, sqlite_log, sqlite_writer
from controller.store.base import (
    NO_REVISION,
    CompactedError,
    CorruptStoreError,
    Delete,
    OutcomeUnknownError,
    Put,
    StoreLockedError,
    StoreUnavailableError,
)
from lattice.machinery.clock import SystemClock
from lattice.testing.clock import FakeClock
from lattice.testing.polling import eventually
from lattice.testing.stores import collect


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "main.db"


def alter(path, *statements):
    """Change the file behind the store's back."""
    db = sqlite3.connect(path)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


async def test_one_process_at_a_time(path):
    store = await sqlite.open_sqlite(path)
    with pytest.raises(StoreLockedError, match="another process"):
        await sqlite.open_sqlite(path)
    await store.close()
    await (await sqlite.open_sqlite(path)).close()


async def test_nobody_else_may_read_it(path):
    store = await sqlite.open_sqlite(path)
    await store.txn([Put("/a", b"secret")])
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in (path.parent, *path.parent.iterdir())}
    await store.close()
    assert modes == {"data": 0o700, "main.db": 0o600, "main.db-wal": 0o600, "main.db-shm": 0o600, "main.db.lock": 0o600}


def no_database(path):
    path.write_bytes(b"hello, this is not a database" * 100)


def foreign_database(path):
    alter(path, "CREATE TABLE cats (name TEXT)")


def newer_format(path):
    alter(path, "CREATE TABLE log (x)", f"PRAGMA application_id = {sqlite_log.APPLICATION_ID}", "PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("make", "message"), [(no_database, "cannot be read"), (foreign_database, "not a store of Lattice"), (newer_format, "format 99")]
)
async def test_a_file_that_is_not_ours_is_left_alone(path, make, message):
    path.parent.mkdir()
    make(path)
    before = path.read_bytes()
    with pytest.raises(CorruptStoreError, match=message):
        await sqlite.open_sqlite(path)
    assert path.read_bytes() == before


async def test_damage_inside_is_told_and_no_answer_is_made_up(path):
    store = await sqlite.open_sqlite(path)
    for number in range(50):
        await store.txn([Put(f"/k/{number:03}", bytes(2000))])
    await store.close()
    content = bytearray(path.read_bytes())
    for page in range(5, len(content) // 4096):
        content[page * 4096 : (page + 1) * 4096] = b"\xff" * 4096
    path.write_bytes(content)

    async def read():
        store = await sqlite.open_sqlite(path)
        try:
            await store.list("/")
        finally:
            await store.close()

    with pytest.raises(CorruptStoreError, match="restore a backup"):
        await read()


async def test_a_directory_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises((StoreUnavailableError, OSError)):
        await sqlite.open_sqlite(tmp_path / "file" / "main.db")


async def test_writers_that_wait_share_one_commit(path, monkeypatch):
    commits = 0
    group = sqlite_writer.Writer._fill

    def counted(self, writes):
        nonlocal commits
        commits += 1
        group(self, writes)

    monkeypatch.setattr(sqlite_writer.Writer, "_fill", counted)
    store = await sqlite.open_sqlite(path)
    results = await asyncio.gather(*(store.txn([Put(f"/k/{number}", b"")]) for number in range(300)))
    await store.close()
    assert sorted(result.revision for result in results) == list(range(1, 301))
    assert commits < 60


async def test_a_write_that_fails_takes_no_other_with_it(path, monkeypatch):
    apply = sqlite_log.apply

    def failing(db, ops, revision, now_s):
        if ops[0].key == "/bad":
            raise OverflowError("a bug of ours")
        return apply(db, ops, revision, now_s)

    monkeypatch.setattr(sqlite_log, "apply", failing)
    store = await sqlite.open_sqlite(path)
    writes = [store.txn([Put(key, b"")]) for key in ("/a", "/bad", "/b")]
    first, bad, last = await asyncio.gather(*writes, return_exceptions=True)
    assert isinstance(bad, StoreUnavailableError)
    assert (first.revision, last.revision) == (1, 2)
    assert (await store.txn([Put("/c", b"")])).revision == 3
    events = await collect(store.watch(NO_REVISION), 3)
    assert [event.key for event in events] == ["/a", "/b", "/c"]
    await store.close()


async def test_a_key_that_is_no_unicode_is_refused(path):
    store = await sqlite.open_sqlite(path)
    with pytest.raises(ValueError, match="surrogates"):
        await store.txn([Put("/\ud800", b"")])
    assert (await store.txn([Put("/a", b"")])).committed
    await store.close()


async def test_time_to_live_goes_on_after_a_restart(path):
    clock = FakeClock()
    store = await sqlite.open_sqlite(path, clock=clock)
    await store.txn([Put("/short", b"", ttl_s=100), Put("/long", b"", ttl_s=1000), Put("/saved", b"", ttl_s=100)])
    await store.txn([Put("/saved", b"")])
    await store.close()
    await clock.advance(99)
    store = await sqlite.open_sqlite(path, clock=clock)
    await clock.advance(0.5)
    assert await store.get("/short") is not None
    await clock.advance(3)

    async def gone():
        await clock.advance(3)
        return await store.get("/short") is None

    await eventually(gone, 5, "the key to expire")
    assert [record.key for record in (await store.list("/")).records] == ["/long", "/saved"]
    events = await collect(store.watch(NO_REVISION), await store.revision())
    assert [event.key for event in events if event.record is None] == ["/short"]
    await store.close()


async def test_skipping_revisions(path):
    store = await sqlite.open_sqlite(path)
    await store.txn([Put("/a", b"1")])
    await store.advance(1000)
    assert await store.revision() == 1000
    with pytest.raises(CompactedError):
        await collect(store.watch(NO_REVISION), 1)
    assert (await store.txn([Put("/b", b"1", expected=NO_REVISION)])).revision == 1001
    assert [event.key for event in await collect(store.watch(1000), 1001)] == ["/b"]
    await store.advance(500)  # never back
    await store.close()
    store = await sqlite.open_sqlite(path)
    assert await store.revision() == 1001
    assert [(r.key, r.mod_revision) for r in (await store.list("/")).records] == [("/a", 1), ("/b", 1001)]
    await store.close()


async def test_an_interrupted_compaction_goes_on_after_a_restart(path, monkeypatch):
    store = await sqlite.open_sqlite(path)
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_log, "sweep", lambda _db, _rows: False)  # as if it was killed right after the mark
        for number in range(1000):
            await store.txn([Put(f"/k/{number % 10}", bytes(100))])
        await store.txn([Delete("/k/0")])
        await store.compact(await store.revision())
        await store.close()
    assert rows(path) == 1001
    store = await sqlite.open_sqlite(path)
    await eventually(lambda: rows(path) == 9, 10, "the superseded rows to be dropped")
    assert await store.revision() == 1001
    assert len((await store.list("/")).records) == 9
    await store.close()


async def test_compaction_gives_space_back(path):
    store = await sqlite.open_sqlite(path)
    for _ in range(30):
        await store.txn([Put(f"/k/{number}", bytes(20_000)) for number in range(10)])
    await store.txn([Delete(f"/k/{number}") for number in range(10)])
    await store.compact(await store.revision())
    await eventually(lambda: rows(path) == 0, 10, "the rows to be dropped")
    await eventually(lambda: path.stat().st_size < 2_000_000, 10, "the file to shrink from 6 MB")
    await store.close()


async def test_a_watcher_that_lags_over_its_buffer_reads_the_log(path, monkeypatch):
    monkeypatch.setattr(sqlite, "_WATCH_BUFFER", 10)
    monkeypatch.setattr(sqlite, "_HISTORY_ROWS", 150)
    store = await sqlite.open_sqlite(path)
    async with aclosing(store.watch(NO_REVISION)) as batches:
        await store.txn([Put("/first", b"")])
        seen = list((await anext(batches)).events)
        for round_ in range(5):
            await asyncio.gather(*(store.txn([Put(f"/k/{n}", b""), Put(f"/l/{n}", b"")]) for n in range(100)))
            end = await store.revision()
            while seen[-1].revision < end:
                seen.extend((await anext(batches)).events)
            assert len(seen) == 1 + 200 * (round_ + 1)
    assert [event.revision for event in seen] == sorted(event.revision for event in seen)
    await store.close()


async def test_a_watcher_that_lags_over_its_bytes_reads_the_log_page_by_page(path, monkeypatch):
    monkeypatch.setattr(sqlite, "_WATCH_BUFFER_BYTES", 50_000)
    monkeypatch.setattr(sqlite, "_HISTORY_BYTES", 20_000)
    store = await sqlite.open_sqlite(path)
    sizes = []
    async with aclosing(store.watch(NO_REVISION)) as batches:
        await store.txn([Put("/first", b"")])
        await anext(batches)
        for number in range(30):
            await store.txn([Put(f"/k/{number}", bytes(6_000))])
        while sum(sizes) < 30:
            sizes.append(len((await anext(batches)).events))
    assert max(sizes) == 4  # the first that is over the bound is the last
    await store.close()


async def test_after_a_failed_sync_nothing_more_is_written(path, monkeypatch):
    store = await sqlite.open_sqlite(path)
    await store.txn([Put("/a", b"1")])
    failure = sqlite3.OperationalError("disk I/O error")
    failure.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC

    def failing(self):
        self._rollback()
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_writer.Writer, "_commit", failing)
        with pytest.raises(OutcomeUnknownError):
            await store.txn([Put("/b", b"1")])
    for _ in range(2):  # although the disk would work again
        with pytest.raises(StoreUnavailableError, match="restart"):
            await store.txn([Put("/c", b"1")])
    with pytest.raises(StoreUnavailableError, match="restart"):
        await store.compact(1)
    assert (await store.get("/a")).value == b"1"
    await store.close()
    store = await sqlite.open_sqlite(path)
    assert (await store.txn([Put("/c", b"1")])).revision == 2
    await store.close()


async def test_a_reader_holds_up_neither_writes_nor_compaction(path):
    store = await sqlite.open_sqlite(path)
    reader = sqlite3.connect(path, isolation_level=None)
    for number in range(50):
        await store.txn([Put("/k", str(number).encode())])
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM log").fetchone() == (50,)
    async with asyncio.timeout(3):  # a checkpoint that waits for the reader would take the 5 s of a usual busy timeout
        await store.compact(50)
        for number in range(50):
            await store.txn([Put("/k", str(number).encode())])
        await eventually(lambda: rows(path) == 51, 2, "the superseded rows to be dropped")
    reader.close()
    await store.close()


async def test_a_program_that_holds_the_write_lock_is_waited_for(path):
    store = await sqlite.open_sqlite(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    async with asyncio.TaskGroup() as group:
        write = group.create_task(store.txn([Put("/a", b"1")]))
        for _ in range(20):
            assert await store.get("/a") is None  # the loop goes on meanwhile
        assert not write.done()
        other.execute("ROLLBACK")
        other.close()
    assert write.result().committed
    await store.close()


async def test_writes_go_on_beside_a_loop_that_never_rests(path):
    store = await sqlite.open_sqlite(path)

    async def burn():
        while True:
            sum(range(20_000))
            await SystemClock().sleep(0)

    burner = asyncio.ensure_future(burn())
    async with asyncio.timeout(5):  # it took seconds for each when every statement had to win back the GIL
        for number in range(50):
            await store.txn([Put(f"/k/{number}", b"")])
    burner.cancel()
    await store.close()


async def test_a_caller_that_is_cancelled_leaves_its_write(path):
    store = await sqlite.open_sqlite(path)
    task = asyncio.ensure_future(store.txn([Put("/a", b"1")]))
    await SystemClock().sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await store.txn([Put("/b", b"1")])).revision == 2
    assert (await store.get("/a")).value == b"1"
    await store.close()


def rows(path):
    db = sqlite3.connect(path)
    try:
        return db.execute("SELECT count(*) FROM log").fetchone()[0]
    finally:
        db.close()


async def test_a_store_that_is_closed_while_a_watch_reads_the_log_ends_the_watch(tmp_path, monkeypatch):
    store = await sqlite.open_sqlite(tmp_path / "main.db")
    read = store._read

    async def read_and_close(query):
        found = await read(query)
        await store.close()
        return found

    monkeypatch.setattr(store, "_read", read_and_close)
    async with asyncio.timeout(10):
        with pytest.raises(StoreUnavailableError, match="closed"):
            await collect(store.watch(NO_REVISION), 1000)
