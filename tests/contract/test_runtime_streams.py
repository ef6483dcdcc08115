"""Logs, exec, attach and forwarded ports: Docker and the fake give the same answers."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing

import pytest

from lattice.machinery.clock import SystemClock
from lattice.testing.polling import eventually
from nodeagent.runtime import base, streams
from nodeagent.runtime.docker import DockerRuntime
from nodeagent.runtime.fake import FakeRuntime, Program

IMAGE = "busybox:latest"
LINES = ("sh", "-c", "echo one; echo two; echo three")
SLEEP = ("sleep", "1000")
FAILING = ("sh", "-c", "echo sad; exit 7")
REDIS = "redis:7"
LISTENS = ("redis-server", "--bind", "127.0.0.1", "--port", "8080")
TYPED = ("sh", "-c", "while read line; do echo $line; done")


@pytest.fixture
def fake() -> FakeRuntime:
    fake = FakeRuntime(SystemClock(), images=[IMAGE, REDIS])
    fake.programs[LINES] = Program(run_for_s=0.05, output="one\ntwo\nthree\n")
    fake.exec_results[FAILING] = base.ExecResult(exit_code=7, output="sad\n")
    fake.listening[8080] = lambda sent: b"+PONG\r\n" if sent == b"PING\r\n" else b"?"
    return fake


async def started(runtime: base.Runtime, mark: str, command: tuple[str, ...], **fields: object) -> base.ContainerId:
    image = REDIS if command is LISTENS else IMAGE
    config = base.ContainerConfig(name=f"streams-{mark}", image=image, labels={"test": mark}, command=command, **fields)  # type: ignore[arg-type]
    made = await runtime.create(config)
    await runtime.start(made)
    return made


async def entries(runtime: base.Runtime, container: base.ContainerId, **query: object) -> list[streams.LogEntry]:
    async with aclosing(runtime.follow_logs(container, streams.LogQuery(**query))) as found:  # type: ignore[arg-type]
        return [entry async for batch in found for entry in batch]


async def output(process: streams.Process) -> bytes:
    pieces = []
    while (piece := await process.read()) is not None:
        pieces.append(piece[1])
    return b"".join(pieces)


async def test_a_followed_log_has_every_line_and_ends_with_the_container(runtime: base.Runtime, mark: str) -> None:
    container = await started(runtime, mark, LINES)
    async with asyncio.timeout(30):
        found = await entries(runtime, container, follow=True)
    assert [entry.data for entry in found] == [b"one\n", b"two\n", b"three\n"]
    assert [entry.time for entry in found] == sorted(entry.time for entry in found)
    assert {len(entry.time) for entry in found} == {30}


async def test_tail_and_since_choose_the_end_of_a_log(runtime: base.Runtime, mark: str) -> None:
    container = await started(runtime, mark, LINES)
    found = await entries(runtime, container, follow=True)
    assert [entry.data for entry in await entries(runtime, container, tail=1)] == [b"three\n"]
    assert await entries(runtime, container, tail=0) == []
    again = await entries(runtime, container, since=found[-1].time)
    assert found[-1] in again  # the entry of that moment comes again
    assert await entries(runtime, container, since="4000000000.5") == []


async def test_an_exec_gives_output_and_exit_code(runtime: base.Runtime, mark: str) -> None:
    container = await started(runtime, mark, SLEEP)
    process = await runtime.open_exec(container, FAILING, stdin=False, tty=False)
    assert await output(process) == b"sad\n"
    assert await process.exit_code() == 7
    await process.close()
    await process.close()


async def test_an_exec_reads_its_input_to_the_end(runtime: base.Runtime, mark: str) -> None:
    container = await started(runtime, mark, SLEEP)
    process = await runtime.open_exec(container, ("cat",), stdin=True, tty=False)
    sent = os.urandom(300_000)

    async def write() -> None:
        for start in range(0, len(sent), 10_000):
            await process.write(sent[start : start + 10_000])
        await process.close_input()

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(write())
        assert await output(process) == sent
    assert await process.exit_code() == 0
    await process.close()


async def test_an_exec_in_what_does_not_run_is_refused(runtime: base.Runtime, mark: str) -> None:
    container = await started(runtime, mark, LINES)
    await eventually(lambda: _ended(runtime, container), 30)
    for opening in (
        runtime.open_exec(container, ("true",), stdin=False, tty=False),
        runtime.open_attach(container, stdin=False),
        runtime.connect(container, 8080),
    ):
        with pytest.raises(base.RuntimeFailedError):
            await opening
    await runtime.remove(container)
    for opening in (
        runtime.open_exec(container, ("true",), stdin=False, tty=False),
        runtime.open_attach(container, stdin=False),
        runtime.connect(container, 8080),
        entries(runtime, container),
    ):
        with pytest.raises(base.ContainerGoneError):
            await opening


async def _ended(runtime: base.Runtime, container: base.ContainerId) -> bool:
    return (await runtime.inspect(container)).state is base.ContainerState.EXITED


async def test_who_is_attached_types_and_reads(runtime: base.Runtime, mark: str) -> None:
    container = await started(runtime, mark, TYPED, stdin=True)
    process = await runtime.open_attach(container, stdin=True)
    await process.write(b"hello\n")
    async with asyncio.timeout(30):
        assert await process.read() == (streams.STDOUT, b"hello\n")
    assert await process.exit_code() is None
    await process.close()


async def test_a_port_that_listens_on_the_loopback_alone_is_reached(runtime: base.Runtime, mark: str) -> None:
    container = await started(runtime, mark, LISTENS)

    async def connect() -> streams.Connection | None:
        try:
            return await runtime.connect(container, 8080)
        except base.RuntimeFailedError:
            return None

    connection = await eventually(connect, 30)
    assert connection is not None
    await connection.write(b"PING\r\n")
    async with asyncio.timeout(30):
        assert await connection.read() == b"+PONG\r\n"
        await connection.close_output()
        assert await connection.read() == b""
    await connection.close()
    with pytest.raises(base.RuntimeFailedError, match="connection refused"):
        await runtime.connect(container, 9)


@pytest.mark.docker
async def test_a_terminal_has_the_size_it_is_told(mark: str) -> None:
    host = os.environ.get("LATTICE_DOCKER_HOST")
    if not host:
        pytest.skip("LATTICE_DOCKER_HOST names no Docker engine (hack/docker starts one)")
    docker = DockerRuntime(host)
    container = await started(docker, mark, SLEEP)
    try:
        process = await docker.open_exec(container, ("sh", "-c", "read line; stty size"), stdin=True, tty=True)
        await process.resize(width=101, height=37)
        await process.write(b"go\n")
        async with asyncio.timeout(30):
            assert b"37 101" in await output(process)
        await process.resize(width=1, height=1)
        await process.close()
    finally:
        await docker.remove(container)
        await docker.close()
