"""HTTP that is made to be understood in two ways, by us and by a proxy in front of us."""

import asyncio
import re

import pytest

ADMIN, ALICE = (b"Authorization: Bearer %b-token\r\n" % name for name in (b"admin", b"alice"))
SECRET = b"GET /api/v1/namespaces/default/secrets/s HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: a\r\n" + ADMIN


@pytest.fixture
async def server(api_server):
    body = {"metadata": {"name": "s"}, "stringData": {"a": "hidden"}}
    async with api_server.session() as session, session.post("/api/v1/namespaces/default/secrets", json=body) as answer:
        assert answer.status == 201
    return api_server


async def exchange(server, sent):
    """Send bytes and a last request after them; return all status codes that come back, and the bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=server.client_context())
    writer.write(sent + b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(10):
        await writer.drain()
        received = await reader.read()
    writer.close()
    return [int(code) for code in re.findall(rb"HTTP/1\.[01] (\d+)", received)], received


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n{}  ",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: +5\r\n\r\n{}   ",
        b"X: a\rContent-Length: 5\r\n\r\n{}   ",
        b"X: a\r\n Content-Length: 5\r\n\r\n{}   ",
    ],
)
async def test_a_request_with_two_lengths_is_the_last_on_its_connection(server, headers):
    codes, received = await exchange(server, POST + headers + SECRET + ADMIN + b"\r\n")
    assert codes == [400]
    assert b"aGlkZGVu" not in received


async def test_of_two_credentials_the_first_counts(server):
    codes, received = await exchange(server, SECRET + ALICE + ADMIN + b"\r\n")
    assert codes == [403, 200]
    assert b"aGlkZGVu" not in received
    codes, _ = await exchange(server, SECRET + ADMIN + b"Impersonate-User: alice\r\nImpersonate-User: \r\n\r\n")
    assert codes == [403, 200]


@pytest.mark.parametrize("path", [b"/api/v1/secrets?watch=true", b"/api/v1/namespaces/default/secrets", b"/lattice/v1/backup"])
async def test_an_answer_to_head_has_no_body(server, path):
    """The events of a watch once followed, without any framing: text that a user wrote, where the next answer is read."""
    codes, received = await exchange(server, b"HEAD " + path + b" HTTP/1.1\r\nHost: a\r\n" + ADMIN + b"\r\n")
    assert codes == [200, 200]
    first, _, rest = received.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200")
    assert rest.startswith(b"HTTP/1.1 200")
