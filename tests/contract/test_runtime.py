"""One suite for every ``Runtime``: what the agent relies on holds for Docker and for the fake alike."""

from __future__ import annotations

import asyncio
import socket
from contextlib import aclosing, closing

import pytest

from lattice.machinery.clock import SystemClock
from lattice.testing.polling import eventually
from nodeagent.runtime import base
from nodeagent.runtime.docker import DockerRuntime
from nodeagent.runtime.fake import FakeRuntime, Program

IMAGE = "busybox:latest"
SLEEP = ("sleep", "1000")
EXIT_3 = ("sh", "-c", "echo to-out; echo to-err >&2; exit 3")
MISSING_PROGRAM = ("/no/such/program",)
AS_NOBODY_KNOWN = ("id",)
SLOW = ("sleep", "30")
FAILING = ("sh", "-c", "echo sad; exit 7")


@pytest.fixture
def fake() -> FakeRuntime:
    fake = FakeRuntime(SystemClock(), images=[IMAGE])
    fake.programs[EXIT_3] = Program(run_for_s=0.01, exit_code=3, output="to-out\nto-err\n")
    fake.programs[MISSING_PROGRAM] = Program(run_for_s=0, exit_code=127)
    fake.programs[AS_NOBODY_KNOWN] = Program(start_error="unable to find user no-such-user")
    fake.programs[SLOW] = Program(run_for_s=30)
    fake.exec_results[FAILING] = base.ExecResult(exit_code=7, output="sad\n")
    fake.exec_results[MISSING_PROGRAM] = base.ExecResult(exit_code=127, output="not found")
    return fake


def make_config(mark: str, name: str = "a", **fields: object) -> base.ContainerConfig:
    values: dict[str, object] = {
        "name": f"contract-{mark}-{name}",
        "image": IMAGE,
        "labels": {"test": mark, "name": name},
        "command": SLEEP,
        "memory_bytes": 64 * 1024 * 1024,
        "cpu_millis": 500,
        **fields,
    }
    return base.ContainerConfig(**values)  # type: ignore[arg-type]


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def test_a_container_goes_through_its_life(runtime: base.Runtime, mark: str) -> None:
    await runtime.ping()
    created = await runtime.create(make_config(mark))
    assert (await runtime.inspect(created)).state is base.ContainerState.CREATED
    await runtime.start(created)
    running = await runtime.inspect(created)
    assert running.state is base.ContainerState.RUNNING
    assert running.name == f"contract-{mark}-a"
    assert running.labels["name"] == "a"
    assert running.image == IMAGE
    assert running.ip
    assert running.started_at is not None
    assert running.exit_code is None
    assert running.finished_at is None
    await runtime.stop(created, grace_s=5)
    stopped = await runtime.inspect(created)
    assert stopped.state is base.ContainerState.EXITED
    assert stopped.exit_code == 143
    assert stopped.finished_at is not None
    assert stopped.finished_at >= running.started_at
    await runtime.remove(created)
    with pytest.raises(base.ContainerGoneError):
        await runtime.inspect(created)


async def test_repeated_calls_are_successes(runtime: base.Runtime, mark: str) -> None:
    created = await runtime.create(make_config(mark))
    await runtime.start(created)
    await runtime.start(created)
    await runtime.stop(created, grace_s=1)
    await runtime.stop(created, grace_s=1)
    await runtime.remove(created)
    await runtime.remove(created)
    await runtime.stop(created, grace_s=1)


async def test_remove_takes_a_running_container(runtime: base.Runtime, mark: str) -> None:
    created = await runtime.create(make_config(mark))
    await runtime.start(created)
    await runtime.remove(created)
    assert await runtime.list({"test": mark}) == []


async def test_starting_what_is_gone_says_so(runtime: base.Runtime, mark: str) -> None:
    created = await runtime.create(make_config(mark))
    await runtime.remove(created)
    with pytest.raises(base.ContainerGoneError):
        await runtime.start(created)


