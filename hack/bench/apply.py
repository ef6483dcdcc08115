#!/usr/bin/env python3
"""Time from a POST to a running container: through Lattice, and by the engine alone, in turns in one run.

    hack/bench/apply.py [--runs 60] [--store sqlite|etcd] [--docker-host unix://…] [--out FILE]

Each round does both, in random order: a Workload of one replica (POST → scheduler → agent → `State.StartedAt`), and `create`
+ `start` of the same image and command by the engine's API, which is what `docker run` does (the same `StartedAt`). Quoted are
the paired differences, which a noisy neighbour shifts less than either time alone. The image is present; no probe, no volume.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import report

from lattice.api import workload
from lattice.testing.cluster import LocalCluster
from lattice.testing.engine import Engine
from lattice.testing.polling import eventually
from lattice.testing.stories import containers_of, sleeper, wait_gone, wait_no_containers

COMMAND = ["sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done"]


def started_at(details: dict) -> float:
    """Return `State.StartedAt` in seconds since the epoch."""
    text = details["State"]["StartedAt"].rstrip("Z")
    whole, _, fraction = text.partition(".")
    return datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp() + float(f"0.{fraction or 0}")


async def through_lattice(cluster: LocalCluster, number: int) -> float:
    """Return milliseconds from the POST to the start of the container's process."""
    name = f"bench-{number}"
    start = time.time()
    await cluster.client.create(sleeper(name))

    async def running() -> float | None:
        for container in await containers_of(cluster):
            details = await cluster.engine.inspect(container["Id"])
            if details["State"]["Running"]:
                return started_at(details)
        return None

    started = await eventually(running, 30, "the container to run", interval_s=0.1)
    assert started is not None
    await cluster.client.delete(workload.Workload, name, "default")
    await wait_gone(cluster.client, workload.Workload, name)
    await wait_no_containers(cluster)
    return (started - start) * 1000


async def by_the_engine(engine: Engine) -> float:
    """Return milliseconds from the create call to the start of the container's process."""
    start = time.time()
    config = {"Image": "busybox:latest", "Entrypoint": COMMAND[:1], "Cmd": COMMAND[1:], "HostConfig": {"Init": True}}
    container = await engine.create(config)
    await engine.start(container)
    started = started_at(await engine.inspect(container))
    await engine.remove(container)
    return (started - start) * 1000


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--store", choices=["sqlite", "etcd"], default="sqlite")
    parser.add_argument("--docker-host", default=os.environ.get("LATTICE_DOCKER_HOST", "unix:///var/run/docker.sock"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lattice_ms: list[float] = []
    engine_ms: list[float] = []
    with tempfile.TemporaryDirectory(prefix="lattice-bench-") as directory:
        async with LocalCluster(Path(directory), docker_host=options.docker_host, store=options.store, name="bench") as cluster:
            await cluster.start()
            for number in range(-3, options.runs):  # three to warm up
                order = [True, False]
                random.shuffle(order)
                for ours in order:
                    took = await through_lattice(cluster, number + 3) if ours else await by_the_engine(cluster.engine)
                    if number >= 0:
                        (lattice_ms if ours else engine_ms).append(took)
    differences = [ours - theirs for ours, theirs in zip(lattice_ms, engine_ms, strict=True)]
    lines = [
        f"### Apply to running, store {options.store}, n = {options.runs}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
        "",
    ]
    named = (("through Lattice", lattice_ms), ("engine alone", engine_ms), ("difference, paired", differences))
    rows = [(name, *(f"{report.quantile(values, share):.0f}" for share in (0.5, 0.9, 0.99))) for name, values in named]
    lines += report.table(["", "p50 ms", "p90 ms", "p99 ms"], rows)
    lines += ["", f"Ratio of the medians: {report.middle(lattice_ms) / report.middle(engine_ms):.2f}", ""]
    report.publish(lines, options.out, append=True)


if __name__ == "__main__":
    asyncio.run(main())
