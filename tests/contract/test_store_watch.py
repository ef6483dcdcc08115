"""The store's contract: watches and what time does to keys. Both back ends. The rest: test_store.py."""

import asyncio
import random
from contextlib import aclosing

import pytest

from controller.store.base import NO_REVISION, CompactedError, Delete, FutureRevisionError, Put, StoreEvent, StoreUnavailableError
from lattice.testing.polling import eventually
from lattice.testing.stores import collect

A, B = "/lattice/v1/core/pods/ns/a", "/lattice/v1/core/pods/ns/b"


async def write_history(store, *, seed: int, transactions: int) -> list[StoreEvent]:
    """Write at random and return the events that must come of it, from the answers alone."""
    rng = random.Random(seed)
    keys = [f"/lattice/h/{number}" for number in range(6)]
    events: list[StoreEvent] = []
    for _ in range(transactions):
        ops = [
            Delete(key) if rng.random() < 0.3 else Put(key, rng.randbytes(rng.randrange(40)))
            for key in rng.sample(keys, rng.randrange(1, 4))
        ]
        result = await store.txn(ops)
        for op, previous in zip(ops, result.previous, strict=True):
            record = await store.get(op.key) if isinstance(op, Put) else None
            if record is not None or previous is not None:
                events.append(StoreEvent(op.key, result.revision, record, previous))
    return events


def by_revision(events):
    """Sort within revisions: the order of the keys of one transaction is not promised."""
    return sorted(events, key=lambda event: (event.revision, event.key))


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_watch_from_any_revision_is_the_history_from_there(store, seed):
    start = await store.revision()
    history = await write_history(store, seed=seed, transactions=40)
    end = await store.revision()
    for after in range(start, end):
        seen = await collect(store.watch(after), end)
        assert by_revision(seen) == by_revision(event for event in history if event.revision > after)


async def test_a_watch_sees_the_past_and_then_the_present(store):
    start = await store.revision()
    await store.txn([Put(A, b"1")])

    async def write_more():
        for number in range(200):
            await store.txn([Put(A, str(number).encode()), Put(f"/lattice/live/{number}", b"")])
        return await store.revision()

    async with asyncio.TaskGroup() as group:
        end = start + 201
        watches = [group.create_task(collect(store.watch(start), end)) for _ in range(5)]
        writer = group.create_task(write_more())
    assert writer.result() == end
    for watch in watches:
        events = watch.result()
        assert len(events) == 401
        assert [e.previous is None for e in events if e.key == A] == [True] + [False] * 200


async def test_a_watch_waits_for_the_first_event(store):
    start = await store.revision()
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(collect(store.watch(start), start + 1))
        await store.txn([Put(A, b"1", expected=NO_REVISION)])
    assert [(event.key, event.previous) for event in watch.result()] == [(A, None)]


async def test_what_changes_nothing_is_no_event(store):
    start = await store.revision()
    await store.txn([Delete(A)])
    await store.txn([Put(A, b"1", expected=99)])
    done = await store.txn([Put(B, b"1")])
    assert done.revision == start + 1
    assert [event.key for event in await collect(store.watch(start), done.revision)] == [B]


async def test_watches_and_lists_fit_together(store):
    """What an informer does: list, then watch from there, while others write."""
    await write_history(store, seed=3, transactions=20)
    listed = await store.list("/lattice/h/")
    state = {record.key: record for record in listed.records}
    await write_history(store, seed=4, transactions=60)
    end = await store.revision()
    for event in await collect(store.watch(listed.revision), end):
        assert state.pop(event.key, None) == event.previous
        if event.record is not None:
            state[event.key] = event.record
    assert tuple(state[key] for key in sorted(state)) == (await store.list("/lattice/h/")).records


