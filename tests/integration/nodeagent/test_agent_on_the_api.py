"""The agent against the real API server, in process, on the fake runtime and on Docker: a Pod's life from binding to confirmed end."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from controller.apiserver.inprocess import InProcessTransport
from controller.apiserver.request import User
from controller.apiserver.server import ApiServer
from controller.store.opening import StoreConfig, open_stores
from lattice.api import configmap, errors, lease, names, node, pod, storage, tombstone
from lattice.client.client import Client
from lattice.machinery.clock import SystemClock
from lattice.testing.engine import remove_rules
from lattice.testing.polling import eventually
from nodeagent.config import AgentConfig
from nodeagent.main import run_agent
from nodeagent.runtime import base
from nodeagent.runtime.docker import DockerRuntime
from nodeagent.runtime.fake import FakeRuntime

NODE = "n1"
IMAGE = "busybox:latest"
SLEEP = ["sleep", "1000"]


@dataclass
class World:
    api: ApiServer
    admin: Client
    runtime: base.Runtime
    root: Path

    def transport(self, *groups: str) -> InProcessTransport:
        return InProcessTransport(self.api, User(f"system:node:{NODE}", groups=("system:nodes",)))

    @asynccontextmanager
    async def agent(self, data_dir: str = "agent", name: str = NODE) -> AsyncIterator[None]:
        stop = asyncio.Event()
        config = AgentConfig(
            name=name,
            data_dir=self.root / data_dir,
            run_dir=self.root / "run",
            transport=InProcessTransport(self.api, User(f"system:node:{name}", groups=("system:nodes",))),
        )
        async with asyncio.TaskGroup() as group:
            task = group.create_task(run_agent(config, stop=stop, runtime=self.runtime))
            try:
                yield
            finally:
                stop.set()
                await asyncio.wait({task}, timeout=10)
                assert task.done()

    async def bind(self, name: str, container: dict[str, Any] | None = None, **spec: Any) -> pod.Pod:
        fields = {"name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "args": SLEEP, **(container or {})}
        made = await self.admin.create(
            pod.Pod.model_validate(
                {
                    "metadata": {"name": name, "namespace": "default"},
                    "spec": {"containers": [fields], "terminationGracePeriodSeconds": 1, **spec},
                }
            )
        )
        await self.admin.bind(name, "default", NODE, uid=made.uid)
        return made

    async def get(self, name: str) -> pod.Pod:
        return await self.admin.get(pod.Pod, name, "default")

    async def ready(self, name: str) -> pod.Pod:
        async def look() -> pod.Pod | None:
            found = await self.get(name)
            assert any(c.type == "Ready" and c.status == "True" for c in found.status.conditions), found.status.to_dict()
            return found

        found = await eventually(look, 20, f"Pod {name} to be ready")
        assert found is not None
        return found

    async def waiting(self, name: str, reason: str) -> pod.ContainerStateWaiting:
        async def look() -> pod.ContainerStateWaiting | None:
            status = (await self.get(name)).status
            state = status.container_statuses[0].state.waiting
            assert state is not None, status.to_dict()
            assert state.reason == reason, status.to_dict()
            return state

        found = await eventually(look, 20, f"Pod {name} to wait for {reason}")
        assert found is not None
        return found

    async def gone(self, name: str) -> None:
        async def look() -> bool:
            try:
                await self.get(name)
            except errors.NotFoundError:
                return True
            return False

        await eventually(look, 20, f"Pod {name} to be gone")

    async def containers(self, made: pod.Pod | None = None) -> list[base.Container]:
        uid = made.uid if made else ""
        found = await self.runtime.list({base.LABEL_POD_UID: uid, base.LABEL_NODE: ""})
        return [container for container in found if container.labels[base.LABEL_NODE] == self.node_uid()]

    def node_uid(self) -> str:
        import orjson

        return str(orjson.loads((self.root / "agent" / "node.json").read_bytes())["uuid"])


@pytest.fixture(params=["fake", pytest.param("docker", marks=pytest.mark.docker)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        runtime: base.Runtime
        if request.param == "fake":
            runtime = FakeRuntime(clock, images=[IMAGE, base.NETWORK_HELPER_IMAGE])
        else:
            host = os.environ.get("LATTICE_DOCKER_HOST")
            if not host:
                if os.environ.get("CI"):
                    pytest.fail("CI must name a Docker engine in LATTICE_DOCKER_HOST (hack/docker starts one)")
                pytest.skip("LATTICE_DOCKER_HOST names no Docker engine (hack/docker starts one)")
            runtime = DockerRuntime(host)
        stack.push_async_callback(runtime.close)
        stores = await open_stores(StoreConfig(data_dir=tmp_path / "store"), clock)
        stack.push_async_callback(stores.close)
        api = ApiServer({"main": stores.main, "ephemeral": stores.ephemeral}, {}, clock=clock)
        await api.start()
        stack.push_async_callback(api.stop)
        world = World(api, Client(InProcessTransport(api, User("admin", groups=("system:masters",)))), runtime, tmp_path)
        yield world
        if (tmp_path / "agent" / "node.json").exists():
            for container in await world.containers():
                await runtime.remove(container.id)
            for volume in await runtime.volumes({base.LABEL_NODE: world.node_uid()}):
                await runtime.remove_volume(volume)
            for network in await runtime.networks({base.LABEL_NODE: world.node_uid()}):
                await runtime.remove_network(network.name)
            if request.param == "docker":
                remove_rules(world.node_uid())


async def until_node(world: World, check: Callable[[node.Node], bool], what: str) -> node.Node:
    async def look() -> node.Node | None:
        found = await world.admin.get(node.Node, NODE)
        return found if check(found) else None

    async def guarded() -> node.Node | None:
        try:
            return await look()
        except errors.NotFoundError:
            return None

    found = await eventually(guarded, 20, what)
    assert found is not None
    return found


def is_ready(found: node.Node) -> bool:
    return any(condition.type == "Ready" and condition.status == "True" for condition in found.status.conditions)


async def test_a_node_registers_and_beats(world: World) -> None:
    async with world.agent():
        found = await until_node(world, is_ready, "the node to be ready")
        assert found.spec.provider_id == f"lattice://{world.node_uid()}"
        assert found.metadata.labels[names.LABEL_HOSTNAME] == NODE
        assert set(found.status.allocatable) >= {"cpu", "memory", "pods"}

        async def beats() -> bool:
            try:
                return (await world.admin.get(lease.Lease, NODE, names.NAMESPACE_NODE_LEASE)).spec.renew_time is not None
            except errors.NotFoundError:
                return False

        await eventually(beats, what="the first heartbeat")


async def test_a_pod_runs_and_ends_without_a_trace(world: World) -> None:
    async with world.agent():
        made = await world.bind("a", {"ports": [{"containerPort": 80}], "env": [{"name": "X", "value": "1"}]})
        running = await world.ready("a")
        assert running.status.phase == "Running"
        assert running.status.pod_ip
        assert names.ANNOTATION_HOST_PORTS in running.metadata.annotations
        (container,) = await world.containers(made)
        assert container.state is base.ContainerState.RUNNING
        assert running.status.container_statuses[0].container_id == f"docker://{container.id}"
        await world.admin.delete(pod.Pod, "a", "default")
        await world.gone("a")
        assert await world.containers(made) == []


async def test_a_restarted_agent_touches_nothing(world: World) -> None:
    async with world.agent():
        made = await world.bind("a", {"ports": [{"containerPort": 80}]})
        before = await world.ready("a")
        (container,) = await world.containers(made)
        assert {condition.reason for condition in before.status.conditions if condition.status == "True"} <= {None, ""}
    if isinstance(world.runtime, FakeRuntime):
        world.runtime.changes.clear()
    async with world.agent():
        await until_node(world, is_ready, "the node to be ready")
        second = await world.bind("b")
        await world.ready("b")  # a whole pass over everything has gone by
        (after,) = await world.containers(made)
        assert (after.id, after.started_at) == (container.id, container.started_at)
        assert (await world.get("a")).metadata.resource_version == before.metadata.resource_version
        if isinstance(world.runtime, FakeRuntime):
            assert [change for change in world.runtime.changes if "_a_" in change] == []
        assert second.uid != made.uid


async def test_a_container_removed_by_hand_comes_back(world: World) -> None:
    async with world.agent():
        made = await world.bind("a", {"ports": [{"containerPort": 80}]})
        before = await world.ready("a")
        (container,) = await world.containers(made)
        await world.runtime.remove(container.id)

        async def replaced() -> bool:
            found = await world.containers(made)
            return len(found) == 1 and found[0].id != container.id and found[0].state is base.ContainerState.RUNNING

        await eventually(replaced, 10, "the container to be back")

        async def counted() -> bool:
            return (await world.get("a")).status.container_statuses[0].restart_count == 1

        await eventually(counted, 10, "the restart to be counted")
        after = await world.ready("a")
        assert after.metadata.annotations[names.ANNOTATION_HOST_PORTS] == before.metadata.annotations[names.ANNOTATION_HOST_PORTS]


async def test_a_program_that_ends_well_is_a_succeeded_pod(world: World) -> None:
    if isinstance(world.runtime, FakeRuntime):
        from nodeagent.runtime.fake import Program

        world.runtime.programs[("true",)] = Program(run_for_s=0)
    async with world.agent():
        made = await world.bind("a", {"args": ["true"]}, restartPolicy="Never")

        async def succeeded() -> bool:
            return (await world.get("a")).status.phase == "Succeeded"

        await eventually(succeeded, 20, "the Pod to succeed")
        assert len(await world.containers(made)) == 1
        await world.admin.delete(pod.Pod, "a", "default")
        await world.gone("a")
        assert await world.containers(made) == []


async def test_secrets_are_waited_for_and_reach_the_container(world: World) -> None:
    async with world.agent():
        made = await world.bind(
            "a",
            {
                "env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
                "volumeMounts": [{"name": "files", "mountPath": "/run/secrets/lattice"}],
            },
            volumes=[{"name": "files", "secret": {"secretName": "s"}}],
        )
        waiting = await world.waiting("a", "CreateContainerConfigError")
        assert waiting.message == 'secret "s" not found'
        await world.admin.create(
            configmap.Secret.model_validate({"metadata": {"name": "s", "namespace": "default"}, "data": {"k": "aHVudGVyMg=="}})
        )
        await world.ready("a")
        (container,) = await world.containers(made)
        if isinstance(world.runtime, DockerRuntime):
            command = ("sh", "-c", 'test "$P" = hunter2 && cat /run/secrets/lattice/k')
            assert (await world.runtime.exec(container.id, command, timeout_s=10)).output == "hunter2"
        await world.admin.delete(pod.Pod, "a", "default")
        await world.gone("a")
        assert list((world.root / "run").iterdir()) == []


async def test_an_image_that_is_nowhere_is_said_to_be_missing(world: World) -> None:
    async with world.agent():
        made = await world.bind("a", {"image": "localhost:1/absent:1"})
        await world.waiting("a", "ImagePullBackOff")
        assert await world.containers(made) == []
        await world.admin.delete(pod.Pod, "a", "default")
        await world.gone("a")


async def test_a_forced_removal_is_carried_out_and_acknowledged(world: World) -> None:
    async with world.agent():
        made = await world.bind("a")
        await world.ready("a")
    await world.admin.delete(pod.Pod, "a", "default", grace_period_s=0)
    assert [stone.name for stone in (await world.admin.list(tombstone.Tombstone)).items] == [made.uid]
    assert len(await world.containers(made)) == 1
    async with world.agent():

        async def acknowledged() -> bool:
            return (await world.admin.list(tombstone.Tombstone)).items == ()

        await eventually(acknowledged, 20, "the tombstone to be acknowledged")
        assert await world.containers(made) == []


async def test_a_claim_becomes_a_volume_that_stays(world: World) -> None:
    handle = f"lattice-{uuid.uuid4()}"
    claim = await world.admin.create(
        storage.PersistentVolumeClaim.model_validate(
            {
                "metadata": {"name": "data", "namespace": "default"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeName": "pv1"},
            }
        )
    )
    await world.admin.create(
        storage.PersistentVolume.model_validate(
            {
                "metadata": {"name": "pv1"},
                "spec": {
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "csi": {"driver": "local.lattice.dev", "volumeHandle": handle},
                    "claimRef": {"kind": "PersistentVolumeClaim", "namespace": "default", "name": "data", "uid": claim.uid},
                    "nodeAffinity": {
                        "required": {
                            "nodeSelectorTerms": [
                                {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}]}
                            ]
                        }
                    },
                },
            }
        )
    )  # fmt: skip
    mount = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    async with world.agent():
        first = await world.bind("a", mount, volumes=volumes)
        await world.ready("a")
        (container,) = await world.containers(first)
        assert container.volumes == (handle,)
        second = await world.bind("b", mount, volumes=volumes)
        assert "Pod a" in ((await world.waiting("b", "VolumeInUse")).message or "")
        assert await world.containers(second) == []
        await world.admin.delete(pod.Pod, "a", "default")
        await world.gone("a")
        await world.ready("b")
        await world.admin.delete(pod.Pod, "b", "default")
        await world.gone("b")
        assert await world.runtime.volumes({base.LABEL_VOLUME: handle}) == [handle]


async def test_a_second_agent_of_one_name_is_refused(world: World) -> None:
    async with world.agent():
        await until_node(world, is_ready, "the node to be ready")
        config = AgentConfig(name=NODE, data_dir=world.root / "other", run_dir=world.root / "run2", transport=world.transport())
        with pytest.raises(errors.UsageError, match="used by another agent"):
            await run_agent(config, stop=asyncio.Event(), runtime=world.runtime)


@pytest.mark.parametrize(
    "world", ["fake"], indirect=True
)  # nobody stops the engine that all tests share; tests/e2e has it away at the start
async def test_an_engine_that_is_down_makes_the_node_not_ready(world: World) -> None:
    assert isinstance(world.runtime, FakeRuntime)
    world.runtime.set_down(True)
    async with world.agent():
        found = await until_node(world, lambda found: bool(found.status.conditions), "the first status")
        ready = next(condition for condition in found.status.conditions if condition.type == "Ready")
        assert (ready.status, ready.reason) == ("False", "DockerUnavailable")
        world.runtime.set_down(False)
        await until_node(world, is_ready, "the node to be ready")
