"""Chaos on a real engine, seeded: fifty Pods, a series of faults, and then everything is as it was asked for, within half a minute.

The faults: the agent is killed, dockerd is stopped or killed and started again, the line is cut, containers are removed, stopped and
killed by hand, the agent's disk is full, its wall clock jumps. The seed is printed; ``LATTICE_CHAOS_SEED`` chooses another.
``LATTICE_CHAOS_LIVE_RESTORE=no`` has dockerd take its containers along when it goes, as it does unless it is told otherwise: slower, and
no container is spared.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from lattice.api import errors, pod
from lattice.testing.cluster import LocalCluster
from lattice.testing.engine import Engine, EngineError
from lattice.testing.ownengine import OwnEngine
from lattice.testing.polling import eventually
from lattice.testing.processes import Process
from lattice.testing.proxy import Proxy
from lattice.testing.stories import sleeper
from nodeagent.runtime.base import NETWORK_HELPER_IMAGE

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(600)]
IMAGE = "busybox:latest"
SINGLES, PAIRS, REPLICAS = 26, 4, 20
FAULTS = 14
CONVERGED_S = 30.0
"""On a machine whose cores are not busy with anything else."""
CONTAINERS = SINGLES + 2 * PAIRS + REPLICAS
SCRIPT = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"


def seed() -> int:
    return int(os.environ.get("LATTICE_CHAOS_SEED", "20261121"))


def live_restore() -> bool:
    return os.environ.get("LATTICE_CHAOS_LIVE_RESTORE", "yes") != "no"


def allowance_s() -> float:
    """Return how long to wait for convergence: longer where others keep the cores busy, by as much as they do."""
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    return CONVERGED_S * min(4.0, max(1.0, busy))


class Cluster(LocalCluster):
    """A cluster on an engine that goes with it: there is nothing to clean."""

    def node_uids(self) -> list[str]:
        return []


@dataclass
class World:
    """Everything that a fault may touch."""

    cluster: Cluster
    engine: OwnEngine
    proxy: Proxy
    disk: Path
    clock: Path
    rng: random.Random
    hit: set[str] = field(default_factory=set)
    """Ids of the containers that a fault was aimed at."""
    told: list[str] = field(default_factory=list)

    @property
    def agent(self) -> Process:
        return self.cluster.agents[self.cluster.name]

    async def running(self) -> dict[str, dict[str, Any]]:
        """Return this node's running application containers, by id."""
        found = await self.cluster.engine.containers(self.cluster.node_label())
        names = {one["Id"]: one["Labels"].get("lattice.dev/container", "POD") for one in found}
        return {one["Id"]: one for one in found if one["State"] == "running" and names[one["Id"]] != "POD"}

    async def victims(self, count: int) -> list[str]:
        """Choose containers, and remember them. The other container of a hit one's Pod is left alone by the agent: it is not hit."""
        running = sorted(await self.running())  # few, right after a restart of an engine that took them along
        chosen = self.rng.sample(running, min(count, len(running)))
        self.hit |= set(chosen)
        return chosen

    async def by_hand(self, method: str, path: str, **query: str) -> None:
        """As a person with ``docker``: what is gone already is no matter, nor is an engine that is just coming back."""
        with contextlib.suppress(EngineError, aiohttp.ClientError, OSError):
            await self.cluster.engine.call(method, path, query=query)


async def agent_killed(world: World) -> None:
    await world.agent.kill9()
    await asyncio.sleep(world.rng.uniform(0, 1))
    world.agent.start()


async def engine_restarted(world: World) -> None:
    await world.engine.stop()
    await asyncio.sleep(world.rng.uniform(0, 1))
    await world.engine.start()


async def engine_killed(world: World) -> None:
    await world.engine.kill9()
    await world.engine.start()


async def line_cut(world: World) -> None:
    async with world.proxy.away():
        await asyncio.sleep(world.rng.uniform(0.5, 3))


async def removed_by_hand(world: World) -> None:
    for container in await world.victims(3):
        await world.by_hand("DELETE", f"/containers/{container}", force="1")


