"""The HTTP shell under more than it takes on: strangers, too many requests, readers that stand still, large answers in slices."""

import asyncio
import gzip
import ssl
from contextlib import asynccontextmanager

import aiohttp
import orjson
import pytest

from controller.apiserver import http
from controller.apiserver.limits import Limits
from lattice.testing.polling import eventually

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
HEADERS = {"Authorization": "Bearer admin-token"}


@asynccontextmanager
async def shell(api_server, **limits):
    """A second door to the same API, with limits of its own."""
    server = http.HttpServer(api_server.api, Limits(**limits))
    await server.start("127.0.0.1", 0, api_server.certificates.server_context())
    try:
        yield server
    finally:
        await server.stop()


async def connect(api_server, port):
    return await asyncio.open_connection("127.0.0.1", port, ssl=api_server.client_context(), server_hostname="127.0.0.1")


def session(api_server, port, **options):
    connector = aiohttp.TCPConnector(ssl=api_server.client_context())
    return aiohttp.ClientSession(f"https://127.0.0.1:{port}", headers=HEADERS, connector=connector, **options)


async def fill(http_session, *, objects, size):
    for index in range(objects):
        body = {"metadata": {"name": f"big-{index}"}, "data": {"text": f"{index:07d}" * (size // 7)}}
        async with http_session.post(CONFIGMAPS, json=body) as response:
            assert response.status == 201, await response.read()


async def test_strangers_that_say_nothing_lock_nobody_out(api_server):
    async with shell(api_server, connections=40, strangers=8) as server, session(api_server, server.port) as known:
        async with known.get(CONFIGMAPS) as response:
            assert response.status == 200
        strangers = [await connect(api_server, server.port) for _ in range(30)]
        await eventually(lambda: server.connections.refused >= 22, 5, "the strangers to give way")
        assert len(server.connections) <= 9
        async with session(api_server, server.port) as newcomer, newcomer.get(CONFIGMAPS) as response:
            assert response.status == 200
        async with known.get(CONFIGMAPS) as response:
            assert response.status == 200
        refused = server.connections.refused
        assert len(server.connections) <= 10, "the first connection of the known client is still one of them"
        assert refused >= 22
        for _, writer in strangers:
            writer.transport.abort()
        await eventually(lambda: len(server.connections) <= 1, 5, "the connections to be forgotten")


async def test_too_many_requests_at_once_are_told_to_come_back(api_server):
    async with shell(api_server, requests=1) as server, session(api_server, server.port) as client:

        async def slow_body():
            yield b'{"metadata":'
            await held.wait()
            yield b'{"name":"one"}}'

        held = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            first = group.create_task(client.post(CONFIGMAPS, data=slow_body(), headers={"Content-Type": "application/json"}))
            await eventually(lambda: server.work.requests == 1, 5, "the first request")
            async with client.get(CONFIGMAPS) as response:
                status = await response.json()
                assert (response.status, response.headers["Retry-After"]) == (429, "1")
                assert (status["kind"], status["reason"]) == ("Status", "TooManyRequests")
            held.set()
        assert first.result().status == 201
        async with client.get(CONFIGMAPS) as response:
            assert response.status == 200
        assert (server.work.requests, server.work.body_bytes) == (0, 0)


async def test_watches_take_no_place_among_the_requests_in_work(api_server):
    async with shell(api_server, requests=1) as server, session(api_server, server.port) as client:
        watches = [await client.get(f"{CONFIGMAPS}?watch=1") for _ in range(5)]
        assert {watch.status for watch in watches} == {200}
        for watch in watches:
            watch.close()


async def test_bodies_in_work_are_limited_together(api_server):
    async with shell(api_server, body_bytes=100_000) as server, session(api_server, server.port) as client:
        body = {"metadata": {"name": "large"}, "data": {"text": "x" * 150_000}}
        async with client.post(CONFIGMAPS, json=body) as response:
            assert response.status == 429
        body["data"]["text"] = "x" * 50_000
        async with client.post(CONFIGMAPS, json=body) as response:
            assert response.status == 201
        assert server.work.body_bytes == 0


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_a_large_list_arrives_whole(api_server, encoding):
    async with session(api_server, api_server.port, auto_decompress=False) as client:
        await fill(client, objects=20, size=140_000)
        async with client.get(CONFIGMAPS, headers={"Accept-Encoding": encoding}) as response:
            body = await response.read()
            assert response.headers.get("Content-Encoding", "identity") == encoding
            assert int(response.headers["Content-Length"]) == len(body)
    body = gzip.decompress(body) if encoding == "gzip" else body
    assert sorted(item["metadata"]["name"] for item in orjson.loads(body)["items"]) == sorted(f"big-{n}" for n in range(20))


async def test_a_reader_that_stands_still_is_cut(api_server, monkeypatch):
    monkeypatch.setattr(http, "_STALL_S", 0.3)
    async with shell(api_server) as server, session(api_server, server.port) as client:
        await fill(client, objects=60, size=700_000)
        reader, writer = await connect(api_server, server.port)
        writer.write(f"GET {CONFIGMAPS} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer admin-token\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")  # and no more: StreamReader stops reading when its buffer is full
        await eventually(lambda: server.work.body_bytes > 0, 10, "the answer to be on its way")
        await eventually(lambda: server.work.body_bytes == 0, 10, "the reader to be cut")
        with pytest.raises((ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)):
            await reader.readexactly(100_000_000)
        writer.transport.abort()
        async with client.get(f"{CONFIGMAPS}/big-1") as response:
            assert response.status == 200


async def test_the_head_of_a_large_list_says_how_large_it_is(api_server):
    async with session(api_server, api_server.port, auto_decompress=False) as client:
        await fill(client, objects=4, size=140_000)
        headers = {"Accept-Encoding": "identity"}
        async with client.get(CONFIGMAPS, headers=headers) as whole, client.head(CONFIGMAPS, headers=headers) as head:
            assert head.status == 200
            assert head.headers["Content-Length"] == str(len(await whole.read()))
            assert await head.read() == b""
        async with client.get(f"{CONFIGMAPS}/big-1") as response:
            assert response.status == 200, "the connection goes on"


async def test_a_connection_that_begins_no_tls_is_closed(api_server, monkeypatch):
    monkeypatch.setattr(http, "_HANDSHAKE_S", 0.2)
    async with shell(api_server) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        async with session(api_server, server.port) as client, client.get(CONFIGMAPS) as response:
            assert response.status == 200


async def test_a_watcher_that_stands_still_is_cut(api_server, monkeypatch):
    monkeypatch.setattr(http, "_STALL_S", 0.3)
    async with shell(api_server) as server, session(api_server, server.port) as client:
        await fill(client, objects=60, size=700_000)
        async with client.get(CONFIGMAPS, params={"limit": 1}) as response:
            version = (await response.json())["metadata"]["resourceVersion"]
        reader, writer = await connect(api_server, server.port)
        request = f"GET {CONFIGMAPS}?watch=1&resourceVersion=0 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer admin-token\r\n\r\n"
        writer.write(request.encode())
        await reader.readuntil(b"\r\n\r\n")
        await eventually(lambda: len(server.connections) == 1, 10, "the watcher to be cut")
        with pytest.raises((ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)):
            await reader.readexactly(100_000_000)
        writer.transport.abort()
        async with client.get(f"{CONFIGMAPS}?watch=1&timeoutSeconds=1&resourceVersion={version}") as response:
            assert response.status == 200, "one who reads is served"
            assert await response.read() == b""
