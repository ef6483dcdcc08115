"""Reads that are large: none holds up the others, none takes memory for each reader."""

import asyncio
import tracemalloc

import orjson
import pytest

from controller.apiserver.compiled import codec_of
from controller.apiserver.request import ApiRequest, User
from controller.store import base
from lattice.testing.looplag import LoopLag
from lattice.testing.specimens import definition

ADMIN = User("admin", groups=("system:masters", "system:authenticated"))
OBJECTS = 6_000
GROUP = "many.example.dev"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
PARTIAL = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


def ask(server, method, path, query=None, accept="application/json", body=None, kind="application/json"):
    headers = {"accept": accept, "content-type": kind}
    raw = b"" if body is None else orjson.dumps(body)
    return server.api.handle(ApiRequest(method, path, query or {}, headers, raw, user=ADMIN))


@pytest.fixture
async def server(api_server):
    """A server with many objects of a kind with two versions; the second is converted when it is read."""
    made = definition(GROUP)
    made["spec"]["versions"].append({**made["spec"]["versions"][0], "name": "v2", "storage": False})
    answer = await ask(api_server, "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body=made)
    assert answer.status == 201
    resource = api_server.api.table.find(GROUP, "v1", "specimens")
    codec, store = codec_of(resource), api_server.stores.main
    for start in range(0, OBJECTS, 90):
        ops = []
        for number in range(start, min(start + 90, OBJECTS)):
            metadata = {"name": f"s{number:05d}", "namespace": "default", "uid": f"u{number}", "labels": {"n": str(number % 10)}}
            ops.append(
                base.Put(resource.key("default", metadata["name"]), codec.encode({"metadata": metadata, "spec": {"image": "a" * 500}}))
            )
        assert (await store.txn(ops)).committed
    await api_server.api.feeds["main"].fresh()
    return api_server


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("accept", ["application/json", TABLE, PARTIAL])
async def test_a_large_list_holds_up_nobody(server, version, accept):
    async with LoopLag() as lag:
        answer = await ask(server, "GET", f"/apis/{GROUP}/{version}/specimens", accept=accept)
    document = orjson.loads(answer.whole())
    items = document.get("items", document.get("rows"))
    assert len(items) == OBJECTS
    if accept == "application/json":
        assert items[0]["apiVersion"] == f"{GROUP}/{version}"
    assert lag.longest_s < 0.1


@pytest.mark.parametrize("accept", ["application/yaml", "application/json;pretty=1"])
async def test_a_large_list_is_not_indented(server, accept):
    """It would be some 50 MB for 50,000 objects, and a second in which nobody else is answered."""
    async with LoopLag() as lag:
        answer = await ask(server, "GET", f"/apis/{GROUP}/v1/specimens", accept=accept)
    assert (answer.status, answer.content_type) == (200, accept.partition(";")[0])
    assert len(orjson.loads(answer.whole())["items"]) == OBJECTS
    assert lag.longest_s < 0.1


async def test_a_dry_run_of_a_large_deletion_holds_up_nobody(server):
    async with LoopLag() as lag:
        answer = await ask(server, "DELETE", f"/apis/{GROUP}/v1/namespaces/default/specimens", {"dryRun": "All"})
    assert answer.status == 200
    assert len(orjson.loads(answer.whole())["items"]) == OBJECTS
    assert lag.longest_s < 0.1


async def test_many_watchers_of_many_objects_share_them(server):
    """Each once had its own copy of every line: two hundred of fifty thousand objects were 10 GB."""
    query = {"watch": "true", "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    tracemalloc.start()
    try:
        async with LoopLag() as lag:
            streams = [await ask(server, "GET", f"/apis/{GROUP}/v1/specimens", query) for _ in range(20)]
            first = [await anext(stream.batches) for stream in streams]
        assert tracemalloc.get_traced_memory()[1] < 20 * (OBJECTS * 8 + 1_000_000)
    finally:
        tracemalloc.stop()
    assert all(sum(map(len, lines)) < 1_000_000 for lines in first)
    lines = first[0] + [line async for batch in until_bookmark(streams[0]) for line in batch]
    names = [orjson.loads(line)["object"]["metadata"].get("name") for line in lines]
    assert names == [f"s{number:05d}" for number in range(OBJECTS)] + [None]
    assert lag.longest_s < 0.1
    for stream in streams:
        await stream.batches.aclose()
        stream.close()


async def until_bookmark(stream):
    async with asyncio.timeout(20):
        async for batch in stream.batches:
            yield batch
            if b'"BOOKMARK"' in batch[-1]:
                return
