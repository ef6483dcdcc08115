#!/usr/bin/env python3
"""What the way through server and agent adds to the engine: to a line of a log, and to a command in a container.

    hack/bench/streams.py [--lines 400] [--rounds 100] [--docker-host unix://…] [--out FILE]

* A log that is followed: from the engine's stamp of a line to the client that has it; same machine, same clock. Beside it, in the same
  minute, a follower of the engine alone.
* ``exec`` of ``true``: from the request to the exit code, paired in random order with the same by the engine's API (create, start on a
  hijacked connection, inspect), which is what ``docker exec`` does. Quoted are the paired differences.
* The throughput of one exec's output.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
import time
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import report

from lattice.api import pod
from lattice.client.base import Request
from lattice.client.http import HttpTransport
from lattice.testing.cluster import LocalCluster
from lattice.testing.polling import eventually
from nodeagent.runtime import base, streams
from nodeagent.runtime.docker import DockerRuntime

TALKS = "trap 'exit 0' TERM; while true; do echo a line of a log that is as long as lines are; sleep 0.05; done"
EXEC = "/api/v1/namespaces/default/pods/talks/exec?stdout=true&stderr=true"
LOG = Request(
    "GET", "/api/v1/namespaces/default/pods/talks/log", {"follow": "true", "timestamps": "true", "tailLines": "0"}, timeout_s=None
)
BLOB_BYTES = 64 * 1024 * 1024


def age_ms(stamp: str) -> float:
    """Return how long ago the engine stamped a line."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    return (time.time() - datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp() - float(f"0.{fraction}")) * 1000


async def lines_through_lattice(transport: HttpTransport, count: int) -> list[float]:
    """Follow the log and return the age of each line at its arrival."""
    found: list[float] = []
    async with aclosing(transport.stream(LOG)) as lines:
        async for line in lines:
            found.append(age_ms(line.split(b" ", 1)[0].decode()))
            if len(found) == count:
                return found
    raise RuntimeError("the log ended")


async def lines_of_engine(runtime: DockerRuntime, container: base.ContainerId, count: int) -> list[float]:
    """As above, from the engine."""
    found: list[float] = []
    async with aclosing(runtime.follow_logs(container, streams.LogQuery(follow=True, tail=0))) as batches:
        async for batch in batches:
            found += [age_ms(entry.time) for entry in batch]
            if len(found) >= count:
                return found
    raise RuntimeError("the log ended")


async def exec_through_lattice(transport: HttpTransport, command: str) -> tuple[float, int]:
    """Run a command and return milliseconds and bytes of output."""
    began_s, size = time.perf_counter(), 0
    socket = await transport.connect(Request("GET", f"{EXEC}&{command}"), protocols=["v5.channel.k8s.io"])
    while isinstance(message := await socket.receive(), bytes):
        size += len(message) - 1
        if message[0] == 3:
            taken_ms = (time.perf_counter() - began_s) * 1000
            await socket.close()
            return taken_ms, size
    raise RuntimeError("the exec broke")


async def exec_by_engine(runtime: DockerRuntime, container: base.ContainerId) -> float:
    """Run ``true`` and return milliseconds."""
    began_s = time.perf_counter()
    process = await runtime.open_exec(container, ["true"], stdin=False, tty=False)
    while await process.read() is not None:
        pass
    assert await process.exit_code() == 0
    taken_ms = (time.perf_counter() - began_s) * 1000
    await process.close()
    return taken_ms


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--docker-host", default=os.environ.get("LATTICE_DOCKER_HOST", "unix:///var/run/docker.sock"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    others = report.Neighbours()
    with tempfile.TemporaryDirectory(prefix="lattice-bench-") as directory:
        async with LocalCluster(Path(directory), docker_host=options.docker_host, name="bench") as cluster:
            await cluster.start()
            container = {"name": "main", "image": "busybox:latest", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", TALKS]}
            spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
            await cluster.client.create(pod.Pod.model_validate({"metadata": {"name": "talks", "namespace": "default"}, "spec": spec}))
            runtime = DockerRuntime(options.docker_host)

            async def ready() -> base.ContainerId | None:
                found = await runtime.list({base.LABEL_POD_NAME: "talks", base.LABEL_NODE: cluster.node_label().partition("=")[2]})
                return next((each.id for each in found if each.state is base.ContainerState.RUNNING), None)

            running = await eventually(ready, 60, "the Pod")
            assert running is not None
            transport = cluster.client.transport
            assert isinstance(transport, HttpTransport)
            async with asyncio.TaskGroup() as group:
                followed = group.create_task(lines_through_lattice(transport, options.lines))
                alone = group.create_task(lines_of_engine(runtime, running, options.lines))
            ours, theirs = [], []
            for _ in range(options.rounds):
                for side in random.sample(("ours", "theirs"), 2):
                    if side == "ours":
                        ours.append((await exec_through_lattice(transport, "command=true"))[0])
                    else:
                        theirs.append(await exec_by_engine(runtime, running))
            blob_ms, size = await exec_through_lattice(transport, f"command=head&command=-c&command={BLOB_BYTES}&command=/dev/zero")
            await runtime.close()
    shares = (0.5, 0.9, 0.99)
    differences = [one - other for one, other in zip(ours, theirs, strict=True)]
    rows = [
        (f"log line through Lattice, n = {len(followed.result())}", followed.result()),
        (f"log line from the engine, n = {len(alone.result())}", alone.result()),
        (f"exec through Lattice, n = {len(ours)}", ours),
        ("exec by the engine", theirs),
        ("difference, paired", differences),
    ]
    lines = [
        "# Streams: what the way through server and agent adds",
        "",
        f"`hack/bench/streams.py --lines {options.lines} --rounds {options.rounds}`; {report.machine()}.",
        f"Others used {others.share():.0%} of the machine (the engine and the containers count as others).",
        "",
        *report.table(["", "p50 ms", "p90 ms", "p99 ms"], [(name, *(f"{report.quantile(v, s):.1f}" for s in shares)) for name, v in rows]),
        "",
        f"Output of one exec: {size / 1e6:.0f} MB at {size / blob_ms / 1000:.0f} MB/s.",
    ]
    report.publish(lines, options.out)


if __name__ == "__main__":
    asyncio.run(main())