async def stopped_by_hand(world: World) -> None:
    chosen = await world.victims(2)
    await asyncio.gather(*(world.by_hand("POST", f"/containers/{container}/stop", t="1") for container in chosen))


async def killed_by_hand(world: World) -> None:
    for container in await world.victims(3):
        await world.by_hand("POST", f"/containers/{container}/kill")


async def disk_full(world: World) -> None:
    filler = world.disk / "filler"
    with contextlib.suppress(OSError):
        filler.write_bytes(b"x" * 2**23)
    await killed_by_hand(world)
    await asyncio.sleep(world.rng.uniform(1, 2))
    filler.unlink()


async def clock_jumped(world: World) -> None:
    world.clock.write_text(str(world.rng.choice([-86400, -3600, 3600, 86400 * 400])))
    await killed_by_hand(world)


FAULT_KINDS: dict[str, Callable[[World], Awaitable[None]]] = {
    fault.__name__: fault
    for fault in (
        agent_killed, engine_restarted, engine_killed, line_cut, removed_by_hand, stopped_by_hand, killed_by_hand, disk_full, clock_jumped,
    )
}  # fmt: skip


def series(rng: random.Random) -> list[str]:
    """Return each fault at least once, in any order, and some again; the engine at most twice, for a restart takes the longest."""
    chosen = sorted(FAULT_KINDS)
    again = [name for name in chosen if not name.startswith("engine")]
    chosen += [rng.choice(again) for _ in range(FAULTS - len(chosen))]
    rng.shuffle(chosen)
    return chosen


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB where the agent keeps its data."""
    place = tmp_path / "lattice" / "agent-test"
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


@pytest.fixture
async def world(tmp_path: Path, disk: Path, docker_host: str) -> AsyncIterator[World]:
    """A cluster on an engine of its own, whose agent reaches the server through a line that can be cut."""
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(OwnEngine("chaos", live_restore=live_restore()))
        await engine.load(IMAGE, NETWORK_HELPER_IMAGE, source=docker_host)
        cluster = await stack.enter_async_context(Cluster(tmp_path / "lattice", docker_host=engine.host))
        await cluster.start_server()
        cluster.client = cluster.client_for("admin-token")
        proxy = await stack.enter_async_context(Proxy("127.0.0.1", cluster.port))
        config = cluster.kubeconfig_for(cluster.name, "node-token", url=f"https://127.0.0.1:{proxy.port}")
        clock = tmp_path / "clock"
        argv = [sys.executable, str(Path(__file__).with_name("agent_with_jumps.py")), str(clock), "--kubeconfig", str(config)]
        argv += ["--name", cluster.name, "--docker-host", engine.host, "--data-dir", str(disk)]
        agent = cluster.agents[cluster.name] = Process(argv, log=tmp_path / "agent.log")
        agent.start()
        await cluster.wait_node(deadline_s=60)
        yield World(cluster, engine, proxy, disk, clock, random.Random(seed()))


def pod_of(name: str, containers: int) -> pod.Pod:
    fields = [
        {"name": f"c{number}", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", SCRIPT]}
        for number in range(containers)
    ]
    spec = {"containers": fields, "terminationGracePeriodSeconds": 2}
    return pod.Pod.model_validate({"metadata": {"name": name, "namespace": "default"}, "spec": spec})


async def foreign_things(engine: Engine) -> Callable[[], Awaitable[dict[str, Any]]]:
    """Make what is not ours: containers, one of another node's agent, a volume, a network. Return how to look at them."""
    sleeping = {
        "Image": IMAGE,
        "Cmd": ["sh", "-c", SCRIPT],
        "HostConfig": {"Mounts": [{"Type": "volume", "Source": "theirs", "Target": "/d"}]},
    }
    of_another = {
        **sleeping,
        "Labels": {"lattice.dev/pod-uid": "stranger", "lattice.dev/node-uid": "another", "lattice.dev/container": "x"},
    }
    ids = [await engine.create(sleeping, name="theirs-1"), await engine.create(of_another), await engine.create(sleeping, name="theirs-3")]
    for container in ids[:2]:
        await engine.start(container)
    await engine.call("POST", "/networks/create", body={"Name": "theirs", "Labels": {"a": "b"}})

    async def look() -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for container in ids:
            state = (await engine.inspect(container))["State"]
            seen[container] = (state["Status"] if live_restore() else "", state["StartedAt"])  # nobody starts them again
        seen["volume"] = (await engine.call("GET", "/volumes/theirs"))["CreatedAt"]
        seen["network"] = (await engine.call("GET", "/networks/theirs"))["Id"]
        return seen

    return look


