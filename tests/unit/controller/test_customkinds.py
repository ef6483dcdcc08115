"""Informers of kinds that come and go: one for each, none left behind, nothing said of what is not served."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from controller.customkinds import DRAIN_S, CustomKind, CustomKinds
from controller.definitionfacts import parse_definition, slim_definition
from controller.facts import facts_with
from lattice.api.customresource import CustomResourceDefinition
from lattice.client import base, listwatch
from lattice.client.client import Client
from lattice.machinery.informer import Informer
from lattice.machinery.tasks import TaskOwner
from lattice.testing.clock import FakeClock

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def definition(kind: str, *, uid: str = "", versions: tuple[str, ...] = ("v1",), established: bool = True) -> dict[str, Any]:
    plural = f"{kind.lower()}s"
    return {
        "metadata": {"name": f"{plural}.example.dev", "uid": uid or f"uid-{kind}", "resourceVersion": "1", "annotations": {"a": "b"}},
        "spec": {
            "group": "example.dev",
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [{"name": v, "served": True, "storage": v == versions[0], "schema": {"large": "x" * 100}} for v in versions],
        },
        "status": {"conditions": [{"type": "Established", "status": str(established)}]},
    }


class FakeServer:
    """A transport whose lists and watches are data: path to objects, path to the queues of its open watches."""

    def __init__(self) -> None:
        self.objects: dict[str, list[dict[str, Any]]] = {DEFINITIONS: []}
        self.watches: dict[str, list[asyncio.Queue[bytes]]] = {}
        self.revision = 1

    async def send(self, request: base.Request) -> base.Response:
        if request.path not in self.objects:
            return base.Response(404, {}, b"404 page not found\n")
        listing = {"metadata": {"resourceVersion": str(self.revision)}, "items": self.objects[request.path]}
        return base.Response(200, {}, orjson.dumps(listing))

    async def stream(self, request: base.Request) -> AsyncGenerator[bytes]:
        lines: asyncio.Queue[bytes] = asyncio.Queue()
        self.watches.setdefault(request.path, []).append(lines)
        try:
            while True:
                yield await lines.get()
        finally:
            self.watches[request.path].remove(lines)

    async def headers(self) -> Mapping[str, str]:
        return {}

    async def close(self) -> None:
        return None

    def tell(self, path: str, event: str, obj: dict[str, Any]) -> None:
        self.revision += 1
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}
        present = [other for other in self.objects[path] if other["metadata"]["name"] != obj["metadata"]["name"]]
        self.objects[path] = present if event == "DELETED" else [*present, obj]
        for lines in self.watches.get(path, ()):
            lines.put_nowait(orjson.dumps({"type": event, "object": obj}))

    def define(self, obj: dict[str, Any], event: str = "ADDED") -> None:
        for version in obj["spec"]["versions"]:
            path = f"/apis/example.dev/{version['name']}/{obj['spec']['names']['plural']}"
            if event == "DELETED":
                self.objects.pop(path, None)
            else:
                self.objects.setdefault(path, [])
        self.tell(DEFINITIONS, event, obj)

    def open_watches(self, path: str) -> int:
        return len(self.watches.get(path, ()))


@asynccontextmanager
async def running(server: FakeServer, clock: FakeClock) -> AsyncIterator[CustomKinds]:
    client, rng = Client(server), random.Random(1)
    source = listwatch.SlimListWatch(client, CustomResourceDefinition, slim_definition)
    definitions = Informer("definitions", source, clock=clock, rng=rng, project=facts_with(parse_definition))
    kinds = CustomKinds(client, definitions, clock=clock, rng=rng)
    async with TaskOwner("test") as tasks:
        tasks.spawn(definitions.run(), name="definitions")
        tasks.spawn(kinds.run(), name="kinds")
        await clock.advance(0.1)
        yield kinds


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


SPECIMENS = "/apis/example.dev/v1/specimens"


async def test_kind_is_watched_while_it_is_served(server: FakeServer, clock: FakeClock) -> None:
    async with running(server, clock) as kinds:
        assert kinds.synced
        assert kinds.find("example.dev/v1", "Specimen") is None
        server.define(definition("Specimen"))
        await clock.advance(0.1)
        found = kinds.find("example.dev/v1", "Specimen")
        assert found is not None
        assert found.informer.has_synced
        assert server.open_watches(SPECIMENS) == 1
        server.define(definition("Specimen"), "DELETED")
        await clock.advance(DRAIN_S + 1)
        assert kinds.find("example.dev/v1", "Specimen") is None
        assert server.open_watches(SPECIMENS) == 0
        assert found.task.done()


async def test_kind_is_found_by_every_served_version_and_watched_once(server: FakeServer, clock: FakeClock) -> None:
    server.define(definition("Specimen", versions=("v1", "v2")))
    async with running(server, clock) as kinds:
        assert kinds.find("example.dev/v1", "Specimen") is kinds.find("example.dev/v2", "Specimen")
        assert kinds.find("example.dev/v3", "Specimen") is None
        assert len(kinds.items()) == 1
        assert server.open_watches(SPECIMENS) == 1
        assert server.open_watches("/apis/example.dev/v2/specimens") == 0


async def test_kind_that_is_not_established_is_not_watched(server: FakeServer, clock: FakeClock) -> None:
    async with running(server, clock) as kinds:
        server.define(definition("Specimen", established=False))
        await clock.advance(1)
        assert kinds.items() == ()
        server.define(definition("Specimen"), "MODIFIED")
        await clock.advance(0.1)
        assert len(kinds.items()) == 1


async def test_those_who_listen_hear_of_each_start_and_stop_once(server: FakeServer, clock: FakeClock) -> None:
    heard: list[tuple[str, str]] = []

    def note(what: str) -> Any:
        def callback(kind: CustomKind) -> None:
            heard.append((what, kind.definition.name))

        return callback

    async with running(server, clock) as kinds:
        kinds.on_start.append(note("start"))
        kinds.on_stop.append(note("stop"))
        server.define(definition("Specimen"))
        await clock.advance(0.1)
        server.define(definition("Specimen"), "MODIFIED")
        await clock.advance(0.1)
        server.define(definition("Specimen"), "DELETED")
        await clock.advance(DRAIN_S + 1)
        server.define(definition("Galaxy"))
        await clock.advance(0.1)
    name = "specimens.example.dev"
    assert heard == [("start", name), ("stop", name), ("start", "galaxys.example.dev"), ("stop", "galaxys.example.dev")]


async def test_end_of_the_last_objects_is_seen_after_the_definition_has_gone(server: FakeServer, clock: FakeClock) -> None:
    async with running(server, clock) as kinds:
        server.define(definition("Specimen"))
        web = {"metadata": {"name": "web", "namespace": "default", "uid": "u1"}}
        server.tell(SPECIMENS, "ADDED", web)
        await clock.advance(0.1)
        (kind,) = kinds.items()
        ends: list[str] = []
        kind.informer.add_handler(lambda old, new: ends.append(old.uid) if old is not None and new is None else None)
        streams = list(server.watches[SPECIMENS])
        server.define(definition("Specimen"), "DELETED")
        await clock.advance(1)
        for lines in streams:  # what was on its way
            lines.put_nowait(orjson.dumps({"type": "DELETED", "object": {"metadata": {**web["metadata"], "resourceVersion": "99"}}}))
        await clock.advance(1)
        assert ends == ["u1"]
        assert kind.task.done()


async def test_kind_that_comes_back_has_one_informer(server: FakeServer, clock: FakeClock) -> None:
    async with running(server, clock) as kinds:
        server.define(definition("Specimen", uid="first"))
        server.tell(SPECIMENS, "ADDED", {"metadata": {"name": "web", "namespace": "default", "uid": "u1"}})
        await clock.advance(0.1)
        server.define(definition("Specimen", uid="first"), "DELETED")
        await clock.advance(0.1)
        server.define(definition("Specimen", uid="second"))
        await clock.advance(0.1)
        assert server.open_watches(SPECIMENS) == 1
        (kind,) = kinds.items()
        assert kind.definition.uid == "second"
        assert len(kind.informer.cache) == 0


async def test_not_synced_until_every_kind_is(server: FakeServer, clock: FakeClock) -> None:
    async with running(server, clock) as kinds:
        obj = definition("Specimen")
        server.define(obj)
        del server.objects[SPECIMENS]  # it cannot be listed yet
        await clock.advance(0.1)
        live = (parse_definition(obj), parse_definition(definition("Galaxy")))
        assert not kinds.synced
        server.objects[SPECIMENS] = []
        await clock.advance(60)
        assert kinds.synced
        assert kinds.knows_all(live[:1])
        assert not kinds.knows_all(live)  # one that the watch has not told us of yet


def test_slim_definition_is_small_and_says_the_same() -> None:
    whole = definition("Specimen", versions=("v1", "v2"))
    slim = slim_definition(whole)
    assert parse_definition(slim) == parse_definition(whole)
    assert "large" not in str(slim)
    assert "annotations" not in slim["metadata"]
