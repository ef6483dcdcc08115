"""The store's contract: transactions, reads and lists. Both back ends. Watches: test_store_watch.py."""

import asyncio

import pytest

from controller.store.base import (
    MAX_VALUE_BYTES,
    NO_REVISION,
    CompactedError,
    Delete,
    FutureRevisionError,
    Put,
    Record,
    StoreUnavailableError,
    ValueTooLargeError,
)

A, B, C = (f"/lattice/v1/core/pods/ns/{name}" for name in "abc")


async def test_a_key_is_created_once(store):
    first = await store.txn([Put(A, b"1", expected=NO_REVISION)])
    again = await store.txn([Put(A, b"2", expected=NO_REVISION)])
    record = Record(A, b"1", first.revision, first.revision)
    assert first.committed
    assert first.previous == (None,)
    assert not again.committed
    assert again.previous == (record,)
    assert again.revision == first.revision
    assert await store.get(A) == record


async def test_an_update_needs_the_present_revision(store):
    created = (await store.txn([Put(A, b"1")])).revision
    updated = await store.txn([Put(A, b"2", expected=created)])
    stale = await store.txn([Put(A, b"3", expected=created)])
    assert updated.committed
    assert updated.previous == (Record(A, b"1", created, created),)
    assert not stale.committed
    assert stale.previous == (Record(A, b"2", updated.revision, created),)
    assert (await store.get(A)).value == b"2"


async def test_a_write_without_expectation_replaces_what_is_there(store):
    created = (await store.txn([Put(A, b"1")])).revision
    replaced = await store.txn([Put(A, b"2")])
    assert replaced.previous == (Record(A, b"1", created, created),)
    assert await store.get(A) == Record(A, b"2", replaced.revision, created)


async def test_an_absent_key_does_not_match_a_revision(store):
    assert not (await store.txn([Put(A, b"1", expected=17)])).committed
    assert (await store.txn([Delete(A, expected=17)])).previous == (None,)
    assert await store.get(A) is None


async def test_deleting(store):
    start = await store.revision()
    nothing = await store.txn([Delete(A)])
    assert nothing.committed
    assert nothing.previous == (None,)
    assert nothing.revision == start == await store.revision()
    created = (await store.txn([Put(A, b"1")])).revision
    assert not (await store.txn([Delete(A, expected=created - 1)])).committed
    assert not (await store.txn([Delete(A, expected=NO_REVISION)])).committed
    gone = await store.txn([Delete(A, expected=created)])
    assert gone.committed
    assert gone.revision == created + 1
    assert gone.previous == (Record(A, b"1", created, created),)
    assert await store.get(A) is None
    assert (await store.txn([Delete(A, expected=NO_REVISION)])).committed
    reborn = await store.txn([Put(A, b"2", expected=NO_REVISION)])
    assert await store.get(A) == Record(A, b"2", reborn.revision, reborn.revision)


async def test_a_transaction_is_all_or_nothing(store):
    created = (await store.txn([Put(A, b"1"), Put(B, b"1")])).revision
    mixed = [Put(A, b"2", expected=created), Delete(B, expected=created), Put(C, b"2", expected=NO_REVISION)]
    failed = await store.txn([*mixed[:2], Put(C, b"2", expected=created)])
    assert not failed.committed
    assert failed.previous == (Record(A, b"1", created, created), Record(B, b"1", created, created), None)
    assert (await store.list("/lattice/")).records == failed.previous[:2]
    done = await store.txn(mixed)
    assert done.committed
    assert done.previous == failed.previous
    assert (await store.list("/lattice/")).records == (
        Record(A, b"2", done.revision, created),
        Record(C, b"2", done.revision, done.revision),
    )


async def test_all_keys_of_a_transaction_share_one_revision(store):
    keys = [f"/lattice/v1/k/{number:03}" for number in range(100)]
    start = await store.revision()
    result = await store.txn([Put(key, b"x", expected=NO_REVISION) for key in keys])
    assert result.revision == start + 1
    assert result.previous == (None,) * 100
    listed = await store.list("/lattice/v1/k/")
    assert [record.key for record in listed.records] == keys
    assert {record.mod_revision for record in listed.records} == {result.revision}
    assert (await store.txn([Delete(key, expected=result.revision) for key in keys])).committed


@pytest.mark.parametrize(
    "ops",
    [[], [Put(A, b"1"), Put(A, b"2")], [Put(A, b"1"), Delete(A)], [Put(f"/lattice/{n}", b"") for n in range(101)]],
    ids=["empty", "same key", "put and delete", "101 operations"],
)
async def test_a_transaction_that_no_back_end_takes_is_refused(store, ops):
    with pytest.raises(ValueError, match="1 to 100 operations on different keys"):
        await store.txn(ops)


async def test_the_largest_value_fits_and_a_larger_one_does_not(store):
    assert (await store.txn([Put(A, bytes(MAX_VALUE_BYTES))])).committed
    assert len((await store.get(A)).value) == MAX_VALUE_BYTES
    start = await store.revision()
    with pytest.raises(ValueTooLargeError):
        await store.txn([Put(B, b"1"), Put(C, bytes(MAX_VALUE_BYTES + 1))])
    assert await store.revision() == start


async def test_an_empty_value_is_a_value(store):
    await store.txn([Put(A, b"")])
    assert (await store.get(A)).value == b""
    assert len((await store.list("/lattice/")).records) == 1


