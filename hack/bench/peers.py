#!/usr/bin/env python3
"""Lattice beside Docker Swarm and docker-compose on this machine, in turns in one run.

    hack/bench/peers.py [--replicas 1,10,50] [--rounds 3] [--docker-host unix://…] [--out FILE]

* Replicas: a service of n replicas, from the API call until the engine has started the last container; Swarm on an engine of its own
  (`hack/docker up peer`), Lattice on its engine. Same image, same command, an init process on both sides. Swarm twice: on Docker's default
  bridge, where containers see those of everybody, and on a bridge network of its own, which is what Lattice gives to each namespace.
* Recovery: `docker kill` of one replica until its successor has started. Swarm waits 5 s (its default restart delay); the default is
  what its users live with.
* Ten services in one file: `docker-compose up -d` and `lattice apply -f`, from the start of the command until the tenth container runs.
  Each round has a project or namespace of its own, so that both make a network.

Swarm and compose need Debian's `docker-compose`; the peer's engine is wiped at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import report
import yaml

from lattice.api import errors, namespace, workload
from lattice.testing.cluster import LocalCluster
from lattice.testing.engine import Engine, EngineError
from lattice.testing.polling import eventually
from lattice.testing.stories import sleeper, wait_gone, wait_no_containers

HACK = Path(__file__).parents[1]
COMMAND = ["sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done"]
LABEL_SWARM = "com.docker.swarm.service.name"
LABEL_LATTICE = "lattice.dev/pod-name"
LABEL_COMPOSE = "com.docker.compose.service"
SERVICES = 10
NETWORK = "bench-net"
RECOVERY = "recovery after docker kill"
DEADLINE_S = 180.0


class Starts:
    """Counts the engine's ``start`` events of containers with a label."""

    def __init__(self, engine: Engine, label: str) -> None:
        self._engine = engine
        self._label = label
        self.at_s: list[float] = []
        self._changed = asyncio.Event()

    async def follow(self) -> None:
        """Count until cancelled."""
        async with aclosing(self._engine.events(since=str(int(time.time()) + 1))) as events:
            async for event in events:
                attributes = event.get("Actor", {}).get("Attributes", {})
                counted = self._label in attributes and attributes.get("lattice.dev/container") != "POD"
                if event.get("Type") == "container" and event.get("Action") == "start" and counted:
                    self.at_s.append(event["timeNano"] / 1e9)
                    self._changed.set()

    async def after(self, begun_s: float, count: int) -> float:
        """Return seconds from a time to the `count`-th start after it."""
        async with asyncio.timeout(DEADLINE_S):
            while len(late := sorted(at_s for at_s in self.at_s if at_s >= begun_s)) < count:
                self._changed.clear()
                await self._changed.wait()
        return late[count - 1] - begun_s


async def swarm_replicas(engine: Engine, starts: Starts, replicas: int, network: str | None) -> tuple[float, float]:
    """Return seconds until all replicas of a new service have started, and from a kill to the successor's start."""
    container = {"Image": "busybox:latest", "Command": COMMAND, "Init": True, "StopGracePeriod": 2_000_000_000}
    task = {"ContainerSpec": container, "Networks": [{"Target": network}] if network else []}
    service = {"Name": "bench", "TaskTemplate": task, "Mode": {"Replicated": {"Replicas": replicas}}}
    begun_s = time.time()
    await engine.call("POST", "/services/create", body=service)
    took_s = await starts.after(begun_s, replicas)
    recovered_s = await recovery(engine, starts, LABEL_SWARM)
    await engine.call("DELETE", "/services/bench")
    await wait_none(engine, LABEL_SWARM)
    return took_s, recovered_s


