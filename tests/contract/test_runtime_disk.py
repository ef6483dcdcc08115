"""What containers use and what takes disk: Docker and the fake say the same of the same."""

from __future__ import annotations

import uuid

import pytest

from lattice.testing.polling import eventually
from nodeagent.runtime import base
from nodeagent.runtime.fake import FakeRuntime

IMAGE = "busybox:latest"
MIB = 1024**2


def make_config(mark: str, name: str = "a", *command: str, **fields: object) -> base.ContainerConfig:
    labels = {"test": mark}
    return base.ContainerConfig(name=f"disk-{mark}-{name}", image=IMAGE, labels=labels, command=command or ("sleep", "1000"), **fields)  # type: ignore[arg-type]


async def test_a_running_container_has_counters_and_another_has_none(runtime: base.Runtime, mark: str) -> None:
    config = make_config(mark, "a", "sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; exec sleep 1000")
    made = await runtime.create(config)
    if isinstance(runtime, FakeRuntime):
        runtime.figures.stats[config.name] = base.ContainerStats(cpu_s=0.2, memory_bytes=2 * MIB, working_set_bytes=MIB, pids=1)
    assert (await runtime.stats(made)).cpu_s == 0
    await runtime.start(made)

    async def used() -> bool:
        found = await runtime.stats(made)
        assert found.cpu_s > 0.05, found
        assert found.pids >= 1
        assert 0 < found.working_set_bytes <= found.memory_bytes
        return True

    await eventually(used, 20, "counters")
    await runtime.stop(made, grace_s=0)
    assert (await runtime.stats(made)).memory_bytes == 0
    await runtime.remove(made)
    with pytest.raises(base.ContainerGoneError):
        await runtime.stats(made)


async def test_what_a_container_writes_is_counted(runtime: base.Runtime, mark: str) -> None:
    config = make_config(mark, "a", "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=3 2>/dev/null; exec sleep 1000")
    made = await runtime.create(config)
    await runtime.start(made)
    if isinstance(runtime, FakeRuntime):
        runtime.figures.written_bytes[config.name] = 3 * MIB

    async def written() -> bool:
        return await runtime.written_bytes(made) >= 3 * MIB

    await eventually(written, 20, "three megabytes")
    await runtime.remove(made)
    with pytest.raises(base.ContainerGoneError):
        await runtime.written_bytes(made)


async def test_what_is_in_a_volume_is_counted(runtime: base.Runtime, mark: str) -> None:
    name = f"disk-{mark}"
    await runtime.ensure_volume(name, labels={"test": mark})
    mounts = (base.Mount(kind="volume", source=name, target="/data"),)
    config = make_config(mark, "a", "sh", "-c", "dd if=/dev/zero of=/data/big bs=1M count=2 2>/dev/null; exec sleep 1000", mounts=mounts)
    made = await runtime.create(config)
    await runtime.start(made)
    if isinstance(runtime, FakeRuntime):
        runtime.figures.volume_bytes[name] = 2 * MIB

    async def filled() -> bool:
        found = await runtime.volume_bytes([name, "no-such-volume"])
        assert set(found) == {name}
        return found[name] >= 2 * MIB

    await eventually(filled, 20, "two megabytes")


async def test_an_image_goes_with_its_last_name_but_not_while_a_container_has_it(runtime: base.Runtime, mark: str) -> None:
    assert await runtime.remove_image(f"disk-{uuid.uuid4().hex}:none")  # gone already
    made = await runtime.create(make_config(mark))
    assert not await runtime.remove_image((await runtime.inspect(made)).image_id)
    assert await runtime.has_image(IMAGE)