async def started(world: World) -> dict[str, str]:
    """Return id → time of the start of the running application containers."""
    found = await world.running()
    looked = await asyncio.gather(*(world.cluster.engine.inspect(container) for container in found))
    return {one["Id"]: one["State"]["StartedAt"] for one in looked}


async def check_converged(world: World) -> bool:
    """Pass if what is asked for runs, once, and nothing else is there."""
    try:
        listed = await world.cluster.client.list(pod.Pod, "default")
        seen = await world.cluster.engine.containers(world.cluster.node_label())
        containers = [one for one in seen if "lattice.dev/pod-uid" in one["Labels"]]  # not those that set packet filter rules
    except (errors.LatticeError, aiohttp.ClientError, OSError, EngineError) as error:
        raise AssertionError(str(error)) from error
    unready = [p.name for p in listed.items if not any(c.type == "Ready" and c.status == "True" for c in p.status.conditions)]
    assert not unready, f"not ready: {unready}"
    wanted = {(str(p.uid), c.name) for p in listed.items for c in p.spec.containers}
    found = [
        (one["Labels"]["lattice.dev/pod-uid"], one["Labels"]["lattice.dev/container"]) for one in containers if one["State"] == "running"
    ]
    programs = [key for key in found if key[1] != "POD"]
    assert len(programs) == len(set(programs)), "something runs twice"
    assert set(programs) == wanted
    pauses = [uid for uid, name in found if name == "POD"]
    assert len(pauses) == len(set(pauses)) == PAIRS
    strangers = {one["Labels"]["lattice.dev/pod-uid"] for one in containers} - {str(p.uid) for p in listed.items}
    assert not strangers, f"containers of Pods that nobody knows: {strangers}"
    return True


async def test_fifty_pods_survive_a_series_of_faults(world: World, record_property: Callable[[str, object], None]) -> None:
    client = world.cluster.client
    for number in range(SINGLES):
        await client.create(pod_of(f"single-{number}", 1))
    for number in range(PAIRS):
        await client.create(pod_of(f"pair-{number}", 2))
    await client.create(sleeper("replicas", replicas=REPLICAS))
    look_at_foreign = await foreign_things(world.cluster.engine)

    async def all_there() -> bool:
        assert len(await world.running()) == CONTAINERS
        return await check_converged(world)

    await eventually(all_there, 240, "fifty Pods to run", interval_s=0.5)
    foreign, before = await look_at_foreign(), await started(world)
    pods = {p.uid for p in (await client.list(pod.Pod, "default")).items}

    plan = series(world.rng)
    for name in plan:
        await FAULT_KINDS[name](world)
        await asyncio.sleep(world.rng.uniform(0.2, 1.5))

    loop = asyncio.get_running_loop()
    over_s, allowed_s = loop.time(), allowance_s()
    said = f"seed {seed()}, {plan}; the agent says:\n{world.agent.tail(15)}"
    await eventually(lambda: check_converged(world), allowed_s, f"the world to be as asked for after {said}", interval_s=0.5)
    took_s = loop.time() - over_s
    record_property("converged_s", round(took_s, 1))
    print(f"chaos: {plan}: converged {took_s:.1f} s after the last fault (allowed {allowed_s:.0f} s), load {os.getloadavg()[0]:.1f}")

    assert await look_at_foreign() == foreign
    assert {p.uid for p in (await client.list(pod.Pod, "default")).items} == pods, "a Pod was replaced"
    after = await started(world)
    spared = {container: at for container, at in before.items() if container not in world.hit and live_restore()}
    assert len(spared) > CONTAINERS // 3 or not live_restore()
    assert {container: after.get(container) for container in spared} == spared, "a container was restarted that need not be"
    assert world.agent.running