async def lattice_replicas(cluster: LocalCluster, starts: Starts, replicas: int, number: int) -> tuple[float, float]:
    """The same through Lattice."""
    name = f"bench-{replicas}-{number}"
    begun_s = time.time()
    await cluster.client.create(sleeper(name, replicas=replicas))
    took_s = await starts.after(begun_s, replicas)
    recovered_s = await recovery(cluster.engine, starts, LABEL_LATTICE)
    await cluster.client.delete(workload.Workload, name, "default")
    await wait_gone(cluster.client, workload.Workload, name, deadline_s=DEADLINE_S)
    await wait_no_containers(cluster, deadline_s=DEADLINE_S)
    return took_s, recovered_s


async def recovery(engine: Engine, starts: Starts, label: str) -> float:
    """Kill one container of the label; return seconds until its successor has started."""
    running = [found for found in await engine.containers(label) if found["State"] == "running"]
    victim = random.choice(running)["Id"]
    begun_s = time.time()
    await engine.call("POST", f"/containers/{victim}/kill")
    return await starts.after(begun_s, 1)


async def wait_none(engine: Engine, label: str) -> None:
    """Wait until the engine has no container with a label."""

    async def none() -> bool:
        return not await engine.containers(label)

    await eventually(none, DEADLINE_S, f"no container with {label}", interval_s=0.2)


async def compose_services(engine: Engine, starts: Starts, directory: Path, number: int) -> float:
    """Return seconds from `docker-compose up -d` until its tenth service has started."""
    command = [word.replace("$", "$$") for word in COMMAND]  # compose replaces variables
    service = {"image": "busybox:latest", "command": command, "init": True, "stop_grace_period": "2s"}
    file = directory / f"compose-{number}.yaml"
    file.write_text(yaml.safe_dump({"version": "3.7", "services": {f"s{index}": service for index in range(SERVICES)}}))
    compose = ["docker-compose", "-p", f"bench{number}", "-f", str(file)]
    environment = {**os.environ, "DOCKER_HOST": engine.host}
    begun_s = time.time()
    up = await asyncio.create_subprocess_exec(*compose, "up", "-d", env=environment, stderr=subprocess.DEVNULL)
    took_s = await starts.after(begun_s, SERVICES)
    await up.wait()
    down = await asyncio.create_subprocess_exec(*compose, "down", "-t", "0", env=environment, stderr=subprocess.DEVNULL)
    await down.wait()
    return took_s


async def lattice_services(cluster: LocalCluster, starts: Starts, directory: Path, number: int) -> float:
    """The same by `lattice apply`."""
    space = f"bench{number}"
    objects: list[Any] = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}}]
    for index in range(SERVICES):
        made = sleeper(f"s{index}").to_dict()
        made["metadata"]["namespace"] = space
        objects.append(made)
    file = directory / f"lattice-{number}.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    begun_s = time.time()
    applying = asyncio.create_task(asyncio.to_thread(cluster.lattice, "apply", "-f", str(file)))
    took_s = await starts.after(begun_s, SERVICES)
    await applying
    with suppress(errors.NotFoundError):
        await cluster.client.delete(namespace.Namespace, space)
    await wait_gone(cluster.client, namespace.Namespace, space, None, deadline_s=DEADLINE_S)
    await wait_no_containers(cluster, deadline_s=DEADLINE_S)
    return took_s


def hack(*arguments: str) -> str:
    """Run a script of hack/ and return what it printed."""
    return subprocess.run([HACK / arguments[0], *arguments[1:]], check=True, capture_output=True, text=True).stdout.strip()


async def in_turns(*ways: Callable[[], Awaitable[None]]) -> None:
    """Do all, in random order."""
    for way in random.sample(ways, len(ways)):
        await way()