async def test_a_list_selects_by_labels(runtime: base.Runtime, mark: str) -> None:
    first = await runtime.create(make_config(mark, "a"))
    second = await runtime.create(make_config(mark, "b"))
    assert {container.id for container in await runtime.list({"test": mark})} == {first, second}
    assert {container.id for container in await runtime.list({"test": mark, "name": ""})} == {first, second}
    assert [container.id for container in await runtime.list({"test": mark, "name": "b"})] == [second]
    assert await runtime.list({"test": mark, "absent": ""}) == []


async def test_an_image_that_is_not_there_cannot_be_used(runtime: base.Runtime, mark: str) -> None:
    image = "lattice-test/absent:1"
    assert await runtime.has_image(IMAGE)
    assert not await runtime.has_image(image)
    with pytest.raises(base.ImageNotFoundError):
        await runtime.create(make_config(mark, image=image))
    assert any(IMAGE in found.names for found in await runtime.images())


async def test_a_name_is_used_once(runtime: base.Runtime, mark: str) -> None:
    await runtime.create(make_config(mark))
    with pytest.raises(base.NameTakenError):
        await runtime.create(make_config(mark))


async def test_a_program_that_is_missing_ends_with_127(runtime: base.Runtime, mark: str) -> None:
    created = await runtime.create(make_config(mark, command=MISSING_PROGRAM))
    await runtime.start(created)

    async def code() -> bool:
        return (await runtime.inspect(created)).exit_code == 127

    await eventually(code, what="exit code 127")


async def test_what_cannot_be_started_is_an_invalid_container(runtime: base.Runtime, mark: str) -> None:
    created = await runtime.create(make_config(mark, command=AS_NOBODY_KNOWN, user="no-such-user"))
    with pytest.raises(base.InvalidContainerError):
        await runtime.start(created)
    assert (await runtime.inspect(created)).state is base.ContainerState.CREATED


async def test_a_relative_mount_path_is_an_invalid_container(runtime: base.Runtime, mark: str) -> None:
    with pytest.raises(base.InvalidContainerError):
        await runtime.create(make_config(mark, mounts=(base.Mount(kind="tmpfs", target="relative"),)))


async def test_exit_code_and_log_stay_after_the_end(runtime: base.Runtime, mark: str) -> None:
    created = await runtime.create(make_config(mark, command=EXIT_3))
    await runtime.start(created)

    async def ended() -> bool:
        return (await runtime.inspect(created)).state is base.ContainerState.EXITED

    await eventually(ended, what="the end of the program")
    assert (await runtime.inspect(created)).exit_code == 3
    lines = (await runtime.logs(created, tail=10)).splitlines()
    assert sorted(lines) == ["to-err", "to-out"]


@pytest.mark.parametrize("taken_by", ["container", "foreign program"])
async def test_a_taken_port_is_told_apart(runtime: base.Runtime, mark: str, taken_by: str) -> None:
    port = free_port()
    ports = (base.PortBinding(container_port=80, host_port=port),)
    listener = socket.socket()
    try:
        if taken_by == "container":
            await runtime.start(await runtime.create(make_config(mark, "first", ports=ports)))
        else:
            listener.bind(("127.0.0.1", port))
            listener.listen()
            if isinstance(runtime, FakeRuntime):
                runtime.foreign_ports.add(port)
        second = await runtime.create(make_config(mark, "second", ports=ports))
        with pytest.raises(base.PortTakenError) as caught:
            await runtime.start(second)
        assert caught.value.host_port == port
        assert (await runtime.inspect(second)).ports == ports
    finally:
        listener.close()


async def test_exec_returns_code_and_output(runtime: base.Runtime, mark: str) -> None:
    created = await runtime.create(make_config(mark))
    await runtime.start(created)
    assert (await runtime.exec(created, ("true",), timeout_s=10)).exit_code == 0
    failed = await runtime.exec(created, FAILING, timeout_s=10)
    assert (failed.exit_code, failed.output) == (7, "sad\n")
    assert (await runtime.exec(created, MISSING_PROGRAM, timeout_s=10)).exit_code in (126, 127)
    with pytest.raises(TimeoutError):
        await runtime.exec(created, SLOW, timeout_s=0.3)


