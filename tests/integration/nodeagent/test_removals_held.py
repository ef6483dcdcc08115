"""Removals that are too many at once wait on the node, visibly, until a person approves them or the node is drained."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lattice.api import conditions, event, names, node, pod
from lattice.client.client import Client
from lattice.client.http import HttpTransport
from lattice.machinery.clock import SystemClock
from lattice.testing.polling import eventually
from nodeagent.config import AgentConfig
from nodeagent.main import run_agent
from nodeagent.runtime import base
from nodeagent.runtime.fake import FakeRuntime

NODE, PODS = "node1", 8


@dataclass
class World:
    admin: Client
    url: str
    ca_data: bytes
    directory: Path
    runtime: FakeRuntime = field(default_factory=lambda: FakeRuntime(SystemClock()))

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[None]:
        stop, transport = asyncio.Event(), HttpTransport(self.url, ca_data=self.ca_data, token="node1-token")
        config = AgentConfig(name=NODE, data_dir=self.directory / "agent", run_dir=self.directory / "run", transport=transport)
        running = asyncio.ensure_future(run_agent(config, stop=stop, runtime=self.runtime))
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait({running}, timeout=20)
            await transport.close()
            running.result()

    async def names_running(self) -> set[str]:
        found = await self.runtime.list()
        return {one.labels[base.LABEL_POD_NAME] for one in found if one.state is base.ContainerState.RUNNING}

    async def condition(self) -> node.NodeCondition | None:
        return conditions.get_condition((await self.admin.get(node.Node, NODE)).status.conditions, names.CONDITION_REMOVALS_HELD)

    async def occasion(self) -> str:
        """Return the name of the occasion on which removals are held, empty for none."""
        return (await self.admin.get(node.Node, NODE)).metadata.annotations.get(names.ANNOTATION_REMOVALS_HELD, "")

    async def approve(self, occasion: str) -> None:
        """As `lattice node approve-removals` does it."""
        patch = {"metadata": {"annotations": {names.ANNOTATION_REMOVALS_APPROVED: occasion}}}
        await self.admin.patch(node.Node, NODE, None, patch)

    async def delete_all_while_the_agent_is_away(self) -> None:
        """Run the Pods, stop the agent, delete them all: the next agent sees every removal at once, and the Pods as old ones."""
        async with self.agent():
            await eventually(self._all_run, 30, "the Pods to run")
        for number in range(PODS):
            await self.admin.delete(pod.Pod, f"p{number}", "default", grace_period_s=1)

    async def _all_run(self) -> bool:
        found = [await self.admin.get(pod.Pod, f"p{number}", "default") for number in range(PODS)]
        return len(await self.names_running()) == PODS and all(p.status.phase == "Running" for p in found)

    async def gone(self) -> bool:
        return not await self.names_running() and not (await self.admin.list(pod.Pod, "default")).items


@pytest.fixture
async def world(api_server, tmp_path: Path) -> AsyncIterator[World]:
    world = World(api_server.client(), api_server.url, api_server.ca_data, tmp_path)
    container = {"name": "main", "image": "busybox:latest", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "9"]}
    for number in range(PODS):
        metadata = {"name": f"p{number}", "namespace": "default"}
        made = await world.admin.create(pod.Pod.model_validate({"metadata": metadata, "spec": {"containers": [container]}}))
        await world.admin.bind(made.name, "default", NODE, uid=made.uid)
    yield world
    await world.runtime.close()


async def test_they_wait_until_a_person_approves_them(world: World) -> None:
    await world.delete_all_while_the_agent_is_away()
    assert await world.occasion() == ""
    async with world.agent():
        shown = await eventually(world.condition, 20, "the condition")
        assert shown is not None
        assert len(await world.names_running()) == PODS
        occasion = await world.occasion()
        assert occasion
        assert f"the removal of {PODS} Pods waits" in (shown.message or "")
        assert "default/p0" in (shown.message or "")

        async def told() -> bool:
            return any(e.reason == "TooManyRemovals" for e in (await world.admin.list(event.Event, "default")).items)

        await eventually(told, 20, "the Event")
        await world.approve("another occasion")
    async with world.agent():  # an agent that starts again finds the occasion that the person was told of
        await eventually(world.condition, 20, "the condition again")
        assert len(await world.names_running()) == PODS
        assert await world.occasion() == occasion
        await world.approve(occasion)
        await eventually(world.gone, 30, "the Pods to go")

        async def forgotten() -> bool:
            found = await world.admin.get(node.Node, NODE)
            left = {names.ANNOTATION_REMOVALS_HELD, names.ANNOTATION_REMOVALS_APPROVED} & set(found.metadata.annotations)
            return not left and conditions.get_condition(found.status.conditions, names.CONDITION_REMOVALS_HELD) is None

        await eventually(forgotten, 20, "the node to say nothing of it any more")


async def test_a_drain_lets_them_pass(world: World) -> None:
    await world.delete_all_while_the_agent_is_away()
    await world.admin.patch(node.Node, NODE, None, {"spec": {"unschedulable": True}})
    async with world.agent():
        await eventually(world.gone, 30, "the Pods to go")


async def test_few_removals_pass_at_once(world: World) -> None:
    async with world.agent():
        await eventually(world._all_run, 30, "the Pods to run")
    for number in range(5):
        await world.admin.delete(pod.Pod, f"p{number}", "default", grace_period_s=1)
    async with world.agent():

        async def three() -> bool:
            return await world.names_running() == {"p5", "p6", "p7"}

        await eventually(three, 30, "five Pods to go")
        assert await world.condition() is None
