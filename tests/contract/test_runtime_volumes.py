"""Volumes, images and what a container is made from: the same on Docker and on the fake."""

from nodeagent.runtime import base
from nodeagent.runtime.fake import FakeRuntime
from nodeagent.runtime.pause import PAUSE_IMAGE, ensure_pause_image
from nodeagent.volumes.shell import directory_archive

IMAGE = "busybox:latest"


def make_config(mark: str, name: str = "a", **fields: object) -> base.ContainerConfig:
    values: dict[str, object] = {"name": f"contract-{mark}-{name}", "image": IMAGE, "labels": {"test": mark}, "command": ("sleep", "1000")}
    return base.ContainerConfig(**{**values, **fields})  # type: ignore[arg-type]


async def test_a_volume_is_made_once_and_has_a_place(runtime: base.Runtime, mark: str) -> None:
    name = f"contract-{mark}"
    assert await runtime.volume_path(name) is None
    assert await runtime.ensure_volume(name, labels={"test": mark})
    assert not await runtime.ensure_volume(name, labels={"test": "another"})
    place = await runtime.volume_path(name)
    assert place is not None
    assert place.startswith("/")
    assert name in place
    assert await runtime.volumes({"test": mark}) == [name]
    await runtime.remove_volume(name)
    assert await runtime.volume_path(name) is None


async def test_a_volume_in_memory_is_listed_and_used_as_any_other(runtime: base.Runtime, mark: str) -> None:
    name = f"contract-{mark}"
    options = {"type": "tmpfs", "device": "tmpfs", "o": "mode=0777,size=1048576"}
    assert await runtime.ensure_volume(name, labels={"test": mark}, options=options)
    mounts = (base.Mount(kind="volume", source=name, target="/fast", copy_image=False),)
    created = await runtime.create(make_config(mark, mounts=mounts))
    await runtime.start(created)
    assert (await runtime.inspect(created)).volumes == (name,)
    await runtime.remove(created)
    await runtime.remove_volume(name)


async def test_an_image_says_what_it_is_and_one_that_is_absent_says_nothing(runtime: base.Runtime, mark: str) -> None:
    found = await runtime.inspect_image(IMAGE)
    assert found is not None
    assert found.id.startswith("sha256:")
    assert found.digests == ()  # it was never in a registry
    assert await runtime.inspect_image("lattice-test/absent:1") is None
    created = await runtime.create(make_config(mark))
    container = await runtime.inspect(created)
    assert (container.image_id, container.image_digest) == (found.id, "")


async def test_a_pause_container_runs_from_an_image_made_of_nothing_and_ends_when_told(runtime: base.Runtime, mark: str) -> None:
    await ensure_pause_image(runtime)
    await ensure_pause_image(runtime)
    found = await runtime.inspect_image(PAUSE_IMAGE)
    assert found is not None
    assert found.entrypoint == ("/pause",)
    config = make_config(
        mark, "pause", image=PAUSE_IMAGE, command=None, user="65535:65535", init=False, capabilities=(), ipc_mode="shareable"
    )
    pause = await runtime.create(config)
    await runtime.start(pause)
    joined = make_config(
        mark, "joined", network=f"container:{pause}", ipc_mode=f"container:{pause}", pid_mode=f"container:{pause}", init=False
    )
    other = await runtime.create(joined)
    await runtime.start(other)
    assert (await runtime.inspect(other)).state is base.ContainerState.RUNNING
    assert (await runtime.inspect(pause)).ip
    assert not (await runtime.inspect(other)).ip
    await runtime.remove(other)
    await runtime.stop(pause, grace_s=30)
    ended = await runtime.inspect(pause)
    assert ended.state is base.ContainerState.EXITED
    assert ended.exit_code in (0, 143)  # the program's own end, or the fake's for every signal


async def test_mode_and_group_of_a_new_volume_are_set_through_a_container_that_was_not_started(runtime: base.Runtime, mark: str) -> None:
    name = f"contract-{mark}"
    await runtime.ensure_volume(name, labels={"test": mark})
    mounts = (base.Mount(kind="volume", source=name, target="/a/b", copy_image=False),)
    command = ("stat", "-c", "%a %u %g", "/a/b")
    if isinstance(runtime, FakeRuntime):
        runtime.exec_results[command] = base.ExecResult(exit_code=0, output="2777 0 77\n")
    created = await runtime.create(make_config(mark, mounts=mounts))
    await runtime.put_archive(created, "/a", directory_archive("b", 0o2777, 77))
    await runtime.start(created)
    assert (await runtime.exec(created, command, timeout_s=20)).output == "2777 0 77\n"