async def test_a_slow_watcher_loses_nothing(store):
    start = await store.revision()
    count = 0
    async with aclosing(store.watch(start)) as batches:
        reader = aiter(batches)
        await store.txn([Put("/lattice/s/first", bytes(1000))])
        count += len((await anext(reader)).events)
        for number in range(150):  # more than what is buffered for a watcher
            await store.txn([Put(f"/lattice/s/{key}", bytes(200)) for key in range(number, number + 100)])
        end = await store.revision()
        async for batch in reader:
            count += len(batch.events)
            if batch.revision >= end:
                break
    assert count == 15_001


async def test_compaction_ends_watches_of_the_past_only(store):
    revisions = [(await store.txn([Put(A, str(number).encode())])).revision for number in range(6)]
    mark = revisions[3]
    await store.compact(mark)
    for after in (NO_REVISION + 1, mark - 2):
        with pytest.raises(CompactedError) as caught:
            await collect(store.watch(after), revisions[-1])
        assert caught.value.compacted_revision >= mark
    seen = await collect(store.watch(mark), revisions[-1])
    assert [(event.revision, event.previous.value) for event in seen] == [(revisions[4], b"3"), (revisions[5], b"4")]


async def test_a_watch_just_below_the_mark_never_misses_what_was_there_before(store):
    """One below the mark, a back end may still have the event; then it must have the record before it, too."""
    await store.txn([Put(A, b"1")])
    mark = (await store.txn([Put(A, b"2")])).revision
    await store.compact(mark)
    try:
        seen = await collect(store.watch(mark - 1), mark)
    except CompactedError:
        return
    assert [event.previous.value for event in seen] == [b"1"]


async def test_compaction_does_not_disturb_a_watch_that_is_current(store):
    start = await store.revision()
    async with aclosing(store.watch(start)) as batches:
        for number in range(30):
            revision = (await store.txn([Put(A, str(number).encode())])).revision
            batch = await anext(batches)
            assert batch.revision == revision
            await store.compact(revision)


async def test_a_watch_goes_on_after_a_crash(backend, store):
    start = await store.revision()
    history = await write_history(store, seed=5, transactions=10)
    async with aclosing(store.watch(start)) as batches:
        seen = list((await anext(batches)).events)
        position = seen[-1].revision
        reopened = await backend.crash(store)
        try:
            history += await write_history(reopened, seed=6, transactions=10)
            end = await reopened.revision()
            if reopened is store:  # the client lived on, and so does its watch
                async for batch in batches:
                    seen.extend(batch.events)
                    if batch.revision >= end:
                        break
            else:
                seen += await collect(reopened.watch(position), end)
        finally:
            await reopened.close()
    assert by_revision(seen) == by_revision(history)


async def test_a_watch_from_the_future_is_refused(store):
    await store.txn([Put(A, b"1")])
    with pytest.raises(FutureRevisionError):
        await collect(store.watch(await store.revision() + 100), 1)


async def test_closing_the_store_ends_its_watches(store):
    start = await store.revision()

    async def follow():
        with pytest.raises(StoreUnavailableError, match="closed"):
            await collect(store.watch(start), start + 1000)

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(follow())
        await store.txn([Put(A, b"1")])
        await store.close()


async def test_cancelling_a_watch_ends_it(store):
    start = await store.revision()
    task = asyncio.ensure_future(collect(store.watch(start), start + 1))
    await store.get(A)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_expired_key_is_deleted_as_any_other(store):
    start = await store.revision()
    await store.txn([Put(A, b"short", ttl_s=1), Put(B, b"kept", ttl_s=600)])
    await store.txn([Put(f"{A}-rewritten", b"", ttl_s=1)])
    await store.txn([Put(f"{A}-rewritten", b"")])
    assert (await store.get(A)).value == b"short"

    async def gone():
        return await store.get(A) is None

    await eventually(gone, 15, "the key to expire")
    end = (await store.txn([Put(B, b"end")])).revision
    events = [event for event in await collect(store.watch(start), end) if event.key == A]
    assert [event.record is None for event in events] == [False, True]
    assert events[1].previous == events[0].record
    assert await store.get(f"{A}-rewritten") is not None
