"""What a provider's machine does to a node, on a real engine: a liar as the server, a reboot without a network, dockerd's restarts."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from controller.apiserver import tls
from lattice.api import configmap, meta, pod
from lattice.client import kubeconfig
from lattice.machinery.clock import SystemClock
from lattice.testing.cluster import LATTICE, LocalCluster
from lattice.testing.engine import EngineError
from lattice.testing.hostile import BEHAVIOURS, HostileProxy
from lattice.testing.ownengine import OwnEngine
from lattice.testing.polling import eventually
from lattice.testing.processes import Process
from nodeagent.runtime.base import NETWORK_HELPER_IMAGE

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(400)]
IMAGE = "busybox:latest"
SLEEP = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"
LIES = ("an empty list", "404 to everything", "another cluster that ends everything", "deleted, live", "a login page to everything")


class Cluster(LocalCluster):
    """A cluster on an engine that goes with it: there is nothing to clean."""

    def node_uids(self) -> list[str]:
        return []


@dataclass
class World:
    cluster: Cluster
    engine: OwnEngine
    line: HostileProxy
    run_dir: Path

    @property
    def agent(self) -> Process:
        return self.cluster.agents[self.cluster.name]

    async def containers(self, name: str) -> dict[str, dict[str, Any]]:
        """Return the inspected containers of a Pod, in any state, by container name; the newest of each."""
        found = await self.cluster.engine.containers("lattice.dev/pod-name=" + name)
        try:
            looked = [await self.cluster.engine.inspect(one["Id"]) for one in found]
        except EngineError as error:
            if error.status == 404:
                raise LookupError("a container went while we looked") from error
            raise
        looked.sort(key=lambda one: one["Created"])
        return {one["Config"]["Labels"]["lattice.dev/container"]: one for one in looked}

    async def run_inside(self, container: str, *command: str) -> str:
        made = await self.cluster.engine.call("POST", f"/containers/{container}/exec", body={"Cmd": list(command), "AttachStdout": True})
        said = await self.cluster.engine.call("POST", f"/exec/{made['Id']}/start", body={"Detach": False})
        return bytes(said[8:]).decode()  # without the head of the frame: it is one write

    async def phase(self, name: str) -> pod.PodStatus:
        return (await self.cluster.client.get(pod.Pod, name, "default")).status


@pytest.fixture
async def world(tmp_path: Path, docker_host: str) -> AsyncIterator[World]:
    """An engine that takes its containers with it when it stops, and an agent that reaches its server through a liar."""
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(OwnEngine("surv", live_restore=False))
        await engine.load(IMAGE, NETWORK_HELPER_IMAGE, source=docker_host)
        cluster = await stack.enter_async_context(Cluster(tmp_path / "lattice", docker_host=engine.host))
        await cluster.start_server()
        cluster.client = cluster.client_for("admin-token")
        certificates = tls.ensure_certificates(cluster.data_dir / "tls", addresses=["127.0.0.1"], clock=SystemClock())
        trusting = ssl.create_default_context(cadata=(kubeconfig.load(cluster.kubeconfig).ca_data or b"").decode())
        line = HostileProxy(cluster.url, client_context=trusting, server_context=certificates.server_context())
        await stack.enter_async_context(line)
        config = cluster.kubeconfig_for(cluster.name, "node-token", url=line.url)
        run_dir = tmp_path / "run"
        argv = [*LATTICE, "node", "--kubeconfig", str(config), "--name", cluster.name, "--docker-host", engine.host]
        argv += ["--data-dir", str(tmp_path / "lattice" / f"agent-{cluster.name}"), "--run-dir", str(run_dir)]
        agent = cluster.agents[cluster.name] = Process(argv, log=tmp_path / "agent.log")
        agent.start()
        await cluster.wait_node(deadline_s=60)
        yield World(cluster, engine, line, run_dir)


def shell(name: str, script: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script], **fields}


def make_pod(name: str, *containers: dict[str, Any], **spec: Any) -> pod.Pod:
    fields = {"containers": list(containers), "terminationGracePeriodSeconds": 2, **spec}
    return pod.Pod.model_validate({"metadata": {"name": name, "namespace": "default"}, "spec": fields})


async def test_a_node_survives_liars_dockerd_restarts_and_a_reboot_without_a_network(world: World) -> None:
    client, engine = world.cluster.client, world.cluster.engine
    password = base64.b64encode(b"hunter2").decode()
    await client.create(configmap.Secret(metadata=meta.ObjectMeta(name="login", namespace="default"), data={"password": password}))
    mounts = [{"name": "login", "mountPath": "/login"}, {"name": "scratch", "mountPath": "/scratch"}]
    volumes = [{"name": "login", "secret": {"secretName": "login"}}, {"name": "scratch", "emptyDir": {}}]
    first = shell("first", "cat /login/password > /scratch/seen", volumeMounts=mounts)
    main = shell("main", f"test -s /scratch/seen || exit 9; {SLEEP}", volumeMounts=mounts)
    await client.create(make_pod("app", main, initContainers=[first], volumes=volumes))
    await client.create(make_pod("plain", shell("main", SLEEP)))
    await client.create(make_pod("once", shell("main", "sleep 20; exit 7"), restartPolicy="Never"))

    async def all_run() -> bool:
        for name in ("app", "plain"):
            status = await world.phase(name)
            assert any(c.type == "Ready" and c.status == "True" for c in status.conditions), (name, status.to_dict())
        assert (await world.phase("once")).phase in ("Running", "Failed")
        return True

    await eventually(all_run, 90, "the Pods to run")
    plain = (await world.containers("plain"))["main"]

    # A liar at the server's address.
    for name in LIES:
        lies = world.line.lies
        world.line.set(BEHAVIOURS[name])
        await eventually(lambda lies=lies: world.line.lies > lies, 30, f"the agent to hear: {name}")  # type: ignore[misc]
        await asyncio.sleep(1)
        state = (await engine.inspect(plain["Id"]))["State"]
        assert (state["Running"], state["StartedAt"]) == (True, plain["State"]["StartedAt"]), name
        truths = world.line.truths
        world.line.set(None)
        await eventually(lambda truths=truths: world.line.truths > truths, 30, f"the truth after: {name}")  # type: ignore[misc]

    # dockerd restarts, and takes every container with it.
    await eventually(lambda: _failed(world), 60, "the one that ends to have ended")
    await world.engine.stop()
    await world.engine.start()
    await eventually(lambda: _runs_again(world, plain["Id"]), 90, "everything to run again after dockerd's restart")
    await eventually(all_run, 60, "the server to hear of it")

    # The line breaks. A result comes while it is broken, its container is pruned, and the agent is killed.
    await client.create(make_pod("late", shell("main", "sleep 6; exit 3"), restartPolicy="Never"))

    async def late_runs() -> bool:
        return (await world.phase("late")).phase == "Running"

    await eventually(late_runs, 60, "the late one to run")
    world.line.set(BEHAVIOURS["connections that break"])
    late = (await world.containers("late"))["main"]["Id"]
    await eventually(lambda: _exited(world, late), 60, "the late one to end")
    journal = world.cluster.directory / f"agent-{world.cluster.name}" / "journal"
    await eventually(lambda: b'"exitCode":3' in journal.read_bytes(), 20, "its result to be in the journal")
    await world.agent.kill9()
    await engine.remove(late)

    # The machine reboots: no container runs, nothing on a tmpfs is left, and there is still no line.
    await world.engine.stop()
    for path in sorted(world.run_dir.rglob("*"), reverse=True):
        path.unlink() if path.is_symlink() or path.is_file() else path.rmdir()
    await world.engine.start()
    world.agent.start()

    async def up_again() -> bool:
        app = await world.containers("app")
        assert app["main"]["State"]["Running"]
        assert app["first"]["State"]["FinishedAt"] <= app["main"]["State"]["StartedAt"]
        assert (await world.containers("plain"))["main"]["State"]["Running"]
        return True

    await eventually(up_again, 90, f"everything to start again without a server; the agent says:\n{world.agent.tail(10)}")
    app = (await world.containers("app"))["main"]["Id"]
    said = await world.run_inside(app, "sh", "-c", "echo $(cat /login/password) $(cat /scratch/seen)")
    assert said == "hunter2 hunter2\n"
    assert await world.containers("late") == {}  # it has ended, and is not run again because nobody heard of it

    # The line is back.
    world.line.set(None)

    async def result_is_known() -> bool:
        status = await world.phase("late")
        assert status.phase == "Failed", status.to_dict()
        (container,) = status.container_statuses
        assert container.state.terminated is not None
        assert (container.state.terminated.exit_code, container.restart_count) == (3, 0)
        return True

    await eventually(result_is_known, 60, "the result to be handed in")
    await eventually(all_run, 60, "the server to know that the rest runs")
    assert journal.read_bytes().count(b'"exitCode":3') <= 1


async def _failed(world: World) -> bool:
    return (await world.phase("once")).phase == "Failed"


async def _exited(world: World, container: str) -> bool:
    state: dict[str, Any] = (await world.cluster.engine.inspect(container))["State"]
    return bool(state["Status"] == "exited")


async def _runs_again(world: World, before: str) -> bool:
    app, plain = await world.containers("app"), await world.containers("plain")
    assert app["main"]["State"]["Running"]
    assert plain["main"]["State"]["Running"]
    assert plain["main"]["Id"] != before
    once = (await world.containers("once")).get("main")
    assert once is None or not once["State"]["Running"]  # it has ended, before the restart
    return True
