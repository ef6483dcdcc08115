#!/usr/bin/env python3
"""What an idle agent costs its owner: memory, CPU, and bytes on the line, with Pods that do nothing.

    hack/bench/agent.py [--pods 20] [--settle 20] [--seconds 120] [--docker-host unix://…] [--out FILE]

Starts a server and an agent in processes of their own, the agent through a proxy that counts bytes (TLS and all), runs the Pods, waits
until nothing changes any more, and measures for a while in which nobody asks for anything. CPU is that of the agent's process alone; the
engine's own is not its. Budgets (issue 4): 60 MB of memory, 0.5 % of a core, 1 MB an hour to the server.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import tempfile
from pathlib import Path

import report

from lattice.api import pod
from lattice.testing.cluster import LocalCluster
from lattice.testing.controlplane import LATTICE
from lattice.testing.polling import eventually
from lattice.testing.processes import Process
from lattice.testing.proxy import Proxy

NODE = "bench"
BUDGETS = {"memory, MB": 60.0, "CPU, % of a core": 0.5, "to the server, MB/h": 1.0}
_MB = 1e6


def make_pod(number: int) -> pod.Pod:
    """Return a Pod that sleeps."""
    container = {"name": "main", "image": "busybox:latest", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "100000"]}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return pod.Pod.model_validate({"metadata": {"name": f"idle-{number}", "namespace": "default"}, "spec": spec})


def memory_kb(pid: int) -> dict[str, int]:
    """Return resident memory of one process: all, its own, and of files (programs and libraries, shared with others)."""
    text = Path(f"/proc/{pid}/status").read_text()
    return {name: int(re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)[1]) for name in ("VmRSS", "RssAnon", "RssFile")}


async def measure(cluster: LocalCluster, pid: int, proxy: Proxy, seconds: float) -> dict[str, float]:
    """Watch the idle agent for a while."""
    cpu_ms, sent, received = report.cpu_ms(pid), proxy.to_server_bytes, proxy.to_client_bytes
    most_kb = 0
    for _ in range(max(int(seconds / 5), 1)):
        await asyncio.sleep(5)
        most_kb = max(most_kb, memory_kb(pid)["VmRSS"])
    hours = seconds / 3600
    memory = memory_kb(pid)
    return {
        "memory, MB": most_kb * 1024 / _MB,
        "of it its own, MB": memory["RssAnon"] * 1024 / _MB,
        "of it libraries, MB": memory["RssFile"] * 1024 / _MB,
        "CPU, % of a core": (report.cpu_ms(pid) - cpu_ms) / (seconds * 10),
        "to the server, MB/h": (proxy.to_server_bytes - sent) / _MB / hours,
        "from the server, MB/h": (proxy.to_client_bytes - received) / _MB / hours,
    }


async def run(options: argparse.Namespace, directory: Path) -> dict[str, float]:
    """Start all, and return what was measured."""
    async with LocalCluster(directory, docker_host=options.docker_host, name=NODE) as cluster:
        await cluster.start_server()
        cluster.client = cluster.client_for("admin-token")
        async with Proxy("127.0.0.1", cluster.port) as proxy:
            config = cluster.kubeconfig_for(NODE, "node-token", url=f"https://127.0.0.1:{proxy.port}")
            arguments = ["node", "--kubeconfig", str(config), "--name", NODE, "--docker-host", options.docker_host]
            arguments += ["--data-dir", str(directory / f"agent-{NODE}"), "--port-range", "30000-32767"]
            agent = cluster.agents[NODE] = Process((*LATTICE, *arguments), log=directory / "agent.log")
            await cluster.start_agent(NODE)
            for number in range(options.pods):
                await cluster.client.create(make_pod(number))

            async def all_ready() -> bool:
                found = await cluster.client.list(pod.Pod, "default")
                ready = [each for each in found.items if any(c.type == "Ready" and c.status == "True" for c in each.status.conditions)]
                return len(ready) == options.pods

            await eventually(all_ready, 240, "all Pods to be ready")
            await asyncio.sleep(options.settle)
            found = await measure(cluster, agent.pid, proxy, options.seconds)
            await agent.stop()
            return found


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pods", type=int, default=20)
    parser.add_argument("--settle", type=float, default=20, help="seconds before it is measured")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--docker-host", default=os.environ.get("LATTICE_DOCKER_HOST", "unix:///var/run/docker.sock"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    others = report.Neighbours()
    with tempfile.TemporaryDirectory(prefix="lattice-bench-") as directory:
        found = await run(options, Path(directory))
    rows = [(name, f"{value:.2f}", f"{BUDGETS[name]:g}" if name in BUDGETS else "") for name, value in found.items()]
    lines = [
        f"# An idle agent with {options.pods} Pods",
        "",
        f"`hack/bench/agent.py --pods {options.pods} --settle {options.settle:g} --seconds {options.seconds:g}`; {report.machine()}.",
        f"Others used {others.share():.0%} of the machine (the engine and the containers count as others).",
        "",
        *report.table(["", "measured", "budget"], rows),
    ]
    report.publish(lines, options.out)


if __name__ == "__main__":
    asyncio.run(main())
