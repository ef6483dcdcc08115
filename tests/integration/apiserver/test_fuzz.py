"""Hostile requests against a server in a process of its own: a few thousand of what ``hack/fuzz`` sends by the tens of thousands."""

import asyncio
import json
import logging
import random
import string
from pathlib import Path

import pytest

from lattice.testing.controlplane import ControlPlane
from lattice.testing.fuzz import openapi, oracle
from lattice.testing.fuzz.generator import Generator
from lattice.testing.fuzz.run import TOKEN, attack, prepare, tls_context
from lattice.testing.fuzz.wire import Connection, Request

SEED = 20261121
REQUESTS = 3000
WITHIN_S = 45.0
ANSWER_WITHIN_S = 10.0
CASES = sorted((Path(__file__).parents[2] / "data" / "fuzz").glob("*.json"))


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_no_request_breaks_the_server_and_no_object_is_lost(tmp_path):
    async with ControlPlane(tmp_path) as plane:
        await plane.start_server()
        report = await attack(plane, seed=SEED, requests=REQUESTS, within_s=WITHIN_S)
    assert not report.findings, "\n".join(map(str, report.findings[:10]))
    assert report.requests > 1000
    assert report.statuses.keys() >= {200, 201, 400, 404, 409, 415, 422}, "the requests no longer reach what they are to attack"
    assert report.acknowledged > 100


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_the_server_keeps_to_the_documents_that_it_publishes(tmp_path):
    async with ControlPlane(tmp_path) as plane:
        await plane.start_server()
        context = tls_context(plane)
        await prepare(plane, context)
        report = await asyncio.to_thread(openapi.explore, "127.0.0.1", plane.port, context, seed=SEED, examples=2, within_s=WITHIN_S)
        assert "request failed" not in plane.server.log.read_text()
    assert not report.findings, "\n".join(map(str, report.findings[:10]))
    assert report.requests > 200


async def test_what_was_found_once(api_server, caplog):
    """Every case of tests/data/fuzz against one server; each has the sentence of what was wrong when it was found."""
    caplog.set_level(logging.WARNING)
    connection = Connection("127.0.0.1", api_server.port, api_server.client_context(), TOKEN)
    assert CASES
    for path in CASES:
        case = json.loads(path.read_text())
        request = Request.from_json(case["request"])
        async with asyncio.timeout(oracle.ANSWER_WITHIN_S):
            response = await connection.send(request)
        assert oracle.judge(request, response, 0.0) is None, f"{path.name}: {case['finding']}"
    await connection.close()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info] == []


def test_a_seed_makes_the_same_requests_again():
    first, second = ([generator.request() for _ in range(300)] for generator in (Generator(7, 1), Generator(7, 1)))
    assert first == second
    assert [Request.from_json(json.loads(json.dumps(request.to_json()))) for request in first] == first


@pytest.mark.parametrize("seed", range(3))
async def test_bytes_that_are_not_http(api_server, caplog, seed):
    rng = random.Random(seed)
    seen = []
    for start in (
        b"",
        b"GET / HTTP/1.1\r\n",
        b"POST /api/v1/pods HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET \xff\xfe HTTP/9.9\r\n\r\n",
    ):
        data = start + bytes(rng.choices(string.printable.encode() + b"\0\xff", k=200)) + b"\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", api_server.port, ssl=api_server.client_context())
        writer.write(data)
        writer.write_eof() if writer.can_write_eof() else None
        async with asyncio.timeout(ANSWER_WITHIN_S):
            seen.append(await reader.read(12))
        writer.close()
        await writer.wait_closed()
    assert all(answer in {b"", b"HTTP/1.1 400", b"HTTP/1.0 400"} for answer in seen), seen
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
