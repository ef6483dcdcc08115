"""The embedded store under ``kill -9`` and on a full disk: nothing acknowledged is lost, deletions still work."""

import subprocess
import sys

import pytest

from controller.store.base import NO_REVISION, Delete, Put, StoreFullError
from controller.store.sqlite import open_sqlite
from lattice.machinery.clock import SystemClock
from lattice.testing.polling import eventually
from lattice.testing.processes import Process
from lattice.testing.stores import collect

ROUNDS = 4
LINES_PER_ROUND = 2_000


@pytest.mark.slow
async def test_kill_9_loses_nothing_acknowledged(tmp_path):
    path, log = tmp_path / "main.db", tmp_path / "acknowledged"
    command = (sys.executable, "-m", "lattice.testing.storewriter", "controller.store.sqlite:open_sqlite", str(path))
    acknowledged: list[tuple[str, str, int]] = []
    for _ in range(ROUNDS):
        log.unlink(missing_ok=True)
        log.touch()
        writer = Process(command, log=log)
        writer.start()
        try:
            await eventually(lambda: log.read_bytes().count(b"\n") > LINES_PER_ROUND or not writer.running, 20, "writes")  # noqa: B023
            assert writer.running, writer.tail()
        finally:
            await writer.kill9()
        lines = log.read_text().splitlines(keepends=True)
        acknowledged += [(key, value, int(revision)) for key, value, revision in (line.split() for line in lines if line.endswith("\n"))]

    store = await open_sqlite(path)
    try:
        end = await store.revision()
        events = await collect(store.watch(NO_REVISION), end)
        assert [event.revision for event in events] == list(range(1, end + 1))
        history = {event.revision: (event.key, event.record.value.decode()) for event in events}
        assert len(acknowledged) == len({revision for _, _, revision in acknowledged}) > ROUNDS * LINES_PER_ROUND
        for key, value, revision in acknowledged:
            assert history[revision] == (key, value)
        state = {}
        for event in events:
            assert event.previous == state.get(event.key)
            state[event.key] = event.record
        assert {record.key: record for record in (await store.list("/")).records} == state
        assert (await store.txn([Put("/lattice/next", b"")])).revision == end + 1
    finally:
        await store.close()


@pytest.fixture
def small_disk(tmp_path):
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", mount], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"needs to mount a tmpfs: {made.stderr.decode().strip()}")
    yield mount
    subprocess.run(["umount", mount], check=True)


async def fill(store, size):
    """Create until the store is full and return the revisions of what is there."""
    revisions = {}
    try:
        for number in range(20_000):
            key = f"/lattice/f/{number:05}"
            revisions[key] = (await store.txn([Put(key, bytes(size), expected=NO_REVISION)])).revision
    except StoreFullError:
        return revisions
    raise AssertionError("it never was full")


@pytest.mark.parametrize("size", [200, 50_000, 900_000])
async def test_a_full_disk_refuses_creations_and_lets_deletions_through(small_disk, size):
    store = await open_sqlite(small_disk / "main.db")
    try:
        revisions = await fill(store, size)
        assert len((await store.list("/lattice/f/")).records) == len(revisions)
        for key, revision in revisions.items():
            assert (await store.txn([Delete(key, expected=revision)])).committed
        assert (await store.list("/lattice/f/")).records == ()

        async def works_again():
            await store.compact(await store.revision())
            try:
                return (await store.txn([Put("/lattice/again", bytes(1000))])).committed
            except StoreFullError:
                return False

        await eventually(works_again, 10, "space to be free again", clock=SystemClock())
    finally:
        await store.close()
    reopened = await open_sqlite(small_disk / "main.db")
    assert [record.key for record in (await reopened.list("/")).records] == ["/lattice/again"]
    await reopened.close()


async def test_a_disk_filled_by_others_works_again_when_they_are_gone(small_disk):
    store = await open_sqlite(small_disk / "main.db")
    kept = (await store.txn([Put("/lattice/kept", b"1")])).revision
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        try:
            while True:
                file.write(bytes(100_000))
                file.flush()
        except OSError:
            pass
    with pytest.raises(StoreFullError):
        await store.txn([Put("/lattice/new", bytes(500_000))])
    assert (await store.get("/lattice/kept")).mod_revision == kept
    ballast.unlink()
    assert (await store.txn([Put("/lattice/new", bytes(500_000))])).revision == kept + 1
    await store.close()
