#!/usr/bin/env python3
"""What Lattice adds to the engine: from a POST of a Pod to its running container, and from a container's end to who watches the Pod.

    hack/bench/pods.py [--rounds 100] [--batches 10] [--store sqlite|etcd] [--docker-host unix://…] [--out FILE]

Three measurements, each Pod beside the engine alone in the same minute:

* One Pod. Each round does three things in random order: a Pod through Lattice (POST → scheduler → agent → ``State.StartedAt``),
  and ``create`` + ``start`` of the same image and command by the engine's API, on the network that the Pod is on and on Docker's default
  bridge. Quoted are the paired differences, which a noisy neighbour shifts less than either time alone.
* Ten at once, against ten by the engine with four starts at a time (more only lengthen its queue); paired by rank.
* The end: a container is killed; from the engine's ``die`` event (its own stamp) until a watcher of the API has the Pod's end.

The image is present; no probe, no volume; both sides run an init process, as the agent always does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
import time
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import report

from lattice.api import errors, pod
from lattice.testing.cluster import LocalCluster
from lattice.testing.engine import Engine
from lattice.testing.stories import containers_of, wait_no_containers

COMMAND = ["sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done"]
AT_ONCE = 10
ENGINE_STARTS = 4
"""The engine's best: measured, see docker.md; more at a time only queue."""
LABEL_POD = "lattice.dev/pod-name"


def started_at(details: dict[str, Any]) -> float:
    """Return `State.StartedAt` in seconds since the epoch."""
    text = details["State"]["StartedAt"].rstrip("Z")
    whole, _, fraction = text.partition(".")
    return datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp() + float(f"0.{fraction or 0}")


def make_pod(name: str) -> pod.Pod:
    """Return a Pod of one container that ends at once when it is told to."""
    return pod.Pod.model_validate(
        {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "main", "image": "busybox:latest", "imagePullPolicy": "IfNotPresent", "command": COMMAND}],
            },
        }
    )


class Ends:
    """Hears the engine's ``start`` and ``die`` events and the API's Pods, each with its time."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self.containers: dict[str, str] = {}
        """Pod name to its started container."""
        self.died_s: dict[str, float] = {}
        self.seen_s: dict[str, float] = {}
        self.changed = asyncio.Event()

    async def follow_engine(self) -> None:
        """Note starts and ends until cancelled."""
        async for event in self._cluster.engine.events(since=str(int(time.time()))):
            name = event.get("Actor", {}).get("Attributes", {}).get(LABEL_POD)
            if event.get("Type") == "container" and name:
                if event["Action"] == "start":
                    self.containers[name] = event["Actor"]["ID"]
                elif event["Action"] == "die":
                    self.died_s[name] = event["timeNano"] / 1e9
                self._tell()

    async def follow_api(self) -> None:
        """Note when a watcher has a Pod's end, until cancelled."""
        async with aclosing(self._cluster.client.stream_events("/api/v1/namespaces/default/pods", query={"watch": "true"})) as events:
            async for event in events:
                now_s = time.time()
                found = orjson.loads(event.raw)
                if found.get("status", {}).get("phase") in ("Succeeded", "Failed"):
                    self.seen_s.setdefault(found["metadata"]["name"], now_s)
                    self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    async def wait(self, held: dict[str, Any], names: list[str]) -> None:
        """Wait until something is noted of each."""
        async with asyncio.timeout(120):
            while not all(name in held for name in names):
                await self.changed.wait()


async def through_lattice(cluster: LocalCluster, ends: Ends, names: list[str]) -> list[float]:
    """Make Pods at once; return milliseconds from the first POST to the start of each, sorted."""
    begun_s = time.time()
    await asyncio.gather(*(cluster.client.create(make_pod(name)) for name in names))
    await ends.wait(ends.containers, names)
    started = [started_at(await cluster.engine.inspect(ends.containers[name])) for name in names]
    return sorted((at_s - begun_s) * 1000 for at_s in started)


async def by_the_engine(engine: Engine, count: int, network: str) -> list[float]:
    """The same by the engine alone on a network."""
    config = {
        "Image": "busybox:latest",
        "Entrypoint": COMMAND[:1],
        "Cmd": COMMAND[1:],
        "HostConfig": {"Init": True, "NetworkMode": network},
    }
    starts = asyncio.Semaphore(ENGINE_STARTS)

    async def one() -> str:
        async with starts:
            container = await engine.create(config)
            await engine.start(container)
            return container

    begun_s = time.time()
    made = await asyncio.gather(*(one() for _ in range(count)))
    started = sorted([(started_at(await engine.inspect(container)) - begun_s) * 1000 for container in made])
    await asyncio.gather(*(engine.remove(container) for container in made))
    return started