async def measure(cluster: LocalCluster, peer: Engine, options: argparse.Namespace, directory: Path) -> dict[tuple[str, str], list[float]]:
    """Return seconds by measurement and by who."""
    seen: dict[tuple[str, str], list[float]] = {}
    swarm, ours, compose = Starts(peer, LABEL_SWARM), Starts(cluster.engine, LABEL_LATTICE), Starts(peer, LABEL_COMPOSE)
    async with asyncio.TaskGroup() as group:
        following = [group.create_task(starts.follow()) for starts in (swarm, ours, compose)]
        await lattice_replicas(cluster, ours, 1, -1)  # to warm up
        await swarm_replicas(peer, swarm, 1, None)
        for replicas in options.replicas:
            for number in range(options.rounds):

                async def by_swarm(who: str, network: str | None, replicas: int = replicas) -> None:
                    took_s, recovered_s = await swarm_replicas(peer, swarm, replicas, network)
                    seen.setdefault((f"{replicas} replicas", who), []).append(took_s)
                    seen.setdefault((RECOVERY, who), []).append(recovered_s)

                async def by_lattice(replicas: int = replicas, number: int = number) -> None:
                    took_s, recovered_s = await lattice_replicas(cluster, ours, replicas, number)
                    seen.setdefault((f"{replicas} replicas", "Lattice"), []).append(took_s)
                    seen.setdefault((RECOVERY, "Lattice"), []).append(recovered_s)

                alone = partial(by_swarm, "Swarm, own network", NETWORK)
                await in_turns(partial(by_swarm, "Swarm, default bridge", None), alone, by_lattice)
        for number in range(options.rounds):

            async def by_compose(number: int = number) -> None:
                seen.setdefault((f"{SERVICES} services", "docker-compose"), []).append(
                    await compose_services(peer, compose, directory, number)
                )

            async def by_apply(number: int = number) -> None:
                seen.setdefault((f"{SERVICES} services", "Lattice"), []).append(await lattice_services(cluster, ours, directory, number))

            await in_turns(by_compose, by_apply)
        for task in following:
            task.cancel()
    return seen


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicas", type=lambda text: [int(part) for part in text.split(",")], default=[1, 10, 50])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--docker-host", default=os.environ.get("LATTICE_DOCKER_HOST", "unix:///var/run/docker.sock"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    others = report.Neighbours()
    hack("docker", "up", "peer")
    try:
        hack("images", "--engine", "peer", "busybox")
        with tempfile.TemporaryDirectory(prefix="lattice-bench-") as folder:
            directory = Path(folder)
            async with (
                Engine(f"unix://{hack('docker', 'socket', 'peer')}") as peer,
                LocalCluster(directory / "cluster", docker_host=options.docker_host, name="bench") as cluster,
            ):
                with suppress(EngineError):  # it is a manager already
                    await peer.call("POST", "/swarm/init", body={"ListenAddr": "127.0.0.1:2377", "AdvertiseAddr": "127.0.0.1"})
                with suppress(EngineError):  # it is there already
                    await peer.call("POST", "/networks/create", body={"Name": NETWORK, "Driver": "bridge", "Scope": "swarm"})
                await cluster.start()
                seen = await measure(cluster, peer, options, directory)
    finally:
        hack("docker", "wipe", "peer")
    rows = []
    for name in dict.fromkeys(name for name, _ in seen):
        ours = report.middle(seen[name, "Lattice"])
        for who in sorted((who for found, who in seen if found == name), key=lambda who: who != "Lattice"):
            values = seen[name, who]
            ratio = f"{report.middle(values) / ours:.2f}"
            rows.append((f"{name}: {who}", f"{report.middle(values):.2f}", f"{min(values):.2f}", f"{max(values):.2f}", ratio))
    headers = ["", "median s", "least", "most", "times Lattice's"]
    lines = [
        "# Beside Docker Swarm and docker-compose",
        "",
        f"`hack/bench/peers.py --replicas {','.join(map(str, options.replicas))} --rounds {options.rounds}`; {report.machine()}.",
        f"Others used {others.share():.0%} of the machine (engines and containers count as others).",
        "",
        *report.table(headers, rows),
    ]
    report.publish(lines, options.out)
    print(json.dumps({f"{name} {who}": values for (name, who), values in seen.items()}))


if __name__ == "__main__":
    asyncio.run(main())