async def test_exec_in_a_stopped_container_fails(runtime: base.Runtime, mark: str) -> None:
    created = await runtime.create(make_config(mark))
    with pytest.raises(base.RuntimeFailedError):
        await runtime.exec(created, ("true",), timeout_s=10)


async def test_a_named_volume_outlives_its_container(runtime: base.Runtime, mark: str) -> None:
    volume = f"contract-{mark}"
    await runtime.ensure_volume(volume, labels={"test": mark})
    await runtime.ensure_volume(volume, labels={"test": mark})
    created = await runtime.create(make_config(mark, mounts=(base.Mount(kind="volume", source=volume, target="/data"),)))
    await runtime.start(created)
    assert (await runtime.inspect(created)).volumes == (volume,)
    with pytest.raises(base.RuntimeFailedError):
        await runtime.remove_volume(volume)
    await runtime.remove(created)
    assert await runtime.volumes({"test": mark}) == [volume]
    await runtime.remove_volume(volume)
    await runtime.remove_volume(volume)
    assert await runtime.volumes({"test": mark}) == []


async def test_events_begin_with_the_subscription_and_tell_the_life(runtime: base.Runtime, mark: str) -> None:
    seen: list[str] = []
    subscribed = asyncio.Event()

    async def follow() -> None:
        async with aclosing(runtime.events()) as events:
            async for event in events:
                if event.action == base.EVENT_SUBSCRIBED:
                    subscribed.set()
                elif event.labels.get("test") == mark:
                    seen.append(event.action)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(follow())
        async with asyncio.timeout(10):
            await subscribed.wait()
        created = await runtime.create(make_config(mark))
        await runtime.start(created)
        await runtime.remove(created)
        await eventually(lambda: "destroy" in seen, what="the destroy event")
        task.cancel()
    assert [action for action in seen if action in ("create", "start", "die", "destroy")] == ["create", "start", "die", "destroy"]


async def test_the_event_of_an_end_says_what_an_inspect_call_says_later(runtime: base.Runtime, mark: str) -> None:
    """The agent decides on the event, because an inspect call waits for the engine's cleaning up."""
    if isinstance(runtime, FakeRuntime):
        runtime.programs[("sh", "-c", "exit 3")] = Program(run_for_s=0.0, exit_code=3)
    ends: list[base.RuntimeEvent] = []
    subscribed = asyncio.Event()

    async def follow() -> None:
        async with aclosing(runtime.events()) as events:
            async for event in events:
                if event.action == base.EVENT_SUBSCRIBED:
                    subscribed.set()
                elif event.labels.get("test") == mark and event.action == "die":
                    ends.append(event)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(follow())
        async with asyncio.timeout(10):
            await subscribed.wait()
        created = await runtime.create(make_config(mark, command=("sh", "-c", "exit 3"), memory_bytes=32 * 1024**2))
        await runtime.start(created)
        await eventually(lambda: bool(ends), what="the die event")
        task.cancel()
    found = await runtime.inspect(created)
    assert found.memory_limited
    assert (ends[0].container_id, ends[0].exit_code, found.exit_code) == (created, 3, 3)
    assert ends[0].at is not None
    assert found.finished_at is not None
    assert abs((ends[0].at - found.finished_at).total_seconds()) < 5
    await runtime.remove(created)


async def test_an_engine_that_is_away_is_said_to_be_away(runtime: base.Runtime) -> None:
    away: base.Runtime
    if isinstance(runtime, FakeRuntime):
        runtime.set_down(True)
        away = runtime
    else:
        away = DockerRuntime("unix:///nonexistent/docker.sock")
    try:
        with pytest.raises(base.RuntimeUnavailableError):
            await away.ping()
        with pytest.raises(base.RuntimeUnavailableError):
            await away.list()
        with pytest.raises(base.RuntimeUnavailableError):
            async with aclosing(away.events()) as events:
                await anext(events)
    finally:
        await away.close()
