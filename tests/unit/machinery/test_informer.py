"""From the server to the reconciler: reflector, cache, informer, controller, under every fault a watch can have."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from lattice.api import errors
from lattice.api.configmap import ConfigMap
from lattice.machinery import controller, tasks
from lattice.machinery.entry import Decoder, Document, Entry, MalformedObjectError, no_projection
from lattice.machinery.informer import Informer
from lattice.machinery.keys import ObjectKey
from lattice.machinery.outcome import Done, Result
from lattice.testing.clock import FakeClock


@dataclass
class Listing:
    items: list[bytes]
    resource_version: str


@dataclass
class Line:
    type: str
    raw: bytes


def make_object(name: str, revision: int, uid: str = "", color: str = "red") -> bytes:
    metadata = {"namespace": "team", "name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(revision)}
    return orjson.dumps({"metadata": metadata, "data": {"color": color}})


def color_of(document: Document) -> str:
    return str(document["data"]["color"])


@dataclass
class Server:
    """A server whose lists and streams are data. A stream plays what is put into ``lines``; ``None`` ends it."""

    objects: dict[str, bytes] = field(default_factory=dict)
    revision: int = 1
    list_failures: list[Exception] = field(default_factory=list)
    lists: int = 0
    watched_from: list[str] = field(default_factory=list)
    lines: asyncio.Queue[Line | Exception | None] = field(default_factory=asyncio.Queue)
    open_streams: int = 0

    async def list(self) -> Listing:
        self.lists += 1
        if self.list_failures:
            raise self.list_failures.pop(0)
        return Listing(list(self.objects.values()), str(self.revision))

    async def watch(self, resource_version: str) -> AsyncIterator[Line]:
        self.watched_from.append(resource_version)
        self.open_streams += 1
        try:
            while (line := await self.lines.get()) is not None:
                if isinstance(line, Exception):
                    raise line
                yield line
        finally:
            self.open_streams -= 1

    def put(self, name: str, revision: int, uid: str = "", color: str = "red") -> bytes:
        self.objects[name] = make_object(name, revision, uid, color)
        self.revision = revision
        return self.objects[name]

    def send(self, event_type: str, raw: bytes) -> None:
        self.lines.put_nowait(Line(event_type, raw))


class Bench:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.server = Server()
        self.told: list[str] = []
        self.informer: Informer[str] = Informer(
            "things",
            self.server,
            clock=self.clock,
            rng=random.Random(1),
            project=color_of,
            index_by={"color": lambda document: (color_of(document),)},
        )
        self.informer.add_handler(self.note)

    def note(self, old: Entry[str] | None, new: Entry[str] | None) -> None:
        match old, new:
            case None, Entry() as entry:
                self.told.append(f"+{entry.key.name}@{entry.resource_version}")
            case Entry() as entry, None:
                self.told.append(f"-{entry.key.name}@{entry.resource_version}")
            case Entry(), Entry() as entry:
                self.told.append(f"~{entry.key.name}@{entry.resource_version}")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with tasks.TaskOwner("bench") as owner:
            owner.spawn(self.informer.run(), name="informer")
            await self.clock.settle()
            yield
        assert self.server.open_streams == 0

    def cached(self) -> dict[str, str]:
        return {entry.key.name: entry.resource_version for entry in self.informer.cache.entries()}


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_list_then_watch(bench: Bench) -> None:
    bench.server.put("a", 1)
    assert not bench.informer.has_synced
    async with bench.running():
        await bench.informer.wait_synced()
        bench.server.send("ADDED", make_object("b", 2))
        bench.server.send("MODIFIED", make_object("a", 3, color="blue"))
        bench.server.send("DELETED", make_object("b", 4))
        await bench.clock.settle()
    assert bench.told == ["+a@1", "+b@2", "~a@3", "-b@4"]
    cache = bench.informer.cache
    assert [entry.key for entry in cache.by_index("color", "blue")] == [ObjectKey("team", "a")]
    assert (cache.by_index("color", "red"), cache.index_values("color"), len(cache)) == ((), ("blue",), 1)
    assert ObjectKey("team", "a") in cache
    with pytest.raises(KeyError):
        cache.by_index("size", "1")


@pytest.mark.parametrize("end", [None, errors.UnavailableError("reset")], ids=["ended", "broken"])
async def test_a_dropped_stream_is_resumed_where_it_was(bench: Bench, end: Exception | None) -> None:
    async with bench.running():
        bench.server.send("ADDED", make_object("a", 5))
        bench.server.send("BOOKMARK", orjson.dumps({"metadata": {"resourceVersion": "9"}}))
        await bench.clock.advance(20)
        bench.server.lines.put_nowait(end)
        await bench.clock.settle()
        assert bench.server.watched_from == ["1", "9"]
        assert bench.server.lists == 1


async def test_a_server_that_closes_every_stream_is_not_hammered(bench: Bench) -> None:
    async with bench.running():
        for _ in range(200):
            bench.server.lines.put_nowait(None)
        await bench.clock.advance(60)
        assert 5 <= len(bench.server.watched_from) <= 25


@pytest.mark.parametrize("inside", [False, True])
async def test_a_compacted_revision_ends_in_a_new_list_and_tells_the_difference(bench: Bench, *, inside: bool) -> None:
    for name in ("kept", "changed", "vanished"):
        bench.server.put(name, 1)
    bench.server.put("reborn", 1, uid="first")
    async with bench.running():
        bench.told.clear()
        del bench.server.objects["vanished"]
        bench.server.put("changed", 7)
        bench.server.put("reborn", 8, uid="second")
        bench.server.put("new", 9)
        if inside:
            bench.server.send("ERROR", orjson.dumps(errors.GoneError("too old").to_status()))
        else:
            bench.server.lines.put_nowait(errors.GoneError("too old"))
        await bench.clock.advance(1)
        assert bench.server.watched_from == ["1", "9"]
    assert sorted(bench.told) == sorted(["-vanished@1", "~changed@7", "-reborn@1", "+reborn@8", "+new@9"])
    assert bench.told.index("-reborn@1") < bench.told.index("+reborn@8")
    assert bench.cached() == {"kept": "1", "changed": "7", "reborn": "8", "new": "9"}


async def test_replays_and_duplicates_change_nothing(bench: Bench) -> None:
    async with bench.running():
        story = [("ADDED", make_object("a", 2)), ("MODIFIED", make_object("a", 3)), ("DELETED", make_object("a", 4))]
        for _ in range(2):
            for event_type, raw in story:
                bench.server.send(event_type, raw)
        bench.server.send("ADDED", make_object("a", 5, uid="next"))
        bench.server.send("DELETED", make_object("a", 6))  # of the first incarnation, late
        await bench.clock.settle()
    assert bench.told == ["+a@2", "~a@3", "-a@4", "+a@5"]
    assert bench.informer.reflector.counters["replays"] == 3


async def test_a_reborn_object_in_a_stream_is_a_removal_and_an_addition(bench: Bench) -> None:
    bench.server.put("a", 1)
    async with bench.running():
        bench.server.send("MODIFIED", make_object("a", 2, uid="second"))
        await bench.clock.settle()
    assert bench.told == ["+a@1", "-a@1", "+a@2"]


async def test_a_silent_stream_is_dropped_and_bookmarks_keep_it(bench: Bench) -> None:
    async with bench.running():
        for revision in range(2, 8):
            await bench.clock.advance(60)
            bench.server.send("BOOKMARK", orjson.dumps({"metadata": {"resourceVersion": str(revision)}}))
        assert len(bench.server.watched_from) == 1
        await bench.clock.advance(151)
        assert bench.server.watched_from == ["1", "7"]
        assert bench.server.lists == 1


async def test_a_list_that_fails_or_cannot_be_read_leaves_the_cache(bench: Bench) -> None:
    bench.server.put("a", 1)
    async with bench.running():
        bench.server.objects["b"] = b'{"metadata": {}}'
        bench.server.list_failures = [errors.UnavailableError("away"), errors.InternalError("oops")]
        bench.server.lines.put_nowait(errors.GoneError("too old"))
        await bench.clock.advance(60)
        assert bench.cached() == {"a": "1"}
        assert bench.informer.reflector.resource_version == ""
        bench.server.put("b", 2)
        await bench.clock.advance(60)
        assert bench.cached() == {"a": "1", "b": "2"}
    assert bench.told == ["+a@1", "+b@2"]


@pytest.mark.parametrize(
    ("event_type", "raw"),
    [("BOOKMARK", b"{}"), ("BOOKMARK", b"["), ("ADDED", b"{}"), ("MODIFIED", b"["), ("ERROR", b"[]")],
)
async def test_a_stream_that_cannot_be_read_is_listed_again(bench: Bench, event_type: str, raw: bytes) -> None:
    async with bench.running():
        bench.server.send(event_type, raw)
        await bench.clock.advance(2)
        assert bench.server.lists == 2


async def test_unknown_events_are_ignored_and_errors_resumed(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    async with bench.running():
        bench.server.send("SOMETHING", b"{}")
        bench.server.send("ERROR", orjson.dumps(errors.InternalError("oops").to_status()))
        await bench.clock.advance(2)
        assert (bench.server.lists, bench.server.watched_from) == (1, ["1", "1"])
    assert "unknown type" in caplog.text


async def test_an_object_that_cannot_be_projected_keeps_its_last_version(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    strange = orjson.loads(make_object("a", 2)) | {"data": None}
    bench.server.put("a", 1)
    async with bench.running():
        bench.server.send("MODIFIED", orjson.dumps(strange))
        bench.server.send("ADDED", make_object("b", 3))
        await bench.clock.settle()
    assert bench.cached() == {"a": "1", "b": "3"}
    assert "cannot project" in caplog.text


async def test_a_handler_that_raises_disturbs_nobody_and_a_late_one_is_told_everything(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(old: Any, new: Any) -> None:
        raise ZeroDivisionError

    late: list[str] = []

    def listen(old: Entry[str] | None, new: Entry[str] | None) -> None:
        late.append(new.key.name if new else "gone")

    bench.server.put("a", 1)
    bench.informer.add_handler(fail)
    async with bench.running():
        bench.server.send("ADDED", make_object("b", 2))
        await bench.clock.settle()
        bench.informer.add_handler(listen)
        bench.server.send("ADDED", make_object("c", 3))
        await bench.clock.settle()
        bench.informer.remove_handler(listen)
        bench.informer.remove_handler(listen)
        bench.server.send("ADDED", make_object("d", 4))
        await bench.clock.settle()
    assert late == ["a", "b", "c"]
    assert bench.told == ["+a@1", "+b@2", "+c@3", "+d@4"]
    assert "handler failed" in caplog.text


class Recorder:
    def __init__(self) -> None:
        self.keys: list[str] = []

    async def reconcile(self, key: ObjectKey) -> Result:
        self.keys.append(key.name)
        return Done()


async def test_a_controller_waits_for_all_caches_reacts_resyncs_and_stops_before_its_informers(bench: Bench) -> None:
    other = Bench()
    other.clock = bench.clock
    other.informer.reflector._clock = bench.clock
    other.server.list_failures = [errors.UnavailableError("away")] * 3
    bench.server.put("a", 1)
    recorder = Recorder()
    made = controller.Controller(
        "things",
        recorder,
        [controller.Source(informer=bench.informer, keys=controller.own_key)],
        clock=bench.clock,
        rng=random.Random(1),
        also_wait_for=[other.informer],
        resync_s=600,
    )
    async with tasks.TaskOwner("t") as owner:
        owner.spawn(controller.run([bench.informer, other.informer], [made]), name="all")
        await bench.clock.settle()
        assert bench.informer.has_synced
        assert recorder.keys == []
        await bench.clock.advance(5)
        assert recorder.keys == ["a"]
        bench.server.send("MODIFIED", make_object("a", 2))
        await bench.clock.settle()
        assert recorder.keys == ["a", "a"]
        await bench.clock.advance(661)
        assert recorder.keys == ["a", "a", "a"]
    assert bench.server.open_streams == other.server.open_streams == 0
    assert len(owner) == 0


async def test_a_source_comes_and_goes_while_the_controller_runs(bench: Bench) -> None:
    bench.server.put("a", 1)
    other = Bench()
    other.informer.reflector._clock = bench.clock
    other.server.put("b", 1)
    recorder = Recorder()
    first = controller.Source(informer=bench.informer, keys=controller.own_key)
    second = controller.Source(informer=other.informer, keys=controller.own_key)
    made = controller.Controller("things", recorder, [first], clock=bench.clock, rng=random.Random(1), resync_s=600)
    async with tasks.TaskOwner("t") as owner:
        owner.spawn(controller.run([bench.informer, other.informer], [made]), name="all")
        await bench.clock.settle()
        assert recorder.keys == ["a"]
        made.add_source(second)
        await bench.clock.settle()
        assert recorder.keys == ["a", "b"]  # everything that is there already
        other.server.send("MODIFIED", make_object("b", 2))
        await bench.clock.settle()
        assert recorder.keys == ["a", "b", "b"]
        made.remove_source(second)
        made.remove_source(second)
        other.server.send("MODIFIED", make_object("b", 3))
        await bench.clock.advance(661)
        assert recorder.keys == ["a", "b", "b", "a"]  # no event and no resync of what has gone


def test_entries_decode_on_demand() -> None:
    decoder = Decoder(no_projection)
    key, entry = decoder.entry(make_object("a", 1))
    assert entry is not None
    assert (entry.projection, decoder.index_names) == (None, ())
    assert entry.document()["data"] == {"color": "red"}
    assert entry.decode(ConfigMap).name == "a"
    assert (str(key), str(ObjectKey("", "n"))) == ("team/a", "n")
    assert ObjectKey.parse("team/a") == key
    assert ObjectKey.parse("n") == ObjectKey("", "n")
    with pytest.raises(MalformedObjectError):
        decoder.metadata(b"nonsense")
