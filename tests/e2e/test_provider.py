"""What a provider and an operator do to a node, with a real kubectl, the real `lattice` and a real engine: drain, pause, look, leave."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest

from lattice.api import pod, workload
from lattice.testing.cluster import LATTICE, LocalCluster
from lattice.testing.kubectl import Kubectl
from lattice.testing.polling import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.kubectl, pytest.mark.slow, pytest.mark.timeout(240)]

IMAGE = "busybox:latest"


@pytest.fixture
def k(kubectl: str, cluster: LocalCluster, tmp_path: Path) -> Kubectl:
    return Kubectl(kubectl, cluster.kubeconfig, directory=tmp_path, cache=tmp_path / "kube-cache")


def make_pod(name: str, script: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script]}
    container |= spec.pop("container", {})
    whole = {"containers": [container], "terminationGracePeriodSeconds": 2, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": whole}


async def lattice(cluster: LocalCluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [*LATTICE, "--kubeconfig", str(cluster.kubeconfig), *arguments]
    return await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, check=False)


async def local(cluster: LocalCluster, *arguments: str) -> str:
    """Ask the agent of the first node, and return what was printed."""
    verb, *options = arguments
    done = await lattice(cluster, "node", verb, "--data-dir", str(cluster.directory / f"agent-{cluster.name}"), *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def nodes_of_ready_pods(cluster: LocalCluster) -> dict[str, str]:
    found = (await cluster.client.list(pod.Pod, "default")).items
    alive = [each for each in found if each.metadata.deletion_timestamp is None]
    ready = [each for each in alive if any(c.type == "Ready" and c.status == "True" for c in each.status.conditions)]
    return {each.name: each.spec.node_name or "" for each in ready}


async def containers(cluster: LocalCluster, node: str | None = None) -> list[str]:
    return [str(found["Id"]) for found in await cluster.engine.containers(cluster.node_label(node))]


async def test_kubectl_drains_a_node_and_its_workload_goes_on_elsewhere(cluster: LocalCluster, k: Kubectl) -> None:
    first, second = cluster.name, f"{cluster.name}2"
    await cluster.start_agent(second, token="node2-token")
    assert await k.ok(f"cordon {second}") == f"node/{second} cordoned\n"
    spec = {"image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "1000"], "replicas": 2}
    await cluster.client.create(workload.Workload.model_validate({"metadata": {"name": "web", "namespace": "default"}, "spec": spec}))
    await k.ok("create -f -", stdin=make_pod("alone", "sleep 1000"))
    await k.ok("create -f -", stdin=make_pod("scratch", "sleep 1000", volumes=[{"name": "s", "emptyDir": {}}]))

    async def all_on(node: str, count: int) -> bool:
        found = await nodes_of_ready_pods(cluster)
        assert len(found) == count and set(found.values()) == {node}, found
        return True

    await eventually(lambda: all_on(first, 4), 60, "all Pods to be ready on the node that is not cordoned")
    description = await k.ok(f"describe node {second}")
    assert "node.kubernetes.io/unschedulable:NoSchedule" in description
    assert await k.ok(f"uncordon {second}") == f"node/{second} uncordoned\n"

    said = await k.fails(f"drain {first} --ignore-daemonsets")
    assert "cannot delete Pods that declare no controller (use --force to override): default/alone" in said
    assert "cannot delete Pods with local storage (use --delete-emptydir-data to override): default/scratch" in said
    options = "--ignore-daemonsets --delete-emptydir-data --force"
    said = await k.ok(f"drain {first} {options} --dry-run=server")
    assert "evicting pod default/alone (server dry run)" in said
    assert f"node/{first} drained (server dry run)" in said
    await all_on(first, 4)

    said = await k.ok(f"drain {first} {options} --grace-period=1 --timeout=60s")
    assert f"node/{first} drained" in said
    await eventually(lambda: all_on(second, 2), 60, "the Workload's Pods to be ready on the other node")
    assert await containers(cluster) == []
    assert {row["NAME"]: row["STATUS"] for row in await k.table("get nodes")} == {first: "Ready,SchedulingDisabled", second: "Ready"}

    # The same without kubectl, and back.
    await k.ok(f"uncordon {first}")
    done = await lattice(cluster, "node", "drain", second, "--grace-period", "1")
    assert done.returncode == 0, done.stderr
    assert f"node {second} is empty" in done.stdout
    await eventually(lambda: all_on(first, 2), 60, "the Workload's Pods to be back")


async def test_an_owner_looks_pauses_and_leaves_and_failures_stay_on_record(cluster: LocalCluster, k: Kubectl) -> None:
    foreign = await cluster.engine.create({"Image": IMAGE, "Cmd": ["sleep", "1000"], "Labels": {"somebody": "else"}})
    try:
        await cluster.engine.start(foreign)
        await _failure(cluster, k)
        await _pause(cluster, k)
        await _leave(cluster, k)
        assert (await cluster.engine.inspect(foreign))["State"]["Running"] is True
    finally:
        await cluster.engine.remove(foreign)


async def _failure(cluster: LocalCluster, k: Kubectl) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"password": "sw0rdfish-9"}}
    await k.ok("create -f -", stdin=secret)
    env = [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]
    script = "echo trying $PASSWORD; echo cannot reach the database >&2; exit 3"
    await k.ok("create -f -", stdin=make_pod("fails", script, restartPolicy="Never", container={"env": env}))
    await k.ok("wait pod/fails --for=jsonpath={.status.phase}=Failed --timeout=40s")

    async def described() -> bool:
        description = await k.ok("describe pod fails")
        assert "Container main failed: exit code 3" in description
        assert "trying *** | cannot reach the database" in description or "cannot reach the database | trying ***" in description
        assert "sw0rdfish" not in description
        return True

    await eventually(described, 20, "kubectl to describe the failure")
    for container in await containers(cluster):
        await cluster.engine.remove(container)

    async def recorded() -> bool:
        done = await lattice(cluster, "describe", "pod", "fails")
        assert done.returncode == 0, done.stderr
        _, _, record = done.stdout.partition("Failures:")
        assert "container main: exit code 3" in record, done.stdout
        assert "trying ***" in record
        assert "sw0rdfish" not in done.stdout
        return True

    await eventually(recorded, 20, "lattice to describe the failure of a container that is gone")
    assert "cannot reach the database" in await local(cluster, "status", "--failures")


async def _pause(cluster: LocalCluster, k: Kubectl) -> None:
    await k.ok("create -f -", stdin=make_pod("runs", "sleep 1000"))
    await k.ok("wait pod/runs --for=condition=Ready --timeout=40s")
    shown = await local(cluster, "status")
    assert f"Node:     {cluster.name}" in shown
    assert "Server:   connected" in shown
    assert "main running" in shown
    assert "Paused:   no" in shown
    assert "paused: nothing new starts here" in await local(cluster, "pause", "--stop", "--reason", "game night")
    assert await lattice_settings(cluster, "name") == cluster.name

    async def stopped() -> bool:
        states = [each["State"] for each in await cluster.engine.containers(cluster.node_label())]
        assert "running" not in states
        description = await k.ok(f"describe node {cluster.name}")
        assert "lattice.dev/paused:NoSchedule" in description
        assert "game night" in description
        return True

    await eventually(stopped, 30, "everything to be stopped and shown")
    await k.ok("create -f -", stdin=make_pod("later", "sleep 1000"))

    async def unscheduled() -> bool:
        return "untolerated taint {lattice.dev/paused" in await k.ok("describe pod later")

    await eventually(unscheduled, 20, "the scheduler to say why nothing is bound")
    assert (await local(cluster, "resume")) == "resumed\n"
    await k.ok("wait pod/runs pod/later --for=condition=Ready --timeout=60s")
    assert (await local(cluster, "prune", "--dry-run")).startswith("nothing to prune")


async def lattice_settings(cluster: LocalCluster, name: str) -> Any:
    found = orjson.loads(await local(cluster, "status", "--settings", "-o", "json"))
    return next(row["value"] for row in found["settings"] if row["name"] == name)


async def _leave(cluster: LocalCluster, k: Kubectl) -> None:
    directory = cluster.directory / f"agent-{cluster.name}"
    refused = await lattice(cluster, "node", "leave", "--data-dir", str(directory), "--yes")
    assert refused.returncode == 1
    assert "default/later, default/runs" in refused.stderr
    label = cluster.node_label()
    assert await cluster.engine.networks(label) != []
    said = await local(cluster, "leave", "--yes", "--force", "--delete-data")
    assert f"node {cluster.name} deleted" in said
    assert "left: the agent of this machine has ended" in said
    agent = cluster.agents[cluster.name]
    await eventually(lambda: not agent.running, 20, "the agent to end")
    assert await agent.stop() == 0
    assert await cluster.engine.containers(label) == []
    assert await cluster.engine.volumes(label) == []
    assert await cluster.engine.networks(label) == []
    assert "not found" in await k.fails(f"get node {cluster.name}")
    assert (await k.json("get pods"))["items"] == []
    agent.start()
    await eventually(lambda: not agent.running, 20, "an agent that has left not to come back")
    assert "has left its cluster" in agent.tail()
