"""The control line: a server asks an agent that it could never dial; and what a hostile or broken node can do with it (nothing)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from lattice.api import errors, line
from lattice.testing.polling import eventually

PATH = "/api/v1/nodes/node1/line"


@pytest.fixture
def lines(api_server):
    return api_server.api.lines


async def greet(question: Any) -> Any:
    return {"hello": question["name"]}


async def test_a_question_is_answered_by_the_node_that_it_is_for(lines, make_line) -> None:
    async def other(_question: Any) -> Any:
        return "other"

    await make_line(greet=greet)
    await make_line("node2", greet=other)
    assert await lines.ask("node1", {"kind": "greet", "name": "ada"}) == {"hello": "ada"}
    assert await lines.ask("node2", {"kind": "greet", "name": "ada"}) == "other"


async def test_many_questions_are_answered_side_by_side(lines, make_line) -> None:
    gate = asyncio.Event()

    async def slow(question: Any) -> Any:
        await gate.wait()
        return question["number"]

    await make_line(slow=slow, greet=greet)
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(lines.ask("node1", {"kind": "slow", "number": number})) for number in range(30)]
        assert await lines.ask("node1", {"kind": "greet", "name": "x"}) == {"hello": "x"}
        gate.set()
    assert [each.result() for each in asked] == list(range(30))


async def test_an_error_of_the_agent_reaches_who_asked(lines, make_line) -> None:
    async def refuse(_question: Any) -> Any:
        raise errors.NotFoundError("there is no such container")

    async def crash(_question: Any) -> Any:
        raise KeyError("defect")

    await make_line(refuse=refuse, crash=crash)
    with pytest.raises(errors.NotFoundError, match="no such container"):
        await lines.ask("node1", {"kind": "refuse"})
    with pytest.raises(errors.InternalError, match="the agent failed"):
        await lines.ask("node1", {"kind": "crash"})
    with pytest.raises(errors.BadRequestError, match="older than the server"):
        await lines.ask("node1", {"kind": "unheard-of"})


async def test_a_node_without_a_line_is_said_at_once(lines) -> None:
    with pytest.raises(errors.ServiceUnavailableError, match="node node1 is not connected"):
        await lines.ask("node1", {"kind": "greet"})


async def test_an_agent_that_does_not_answer_is_given_up(lines, make_line) -> None:
    async def never(_question: Any) -> Any:
        await asyncio.Event().wait()

    await make_line(never=never, greet=greet)
    with pytest.raises(errors.TimeoutStatusError):
        await lines.ask("node1", {"kind": "never"}, timeout_s=0.2)
    assert await lines.ask("node1", {"kind": "greet", "name": "x"}) == {"hello": "x"}


async def test_the_line_is_opened_again_after_the_server_restarts(api_server, make_line) -> None:
    await make_line(greet=greet)
    await api_server.restart()
    await eventually(lambda: "node1" in api_server.api.lines, 30, "the line to be back")
    assert await api_server.api.lines.ask("node1", {"kind": "greet", "name": "x"}) == {"hello": "x"}


async def test_a_newer_line_takes_the_place_of_a_half_open_one(api_server, lines, make_line) -> None:
    await make_line(greet=greet)
    async with api_server.session("node1-token") as session, session.ws_connect(PATH) as second:
        asked = asyncio.ensure_future(lines.ask("node1", {"kind": "greet", "name": "x"}))
        question = json.loads(await second.receive_str(timeout=20))
        await second.send_str(line.encode_answer(question["id"], "from the second"))
        assert await asked == "from the second"


@pytest.mark.parametrize(("token", "status"), [("node2-token", 403), ("alice-token", 403), (None, 403), ("wrong", 401)])
async def test_nobody_else_opens_the_line_of_a_node(api_server, make_node, token, status) -> None:
    await make_node()
    async with api_server.session(token) as session:
        for path in (PATH, "/api/v1/nodes/node1/streams", "/api/v1/nodes/node1/streams?id=x"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await session.ws_connect(path)
            assert caught.value.status == status


async def test_a_node_that_does_not_exist_gets_no_line(api_server) -> None:
    async with api_server.session("node1-token") as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await session.ws_connect(PATH)
        assert caught.value.status == 404


async def test_without_an_upgrade_there_is_no_line(api_server, make_node) -> None:
    await make_node()
    async with api_server.session("node1-token") as session, session.get(PATH) as answer:
        assert answer.status == 400
        assert "WebSocket" in (await answer.json())["message"]


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "no json",
        "[]",
        "{}",
        '{"id": "x", "answer": 1}',
        '{"id": true}',
        '{"id": -1}',
        b"\x00\x01",
        "x" * (2 * 1024 * 1024),
        "[" * 100_000,
    ],
    ids=["empty", "text", "list", "no-id", "id-text", "id-bool", "id-negative", "binary", "oversized", "deep"],
)
async def test_garbage_on_a_line_ends_that_line_and_nothing_else(api_server, lines, make_line, make_node, garbage) -> None:
    await make_node()
    await make_line("node2", greet=greet)
    async with api_server.session("node1-token") as session, session.ws_connect(PATH) as socket:
        await eventually(lambda: "node1" in lines)
        asked = asyncio.ensure_future(lines.ask("node1", {"kind": "greet"}))
        await socket.receive_str(timeout=20)
        await (socket.send_bytes(garbage) if isinstance(garbage, bytes) else socket.send_str(garbage))
        with pytest.raises(errors.ServiceUnavailableError, match="broke"):
            await asked
        await eventually(lambda: "node1" not in lines)
    assert await lines.ask("node2", {"kind": "greet", "name": "x"}) == {"hello": "x"}


async def test_an_answer_to_no_question_changes_nothing(api_server, lines, make_node) -> None:
    await make_node()
    async with api_server.session("node1-token") as session, session.ws_connect(PATH) as socket:
        await eventually(lambda: "node1" in lines)
        await socket.send_str(line.encode_answer(99, "nobody asked"))
        asked = asyncio.ensure_future(lines.ask("node1", {"kind": "greet"}))
        question = json.loads(await socket.receive_str(timeout=20))
        await socket.send_str(line.encode_answer(question["id"], "good"))
        assert await asked == "good"


async def test_a_node_that_reads_nothing_holds_up_only_its_own_questions(api_server, lines, make_node, make_line) -> None:
    await make_node()
    await make_line("node2", greet=greet)
    async with api_server.session("node1-token") as session, session.ws_connect(PATH):
        await eventually(lambda: "node1" in lines)
        asked = [asyncio.ensure_future(lines.ask("node1", {"kind": "x", "big": "y" * 100_000}, timeout_s=5)) for _ in range(80)]
        assert await lines.ask("node2", {"kind": "greet", "name": "x"}) == {"hello": "x"}
        ends = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(end) for end in ends} <= {errors.TimeoutStatusError, errors.TooManyRequestsError, errors.ServiceUnavailableError}
    assert sum(isinstance(end, errors.TooManyRequestsError) for end in ends) >= 80 - line.MAX_QUESTIONS
