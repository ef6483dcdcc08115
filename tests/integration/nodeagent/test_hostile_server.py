"""A server that is broken, confused or hostile stops no container: a real agent and a real API server, with a liar between them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lattice.api import pod
from lattice.client.client import Client
from lattice.client.http import HttpTransport
from lattice.machinery.clock import SystemClock
from lattice.testing.hostile import BEHAVIOURS, HostileProxy
from lattice.testing.polling import eventually
from nodeagent.config import AgentConfig
from nodeagent.main import run_agent
from nodeagent.runtime import base
from nodeagent.runtime.fake import FakeRuntime

NODE = "node1"
PODS = 3
GROUPS = 6
"""Tests that the behaviours are dealt to, so that two cores share them."""
SEED = 20261121
WIDE = {"a login page to everything", "null to everything", "an empty object to everything", "a Pod to everything", "204 to everything"}


async def bind(client: Client, name: str) -> pod.Pod:
    container: dict[str, Any] = {"name": "main", "image": "busybox:latest", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "9"]}
    container["envFrom"] = [{"secretRef": {"name": "login", "optional": True}}]
    made = await client.create(
        pod.Pod.model_validate({"metadata": {"name": name, "namespace": "default"}, "spec": {"containers": [container]}})
    )
    await client.bind(name, "default", NODE, uid=made.uid)
    return made


@asynccontextmanager
async def running_agent(proxy: HostileProxy, ca_data: bytes, directory: Path, runtime: base.Runtime) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    transport = HttpTransport(proxy.url, ca_data=ca_data, token="node1-token")
    config = AgentConfig(name=NODE, data_dir=directory / "agent", run_dir=directory / "run", transport=transport)
    agent = asyncio.ensure_future(run_agent(config, stop=stop, runtime=runtime))
    try:
        yield agent
    finally:
        stop.set()
        await asyncio.wait({agent}, timeout=20)
        assert agent.done()
        await transport.close()
        agent.result()


@asynccontextmanager
async def world(api_server, tmp_path: Path) -> AsyncIterator[tuple[HostileProxy, FakeRuntime, Client]]:
    """Three Pods that run, and the proxy in the way of their agent."""
    admin, runtime = api_server.client(), FakeRuntime(SystemClock())
    contexts = {"client_context": api_server.client_context(), "server_context": api_server.certificates.server_context()}
    async with HostileProxy(api_server.url, **contexts) as proxy:
        for number in range(PODS):
            await bind(admin, f"p{number}")
        async with running_agent(proxy, api_server.ca_data, tmp_path, runtime) as agent:

            async def all_ready() -> bool:
                assert not agent.done()
                found = [await admin.get(pod.Pod, f"p{number}", "default") for number in range(PODS)]
                return all(p.status.phase == "Running" for p in found)

            await eventually(all_ready, 30, "the Pods to run")
            yield proxy, runtime, admin
            assert not agent.done(), "the agent has ended"
    await runtime.close()


async def believed_again(proxy: HostileProxy, what: str) -> None:
    truths = proxy.truths
    proxy.set(None)
    await eventually(lambda: proxy.truths > truths, 30, f"the truth to be heard after: {what}")


def of_pods(changes: list[str]) -> list[str]:
    """Return the changes that concern no helper of an agent's own."""
    return [change for change in changes if " lattice_network_" not in change]


def touched(changes: list[str], names: set[str]) -> list[str]:
    """Return the changes that concern containers that ran before."""
    return [change for change in changes if change.split(" ", 1)[1] in names]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("group", range(GROUPS))
async def test_no_answer_of_a_server_stops_a_container(api_server, tmp_path: Path, group: int) -> None:
    names = sorted(BEHAVIOURS)
    random.Random(SEED).shuffle(names)
    async with world(api_server, tmp_path) as (proxy, runtime, admin):
        before = {container.name: container for container in await runtime.list()}
        assert len(before) == PODS
        runtime.changes.clear()
        for name in names[group::GROUPS]:
            lies = proxy.lies
            proxy.set(BEHAVIOURS[name])
            await eventually(lambda lies=lies: proxy.lies > lies, 30, f"the agent to hear: {name}")  # type: ignore[misc]
            again = proxy.lies
            with_time = asyncio.get_running_loop().time() + 1.5

            def heard(again: int = again, until: float = with_time) -> bool:
                return proxy.lies > again or asyncio.get_running_loop().time() > until

            await eventually(heard, 30, f"the agent to hear again: {name}")
            if name in WIDE:  # the heartbeat, every 5 s, hears it too
                await eventually(lambda: f"PATCH {NODE}" in proxy.lied_about, 30, f"the heartbeat to be answered with: {name}")
            await believed_again(proxy, name)
            assert touched(runtime.changes, set(before)) == [], name
            now = {container.name: container for container in await runtime.list()}
            assert {key: now[key].started_at for key in before} == {key: found.started_at for key, found in before.items()}, name
            assert all(now[key].state is base.ContainerState.RUNNING for key in before), name

        # And the agent is as able as before: it repairs, and it obeys an end that is really asked for.
        victim = next(iter(before.values()))
        runtime.end(victim.id, exit_code=1)
        pod_uid = victim.labels[base.LABEL_POD_UID]

        async def repaired() -> bool:
            return any(
                container.labels[base.LABEL_POD_UID] == pod_uid
                and container.state is base.ContainerState.RUNNING
                and container.id != victim.id
                for container in await runtime.list()
            )

        await eventually(repaired, 20, "the container to be repaired")
        uid = (await admin.get(pod.Pod, "p0", "default")).uid
        await admin.delete(pod.Pod, "p0", "default", grace_period_s=1)

        async def gone() -> bool:
            return not any(container.labels[base.LABEL_POD_UID] == uid for container in await runtime.list())

        await eventually(gone, 30, "the Pod that is deleted to go")


async def test_a_node_name_that_another_machine_has_is_refused_and_its_containers_are_left_alone(api_server, tmp_path: Path) -> None:
    async with world(api_server, tmp_path) as (proxy, runtime, _admin):
        before = of_pods(runtime.changes)
        transport = HttpTransport(proxy.url, ca_data=api_server.ca_data, token="node1-token")
        second = AgentConfig(name=NODE, data_dir=tmp_path / "second", run_dir=tmp_path / "run2", transport=transport)
        with pytest.raises(Exception, match="409 Conflict: the node name 'node1' is used by another agent"):
            await asyncio.wait_for(run_agent(second, stop=asyncio.Event(), runtime=runtime), 30)
        await transport.close()
        assert of_pods(runtime.changes) == before
