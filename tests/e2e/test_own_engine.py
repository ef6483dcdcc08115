"""The engine that tests may kill: it comes back with its containers, is out of reach of others, and leaves nothing behind."""

from pathlib import Path

import aiohttp
import pytest

from lattice.testing import lan
from lattice.testing.cluster import LocalCluster
from lattice.testing.engine import Engine
from lattice.testing.ownengine import OwnEngine
from lattice.testing.polling import eventually

pytestmark = pytest.mark.timeout(180)


async def test_killed_engine_finds_its_containers_again_and_leaves_nothing_behind(docker_host: str, tmp_path: Path) -> None:
    async with OwnEngine("own", tmp_path) as own:
        await own.load("busybox:latest", source=docker_host)
        async with Engine(own.host) as engine:
            held = await engine.create({"Image": "busybox:latest", "Cmd": ["sleep", "3600"]})
            await engine.start(held)
        await own.kill9()
        await own.start()
        async with Engine(own.host) as engine:
            await eventually(lambda: _is_running(engine, held), 60, "the container to be known as running")
        await own.kill9()  # the end of the block meets what a dead dockerd leaves: a mounted file system, a shim, a program
        left = (own.run_dir, own.data_dir, Path("/run/netns") / own.lan.host)
        assert all(path.exists() for path in left)
    assert not any(path.exists() for path in left)


async def test_cluster_of_a_test_lives_in_the_lan_of_its_own_engine(tmp_path: Path) -> None:
    async with OwnEngine("own", tmp_path) as own, LocalCluster(tmp_path / "lattice", docker_host=own.host) as cluster:
        await cluster.start()
        assert f"127.0.0.1:{cluster.port} " in own.lan.run(own.lan.host, "ss", "-Htln")
        await own.lan.serve(own.lan.router, f"tcp:{lan.ROUTER}:8080")
        reply = own.lan.run(own.lan.host, "bash", "-c", f"cat < /dev/tcp/{lan.ROUTER}/8080")
        assert reply.strip() == f"hello from {lan.ROUTER} to {lan.HOST}"


async def _is_running(engine: Engine, container_id: str) -> bool:
    try:
        found = await engine.inspect(container_id)
    except aiohttp.ClientError:
        return False
    return bool(found["State"]["Running"])
