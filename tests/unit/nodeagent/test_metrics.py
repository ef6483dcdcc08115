"""The agent's ``/metrics``: served where the owner says, with the containers of its Pods, whatever the state of the engine."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from lattice.api import pod
from lattice.machinery.clock import SystemClock
from lattice.testing.polling import eventually
from lattice.testing.processes import free_port
from nodeagent.facts import Fact
from nodeagent.metrics.shell import MetricsServer, Sources
from nodeagent.metrics.table import METRICS
from nodeagent.runtime import base
from nodeagent.runtime.fake import FakeRuntime
from nodeagent.usage.shell import UsageMeter
from nodeagent.workloads.observed import ContainerTable

SPEC = {"containers": [{"name": "main", "image": "busybox:latest"}]}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Any]:
    """An agent's metrics on a port, with one running container."""
    clock = SystemClock()
    runtime, containers = FakeRuntime(clock), ContainerTable("n")
    labels = {
        base.LABEL_NODE: "n", base.LABEL_POD_UID: "u", base.LABEL_POD_NAME: 'we"b', base.LABEL_POD_NAMESPACE: "default",
        base.LABEL_CONTAINER: "main",
    }  # fmt: skip
    made = await runtime.create(base.ContainerConfig(name="main", image="busybox:latest", labels=labels))
    await runtime.start(made)
    runtime.figures.stats["main"] = base.ContainerStats(
        cpu_s=1.25, memory_bytes=20, working_set_bytes=10, pids=3, received_bytes=7, sent_bytes=8
    )
    containers.put(await runtime.inspect(made))
    containers.available = True
    running = pod.Pod.model_validate({"metadata": {"name": "web", "uid": "u"}, "spec": SPEC, "status": {"phase": "Running"}})
    tools: Any = SimpleNamespace(
        reporter=SimpleNamespace(last=lambda each: each.status, writes=4),
        desired=SimpleNamespace(pods={"u": running}),
        table=containers,
        node=SimpleNamespace(name="n1"),
    )
    sources = Sources(
        tools=tools,
        meter=UsageMeter(runtime, containers, clock),
        images=SimpleNamespace(removed=1, removed_bytes=99),  # type: ignore[arg-type]
        storage=SimpleNamespace(evictions=2),  # type: ignore[arg-type]
        facts=lambda: [Fact(type="DiskPressure", status="True", reason="", message="")],
        connected=lambda: True,
        paths=lambda: (tmp_path,),
    )
    address = f"127.0.0.1:{free_port()}"
    async with asyncio.TaskGroup() as group:
        task = group.create_task(MetricsServer(address, sources).run())
        async with aiohttp.ClientSession(f"http://{address}") as session:

            async def up() -> bool:
                try:
                    async with session.get("/") as answer:
                        return answer.status == 404
                except aiohttp.ClientConnectionError:
                    return False

            await eventually(up, 10, "the port to be open")
            yield SimpleNamespace(session=session, containers=containers, sources=sources)
        task.cancel()
    await runtime.close()


async def scrape(session: aiohttp.ClientSession) -> str:
    async with session.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return await answer.text()


def names(text: str) -> set[str]:
    return set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))


async def test_all_that_the_page_names_is_served_and_nothing_else(served: Any) -> None:
    text = await scrape(served.session)
    assert names(text) == {metric.name for metric in METRICS}
    where = '{namespace="default",pod="we\\"b",container="main"}'
    for line in (
        f"container_cpu_usage_seconds_total{where} 1.25",
        f"container_memory_working_set_bytes{where} 10",
        f"container_network_receive_bytes_total{where} 7",
        'lattice_agent_pods{phase="Running"} 1',
        'lattice_agent_containers{state="running"} 1',
        'lattice_agent_pressure{condition="DiskPressure"} 1',
        "lattice_agent_images_collected_bytes_total 99",
        "lattice_agent_evictions_total 2",
    ):
        assert f"{line}\n" in text


async def test_while_the_engine_is_away_the_rest_is_answered(served: Any) -> None:
    served.containers.available = False
    text = await scrape(served.session)
    assert "lattice_agent_engine_available 0\n" in text
    assert names(text) == {metric.name for metric in METRICS if not metric.name.startswith("container_")}


async def test_nothing_but_reading_is_answered(served: Any) -> None:
    async with served.session.post("/metrics") as answer:
        assert answer.status == 405


async def test_without_an_address_nothing_listens_and_a_taken_one_ends_nothing(served: Any) -> None:
    await MetricsServer(None, served.sources).run()
    url = served.session._base_url
    await MetricsServer(f"{url.host}:{url.port}", served.sources).run()