async def test_keys_are_ordered_by_their_bytes(store):
    names = ["a", "a-b", "a/b", "ab", "b", "ä", "ж", "中", "\U0001f600", "\uffee", "Z", "a.b"]
    await store.txn([Put(f"/lattice/v1/u/{name}", name.encode()) for name in names])
    listed = await store.list("/lattice/v1/u/")
    wanted = sorted(names, key=str.encode)
    assert [record.value.decode() for record in listed.records] == wanted
    assert [record.key for record in (await store.list("/lattice/v1/u/a")).records] == [
        f"/lattice/v1/u/{name}" for name in wanted if name.startswith("a")
    ]
    after = await store.list("/lattice/v1/u/", start_after="/lattice/v1/u/ж")
    assert [record.value.decode() for record in after.records] == wanted[wanted.index("ж") + 1 :]


async def test_a_prefix_takes_no_neighbours(store):
    await store.txn([Put(f"/lattice/{name}", b"") for name in ("a", "a/", "a/1", "a0", "b/1")])
    assert [record.key for record in (await store.list("/lattice/a/")).records] == ["/lattice/a/", "/lattice/a/1"]
    assert (await store.list("/lattice/c/")).records == ()


async def test_pages_show_one_revision(store):
    keys = [f"/lattice/p/{number:02}" for number in range(10)]
    for key in keys:
        await store.txn([Put(key, b"old")])
    page = await store.list("/lattice/p/", limit=4)
    assert [record.key for record in page.records] == keys[:4]
    assert page.more
    await store.txn([Delete(keys[5]), Put(keys[6], b"new"), Put("/lattice/p/04x", b"new")])
    rest = await store.list("/lattice/p/", limit=6, start_after=page.records[-1].key, revision=page.revision)
    assert [record.key for record in rest.records] == keys[4:]
    assert {record.value for record in rest.records} == {b"old"}
    assert rest.revision == page.revision
    assert not rest.more
    assert len((await store.list("/lattice/p/", revision=page.revision)).records) == 10
    assert [r.key for r in (await store.list("/lattice/p/")).records] == sorted({*keys, "/lattice/p/04x"} - {keys[5]})


async def test_a_list_of_a_revision_that_does_not_exist_yet_is_refused(store):
    with pytest.raises(FutureRevisionError):
        await store.list("/lattice/", revision=await store.revision() + 1)


async def test_a_list_at_a_compacted_revision_is_refused(store):
    old = (await store.txn([Put(A, b"1")])).revision
    kept = (await store.txn([Put(A, b"2")])).revision
    last = (await store.txn([Put(A, b"3"), Put(B, b"3")])).revision
    await store.compact(kept)
    await store.compact(kept)
    await store.compact(old)
    with pytest.raises(CompactedError) as caught:
        await store.list("/lattice/", revision=old)
    assert caught.value.compacted_revision == kept
    assert [record.value for record in (await store.list("/lattice/", revision=kept)).records] == [b"2"]
    assert (await store.list("/lattice/")).revision == last


async def test_compaction_keeps_what_is_alive(store):
    await store.txn([Put(A, b"1"), Put(B, b"1")])
    await store.txn([Delete(B)])
    last = await store.txn([Put(C, b"1")])
    await store.compact(last.revision + 1000)
    assert [record.key for record in (await store.list("/lattice/")).records] == [A, C]
    assert await store.get(B) is None
    after = await store.txn([Put(B, b"2", expected=NO_REVISION)])
    assert after.revision == last.revision + 1


async def test_revisions_survive_a_crash_and_are_never_used_again(backend, store):
    seen = [(await store.txn([Put(A, str(number).encode())])).revision for number in range(5)]
    seen.append((await store.txn([Delete(A)])).revision)
    await store.compact(seen[-1])
    store = await backend.crash(store)
    try:
        assert await store.revision() >= seen[-1]
        seen.append((await store.txn([Put(A, b"x", expected=NO_REVISION)])).revision)
        assert seen == sorted(set(seen))
    finally:
        await store.close()


async def test_writers_on_one_hot_key_lose_nothing(store):
    await store.txn([Put(A, b"0")])

    async def increment() -> int:
        record = await store.get(A)
        while True:
            result = await store.txn([Put(A, str(int(record.value) + 1).encode(), expected=record.mod_revision)])
            if result.committed:
                return result.revision
            record = result.previous[0]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(increment()) for _ in range(64)]
    assert (await store.get(A)).value == b"64"
    assert len({task.result() for task in tasks}) == 64


async def test_revision_covers_every_acknowledged_write(store):
    async def write(number: int) -> None:
        result = await store.txn([Put(f"/lattice/r/{number}", b"")])
        assert await store.revision() >= result.revision

    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(write(number))


async def test_it_has_a_size(store):
    await store.txn([Put(A, bytes(100_000))])
    assert await store.size_bytes() > 0


async def test_closing_is_idempotent_and_refuses_what_comes_after(store):
    await store.close()
    await store.close()
    for attempt in (store.get(A), store.txn([Put(A, b"")]), store.list("/lattice/"), store.revision()):
        with pytest.raises(StoreUnavailableError, match="closed"):
            await attempt


async def test_closing_finishes_what_was_accepted(backend, store):
    async with asyncio.TaskGroup() as group:
        writes = [group.create_task(store.txn([Put(f"/lattice/c/{number}", b"")])) for number in range(20)]
        while not all(write.done() for write in writes[:1]):
            await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED)
        await store.close()
    assert all(write.result().committed for write in writes)
    store = await backend.open()
    try:
        assert len((await store.list("/lattice/c/")).records) == 20
    finally:
        await store.close()
