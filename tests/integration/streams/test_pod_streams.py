"""Logs, exec and attach from a client to a real agent, whose engine is a fake: over TLS, as agents and clients do it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from lattice.api import errors, pod
from lattice.client.base import Request
from lattice.testing.polling import eventually
from nodeagent.runtime import base, streams

NODE = "node1"
V5 = "v5.channel.k8s.io"
CRASH = ["crash"]


def path_of(subresource: str, name: str = "web") -> str:
    return f"/api/v1/namespaces/default/pods/{name}/{subresource}"


async def log(session: aiohttp.ClientSession, query: str = "", name: str = "web") -> str:
    async with asyncio.timeout(30), session.get(f"{path_of('log', name)}?{query}") as answer:
        text = await answer.text()
        assert answer.status == 200, text
        assert answer.content_type == "text/plain"
        return text


async def refusal(session: aiohttp.ClientSession, path: str, code: int = 400) -> str:
    async with asyncio.timeout(30), session.get(path) as answer:
        assert answer.status == code, await answer.text()
        return str((await answer.json())["message"])


async def test_a_log_is_read_whole_from_its_end_and_cut(world, admin) -> None:
    await world.run_pod()
    await world.say("one\ntwo\n")
    await world.say("three\n", channel=streams.STDERR)
    assert await log(admin) == "one\ntwo\nthree\n"
    assert await log(admin, "tailLines=2") == "two\nthree\n"
    assert await log(admin, "tailLines=0") == ""
    assert await log(admin, "limitBytes=6") == "one\ntw"
    assert await log(admin, "sinceTime=2100-01-01T00:00:00Z") == ""
    assert await log(admin, "sinceSeconds=3600") == "one\ntwo\nthree\n"
    stamped = (await log(admin, "timestamps=true&tailLines=1")).split(" ")
    assert len(stamped[0]) == 30
    assert stamped[1] == "three\n"


async def test_a_followed_log_comes_as_it_is_written(world, admin) -> None:
    await world.run_pod()
    await world.say("before\n")
    async with admin.get(f"{path_of('log')}?follow=true") as answer:
        assert await next_line(answer) == "before"
        for number in range(20):
            await world.say(f"line {number}\n")
            assert await next_line(answer) == f"line {number}"


async def next_line(answer: aiohttp.ClientResponse) -> str:
    async with asyncio.timeout(30):
        return (await answer.content.readline()).decode().rstrip("\n")


async def test_a_followed_log_ends_with_its_container(world, admin) -> None:
    await world.run_pod("once", {"name": "main", "command": CRASH}, restartPolicy="Never")
    assert await log(admin, "follow=true", "once") == "boom\n"


async def test_a_broken_line_loses_nothing(world, admin) -> None:
    await world.run_pod()
    await world.say("one\n")
    async with admin.get(f"{path_of('log')}?follow=true") as answer:
        assert await next_line(answer) == "one"
        async with world.proxy.away():
            for number in range(5):
                await world.say(f"while away {number}\n")
        assert [await next_line(answer) for _ in range(5)] == [f"while away {number}" for number in range(5)]
        await world.say("after\n")
        assert await next_line(answer) == "after"


async def test_lines_of_one_moment_are_neither_lost_nor_doubled_over_a_break(world, admin) -> None:
    await world.run_pod()
    moment = "2099-01-01T00:00:00.000000000Z"
    await world.say("a\nb\n", time=moment)
    async with admin.get(f"{path_of('log')}?follow=true") as answer:
        assert [await next_line(answer), await next_line(answer)] == ["a", "b"]
        async with world.proxy.away():
            await world.say("c\n", time=moment)
        assert await next_line(answer) == "c"


async def test_a_gap_is_told(world, admin) -> None:
    await world.run_pod()
    await world.say("one\n")
    async with admin.get(f"{path_of('log')}?follow=true") as answer:
        assert await next_line(answer) == "one"
        async with world.proxy.away():
            for number in range(10):
                await world.say(f"while away {number}\n")
            container = await world.container("web")
            world.runtime.rotate(container.id, keep=2)
        assert "lines are missing here" in await next_line(answer)
        assert [await next_line(answer), await next_line(answer)] == ["while away 8", "while away 9"]


async def test_a_log_goes_on_after_the_engine_was_away(world, admin) -> None:
    await world.run_pod()
    await world.say("one\n")
    async with admin.get(f"{path_of('log')}?follow=true") as answer:
        assert await next_line(answer) == "one"
        container = await world.container("web")
        world.runtime.set_down(True)
        world.runtime.say(container.id, "two\n")
        await asyncio.sleep(0.1)  # noqa: TID251 - the follower notices that the engine is away
        world.runtime.set_down(False)
        assert await next_line(answer) == "two"


async def test_what_a_log_request_may_not_say(world, admin) -> None:
    await world.run_pod("two", {"name": "a"})
    log_path = path_of("log", "two")
    assert "tailLines: Invalid value: -1: must be greater than or equal to 0" in await refusal(admin, f"{log_path}?tailLines=-1", 422)
    assert "must be greater than 0" in await refusal(admin, f"{log_path}?limitBytes=0", 422)
    assert "at most one of" in await refusal(admin, f"{log_path}?sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", 422)
    assert "container x is not valid for pod two" in await refusal(admin, f"{log_path}?container=x")
    assert 'previous terminated container "a" in pod "two" not found' in await refusal(admin, f"{log_path}?previous=true")
    assert 'pods "nope" not found' in await refusal(admin, path_of("log", "nope"), 404)
    for wrong in ("follow=maybe", "tailLines=x", "sinceTime=yesterday", "tailLines=99999999999999999999999"):
        await refusal(admin, f"{log_path}?{wrong}")


async def test_a_pod_without_a_node_has_an_empty_log_and_runs_nothing(world, admin, client) -> None:
    body = {"metadata": {"name": "later", "namespace": "default"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    await client.create(pod.Pod.model_validate(body))
    assert await log(admin, name="later") == ""
    for command in ("exec?command=x&stdout=true", "attach?stdout=true"):
        assert await refusal(admin, path_of(command, "later")) == "pod later does not have a host assigned"


async def test_a_node_that_is_away_is_said_at_once(world, admin) -> None:
    await world.run_pod()
    async with world.proxy.away():
        await eventually(lambda: NODE not in world.server.api.lines, 30)
        message = await refusal(admin, path_of("log"), 503)
        assert "the node node1 is not connected" in message


async def end_of(socket: aiohttp.ClientWebSocketResponse) -> tuple[bytes, dict[str, Any]]:
    """Return what a program wrote, and the Status at its end."""
    written = b""
    async with asyncio.timeout(30):
        async for message in socket:
            if message.data[0] in (1, 2):
                written += message.data[1:]
            elif message.data[0] == 3:
                return written, json.loads(message.data[1:])
    raise AssertionError(f"the socket closed without a status ({socket.close_code})")


async def test_exec_gives_output_and_exit_code(world, admin) -> None:
    await world.run_pod()
    world.runtime.exec_results[("echo", "two words")] = base.ExecResult(exit_code=0, output="two words\n")
    world.runtime.exec_results[("false",)] = base.ExecResult(exit_code=3, output="")
    async with admin.ws_connect(f"{path_of('exec')}?command=echo&command=two+words&stdout=true&stderr=true", protocols=[V5]) as socket:
        assert socket.protocol == V5
        assert await end_of(socket) == (b"two words\n", {"metadata": {}, "status": "Success"})
    async with admin.ws_connect(f"{path_of('exec')}?command=false&stdout=true", protocols=["v4.channel.k8s.io"]) as socket:
        _, status = await end_of(socket)
        assert status["reason"] == "NonZeroExitCode"
        assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


async def test_exec_passes_input_until_it_is_closed(world, admin) -> None:
    await world.run_pod()
    async with admin.ws_connect(f"{path_of('exec')}?command=cat&stdin=true&stdout=true", protocols=[V5]) as socket:
        for number in range(200):
            await socket.send_bytes(b"\0" + bytes([number]) * 1000)
        await socket.send_bytes(b"\xff\0")
        written, status = await end_of(socket)
    assert written == b"".join(bytes([number]) * 1000 for number in range(200))
    assert status["status"] == "Success"


@pytest.mark.parametrize(
    ("query", "protocols", "message"),
    [
        ("exec?command=x", [V5], "you must specify at least 1 of stdin, stdout, stderr"),
        ("exec?stdout=true", [V5], "you must specify at least one command for the container"),
        ("exec?command=x&stdout=true&container=nope", [V5], "container nope is not valid for pod web"),
        ("exec?command=x&stdout=true", ["v1.channel.k8s.io"], "none of the protocols v1.channel.k8s.io is spoken here"),
        ("exec?command=x%00&stdout=true", [V5], "NUL"),
    ],
)
async def test_what_an_exec_may_not_say(world, api_server, query, protocols, message) -> None:
    await world.run_pod()
    client = api_server.client()
    path, _, rest = path_of(query).partition("?")
    with pytest.raises(errors.BadRequestError, match=message):
        await client.transport.connect(Request("GET", f"{path}?{rest}"), protocols=protocols)


async def test_garbage_from_a_client_ends_nothing(world, admin) -> None:
    await world.run_pod()
    async with admin.ws_connect(f"{path_of('exec')}?command=cat&stdin=true&stdout=true&tty=true", protocols=[V5]) as socket:
        for garbage in (b"", b"\x09x", b"\x04no json", b'\x04{"Width": -1, "Height": "x"}', b"\xff", b"\xff\x07", b"\x03{}"):
            await socket.send_bytes(garbage)
        await socket.send_str("\0text")
        await socket.send_bytes(b"\xff\0")
        assert await end_of(socket) == (b"text", {"metadata": {}, "status": "Success"})


async def test_a_client_that_goes_away_frees_the_stream(world, admin) -> None:
    await world.run_pod()
    async with admin.ws_connect(f"{path_of('exec')}?command=cat&stdin=true&stdout=true", protocols=[V5]):
        await eventually(lambda: world.server.api.desk.open_streams == 1, 20)
    await eventually(lambda: world.server.api.desk.open_streams == 0, 20)
    answer = await admin.get(f"{path_of('log')}?follow=true")
    await eventually(lambda: world.server.api.desk.open_streams == 1, 20)
    answer.close()
    await eventually(lambda: world.server.api.desk.open_streams == 0, 20)


async def test_an_exec_is_told_that_its_line_broke(world, admin) -> None:
    await world.run_pod()
    async with admin.ws_connect(f"{path_of('exec')}?command=cat&stdin=true&stdout=true", protocols=[V5]) as socket:
        await socket.send_bytes(b"\0x")
        async with asyncio.timeout(20):
            while (await socket.receive_bytes()) != b"\x01x":
                pass
        async with world.proxy.away():
            _, status = await end_of(socket)
            assert status["status"] == "Failure"
            assert "the stream to the node node1 broke" in status["message"]


async def test_two_hundred_execs_leave_nothing_behind(world, admin) -> None:
    await world.run_pod()
    world.runtime.exec_results[("echo",)] = base.ExecResult(exit_code=0, output="x")
    limit = asyncio.Semaphore(8)

    async def once() -> None:
        async with limit, admin.ws_connect(f"{path_of('exec')}?command=echo&stdout=true", protocols=[V5]) as socket:
            assert (await end_of(socket))[0] == b"x"

    async with asyncio.TaskGroup() as group:
        for _ in range(200):
            group.create_task(once())
    await eventually(lambda: world.server.api.desk.open_streams == 0, 20)


async def test_more_streams_than_a_node_takes_are_refused(world, admin) -> None:
    await world.run_pod()
    make: Callable[[], Any] = lambda: admin.ws_connect(f"{path_of('exec')}?command=cat&stdin=true&stdout=true", protocols=[V5])  # noqa: E731
    async with AsyncExitStack() as stack:
        for _ in range(64):
            await stack.enter_async_context(make())
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await stack.enter_async_context(make())
        assert caught.value.status == 429