async def put_away(cluster: LocalCluster, ends: Ends, names: list[str]) -> list[float]:
    """Kill the containers; return milliseconds from each ``die`` event to the watcher, and remove the Pods."""
    for name in names:
        await cluster.engine.call("POST", f"/containers/{ends.containers[name]}/kill", query={"signal": "SIGKILL"})
        await ends.wait(ends.seen_s, [name])
    late = [(ends.seen_s[name] - ends.died_s[name]) * 1000 for name in names]
    for name in names:
        with suppress(errors.NotFoundError):
            await cluster.client.delete(pod.Pod, name, "default", grace_period_s=0)
    await wait_no_containers(cluster)
    return late


async def network_of_pods(cluster: LocalCluster, ends: Ends, warm_up: str) -> str:
    """Return the network that the agent gives to Pods of this namespace, after warming everything up with a Pod of this name."""
    await through_lattice(cluster, ends, [warm_up])
    (container,) = await containers_of(cluster)
    details = await cluster.engine.inspect(container["Id"])
    await put_away(cluster, ends, [warm_up])
    return str(details["HostConfig"]["NetworkMode"])


async def paired(cluster: LocalCluster, ends: Ends, *, rounds: int, count: int) -> dict[str, list[float]]:
    """Return the times of `rounds` rounds of `count` Pods at once: through Lattice, on the same network, on Docker's own, and the ends."""
    network = await network_of_pods(cluster, ends, f"warm-up-{count}")
    times: dict[str, list[float]] = {"through Lattice": [], "engine, same network": [], "engine, default bridge": [], "end": []}
    for number in range(rounds):
        order = ["through Lattice", "engine, same network", "engine, default bridge"]
        random.shuffle(order)
        for way in order:
            if way == "through Lattice":
                names = [f"bench-{count}-{number}-{index}" for index in range(count)]
                times[way] += await through_lattice(cluster, ends, names)
                times["end"] += await put_away(cluster, ends, names)
            else:
                times[way] += await by_the_engine(cluster.engine, count, network if way == "engine, same network" else "bridge")
    return times


def lines_of(title: str, times: dict[str, list[float]]) -> list[str]:
    """Return one measurement as a table."""
    ours = times["through Lattice"]
    added = {
        f"added to {way}": [mine - theirs for mine, theirs in zip(ours, times[way], strict=True)]
        for way in ("engine, same network", "engine, default bridge")
    }
    ways = {way: values for way, values in times.items() if way != "end"}
    rows = [(name, *(f"{report.quantile(values, share):.0f}" for share in (0.5, 0.9, 0.99))) for name, values in {**ways, **added}.items()]
    return [f"### {title}, n = {len(ours)}", "", *report.table(["", "p50 ms", "p90 ms", "p99 ms"], rows), ""]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100, help="rounds of one Pod")
    parser.add_argument("--batches", type=int, default=10, help="rounds of ten at once")
    parser.add_argument("--store", choices=["sqlite", "etcd"], default="sqlite")
    parser.add_argument("--docker-host", default=os.environ.get("LATTICE_DOCKER_HOST", "unix:///var/run/docker.sock"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    others = report.Neighbours()
    with tempfile.TemporaryDirectory(prefix="lattice-bench-") as directory:
        async with LocalCluster(Path(directory), docker_host=options.docker_host, store=options.store, name="bench") as cluster:
            await cluster.start()
            ends = Ends(cluster)
            async with asyncio.TaskGroup() as group:
                following = [group.create_task(ends.follow_engine()), group.create_task(ends.follow_api())]
                one = await paired(cluster, ends, rounds=options.rounds, count=1)
                ten = await paired(cluster, ends, rounds=options.batches, count=AT_ONCE)
                for task in following:
                    task.cancel()
    late = one["end"]
    rows = [("die event → watcher of the API", *(f"{report.quantile(late, share):.0f}" for share in (0.5, 0.9, 0.99)))]
    lines = [
        "# From a POST to a running container",
        "",
        f"`hack/bench/pods.py --rounds {options.rounds} --batches {options.batches}`, store {options.store}; {report.machine()}.",
        f"Others used {others.share():.0%} of the machine (the engine and the containers count as others).",
        "",
        *lines_of("One Pod", one),
        *lines_of(f"{AT_ONCE} Pods at once", ten),
        f"### The end of a container, n = {len(late)}",
        "",
        *report.table(["", "p50 ms", "p90 ms", "p99 ms"], rows),
    ]
    report.publish(lines, options.out)


if __name__ == "__main__":
    asyncio.run(main())
