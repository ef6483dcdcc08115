"""What ``hack/fuzz`` has found, each as a test that says what the answer must be."""

import asyncio
import gzip
import logging

import pytest

from lattice.testing.polling import eventually


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", b'{"metadata":{"name":"a"}}', 201),  # what a body is encoded with is not a matter of this API: it is taken as it is
        ("br", b'{"metadata":{"name":"a"}}', 201),
        ("gzip", gzip.compress(b'{"metadata":{"name":"a"}}', mtime=0), 400),
        ("gzip", gzip.compress(b" " * (100 << 20), mtime=0), 400),  # and never unpacked: this would be 100 MiB
    ],
    ids=["called gzip", "called br", "gzip", "a bomb"],
)
async def test_content_encoding_of_a_request_is_ignored(api_server, caplog, encoding, body, status):
    caplog.set_level(logging.WARNING)
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    path = "/api/v1/namespaces/default/configmaps"
    async with api_server.session() as session, session.post(path, data=body, headers=headers) as response:
        document = await response.json()
    assert (response.status, document["kind"]) == (status, "ConfigMap" if status == 201 else "Status")
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


async def test_a_whole_namespaced_kind_cannot_be_deleted_at_once(api_server):
    path = "/api/v1/namespaces/default/configmaps"
    async with api_server.session() as session:
        for name in "ab":
            async with session.post(path, json={"metadata": {"name": name}}) as response:
                assert response.status == 201
        for target in ("/api/v1/configmaps", "/apis/coordination.k8s.io/v1/leases"):
            async with session.delete(target) as response:
                assert (response.status, await response.text()) == (404, "404 page not found\n")
        async with session.get(path) as response:
            assert len((await response.json())["items"]) >= 2


async def test_protobuf_is_asked_for_and_the_path_is_unknown(api_server):
    headers = {"Accept": "application/vnd.kubernetes.protobuf,application/json"}
    async with api_server.session() as session, session.post("/api/v1/configmaps", json={}, headers=headers) as response:
        assert (response.status, await response.text()) == (404, "404 page not found\n")


async def test_a_defect_is_no_error_of_the_client(api_server, monkeypatch):
    """A TypeError in the server once passed for a body that is nested too deeply: orjson's error for that is no more than a TypeError."""

    async def defect(*_args):
        raise TypeError("unsupported operand")

    monkeypatch.setattr(api_server.api._objects, "handle", defect)
    async with api_server.session() as session, session.get("/api/v1/configmaps") as response:
        assert response.status == 500


@pytest.mark.parametrize("depth", [300, 2_000, 100_000])
async def test_a_body_that_is_nested_too_deeply(api_server, depth):
    body = b'{"metadata":{"name":"deep"},"data":' + b'{"a":' * depth + b"1" + b"}" * (depth + 1)
    async with api_server.session() as session:
        headers = {"Content-Type": "application/json"}
        async with session.post("/api/v1/namespaces/default/configmaps", data=body, headers=headers) as response:
            assert (response.status, (await response.json())["reason"]) == (400, "BadRequest")


@pytest.mark.parametrize("apart", [True, False])
async def test_a_chunk_that_is_no_chunk_is_answered_at_once(api_server, apart):
    """Also where it comes long after the head: aiohttp then leaves the reader of the body waiting for what will never come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api_server.port, ssl=api_server.client_context())
    head = b"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer admin-token\r\n"
    writer.write(head + b'Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n')
    async with asyncio.timeout(5):
        await writer.drain()
        if apart:
            await eventually(lambda: api_server.http.work.body_bytes > 0, 5, "the server to read the body")
        writer.write(b"zz\r\n\r\n")
        answer = await reader.read(100)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    writer.close()
