"""Pods as the Kubernetes documentation shows them, on real Docker: what has to come of each manifest of tests/data/pods."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lattice.api import configmap, pod
from lattice.testing import pods
from lattice.testing.cluster import LocalCluster
from lattice.testing.kubectl import Kubectl
from lattice.testing.polling import eventually
from lattice.testing.stories import containers_of

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(180)]
DATA = Path(__file__).parent.parent / "data" / "pods"
PLAIN = ("init", "init-fails", "sidecar", "liveness", "projected", "on-failure", "deadline", "shared-network")


async def engine_state(cluster: LocalCluster, found: pod.Pod, name: str) -> dict[str, object]:
    """Return what the engine says of a container."""
    container_id = (pods.container_status(found, name).container_id or "").removeprefix("docker://")
    described = await cluster.engine.inspect(container_id)
    return {**described["State"], "HostConfig": described["HostConfig"]}


async def test_manifests_of_the_documentation_behave_as_documented(cluster: LocalCluster, kubectl: str, tmp_path: Path) -> None:
    client = cluster.client
    meta = {"name": "projected", "namespace": "default"}
    await client.create(configmap.Secret.model_validate({"metadata": meta, "stringData": {"username": "admin\n"}}))
    await client.create(configmap.ConfigMap.model_validate({"metadata": meta, "data": {"config": "level=1\n"}}))
    for name in PLAIN:
        await client.create(pods.load_pod(DATA / f"{name}.yaml"))

    # Init containers: in their order, to their end, before the others.
    init = await pods.wait_ready(client, "init")
    assert [(one.name, one.ready, one.restart_count) for one in init.status.init_container_statuses] == [
        ("install", True, 0),
        ("check", True, 0),
    ]
    first, second = pods.ended(init, "install"), pods.ended(init, "check")
    assert (first.reason, first.exit_code) == ("Completed", 0)
    assert first.finished_at and second.started_at
    assert first.finished_at <= second.started_at
    assert (second.message or "").strip().isdigit()
    running = pods.container_status(init, "nginx").state.running
    assert running and running.started_at and second.finished_at
    assert second.finished_at <= running.started_at
    assert {c.type: c.status for c in init.status.conditions} == dict.fromkeys(
        ("PodScheduled", "Initialized", "ContainersReady", "Ready"), "True"
    )

    # One that fails in a Pod that runs once fails the Pod.
    failed = await pods.wait_phase(client, "init-fails", "Failed")
    assert (pods.ended(failed, "broken").exit_code, pods.ended(failed, "broken").reason) == (7, "Error")
    waiting = pods.container_status(failed, "never").state.waiting
    assert waiting and waiting.reason == "PodInitializing"
    assert next(c for c in failed.status.conditions if c.type == "Initialized").status == "False"

    # Sidecars: started in order before the container, stopped after it in the reverse order; the Pod has succeeded.
    done = await pods.wait_phase(client, "sidecar", "Succeeded")
    assert (pods.ended(done, "app").message or "").split() == ["second", "shipper"]
    times = [str((await engine_state(cluster, done, name))["FinishedAt"]) for name in ("app", "second", "logshipper")]
    assert times == sorted(times)
    assert all(condition.reason == "PodCompleted" for condition in done.status.conditions if condition.type != "PodScheduled")

    # The Pod's own fields, a Secret and a ConfigMap in one volume.
    projected = await pods.wait_phase(client, "projected", "Succeeded")
    assert pods.ended(projected, "main").message == 'admin\nlevel=1\nteam="blue"500'

    # Restarted after its failure, not after its success; the message of the failure comes from its log.
    worked = await pods.wait_phase(client, "on-failure", "Succeeded")
    status = pods.container_status(worked, "worker")
    assert status.restart_count == 1
    assert status.last_state.terminated is not None
    assert (status.last_state.terminated.exit_code, status.last_state.terminated.message) == (3, "not yet\n")

    # The deadline.
    late = await pods.wait_phase(client, "deadline", "Failed")
    assert (late.status.reason, late.status.message) == (
        "DeadlineExceeded",
        "Pod was active on the node longer than the specified deadline",
    )
    assert pods.ended(late, "main").exit_code in (137, 143)

    # Two containers on one localhost, and probes over gRPC.
    both = await pods.wait_ready(client, "shared-network")
    networks = {(await engine_state(cluster, both, name))["HostConfig"]["NetworkMode"] for name in ("web", "client")}  # type: ignore[index]
    assert len(networks) == 1
    assert networks.pop().startswith("container:")
    assert (pods.container_status(both, "client").container_id or "").startswith("docker://")
    config = cluster.kubeconfig_for("admin", "admin-token")
    log = await Kubectl(kubectl, config, directory=tmp_path, cache=tmp_path / "cache").ok("logs shared-network -c client")
    assert log == "fetched duo\n"
    assert [status.restart_count for status in both.status.container_statuses] == [0, 0]

    # The liveness probe restarts, with the grace period of its own.
    async def restarted() -> pod.Pod:
        found = await client.get(pod.Pod, "liveness", "default")
        assert pods.container_status(found, "liveness").restart_count >= 1, found.status.to_dict()
        return found

    sick = await eventually(restarted, 40, "the liveness probe to restart the container")
    last = pods.container_status(sick, "liveness").last_state.terminated
    assert last is not None
    assert (last.exit_code, last.signal) == (137, 9)

    for name in PLAIN:
        await client.delete(pod.Pod, name, "default", grace_period_s=1)
    for name in PLAIN:
        await pods.wait_gone(client, name)
    assert await containers_of(cluster) == []


async def test_hooks_debugging_and_events_with_kubectl(cluster: LocalCluster, kubectl: str, tmp_path: Path) -> None:
    client = cluster.client
    config = cluster.kubeconfig_for("admin", "admin-token")
    run = Kubectl(kubectl, config, directory=tmp_path, cache=tmp_path / "cache")
    shutil.copy(DATA / "lifecycle.yaml", tmp_path)
    await run.ok("apply -f lifecycle.yaml")
    await client.create(pods.make_pod("single", pods.make_container("web", image="nginx:alpine", command=[])))
    found = await pods.wait_ready(client, "lifecycle")
    first, second = (pods.container_status(found, name).state.running for name in ("first", "second"))
    assert first and second and first.started_at and second.started_at
    assert (second.started_at - first.started_at).total_seconds() >= 1  # the hook takes a second

    # A debugging container in the Pod's only one: its network, its processes.
    await pods.wait_ready(client, "single")
    script = "ps > /dev/termination-log; cat /proc/net/tcp >> /dev/termination-log"
    await run.ok(
        f"debug single --image=busybox:latest --image-pull-policy=IfNotPresent --target=web -c look --attach=false -q -- sh -c '{script}'"
    )
    looked = await pods.wait_state(client, "single", "look", "terminated")
    message = pods.ended(looked, "look").message or ""
    assert "nginx" in message
    assert "00000000:0050" in message  # listening on port 80
    assert pods.is_ready(looked)
    assert pods.container_status(looked, "web").restart_count == 0

    # What the agent did is told as Events; describe shows them.
    async def described() -> str:
        text = await run.ok("describe pod lifecycle")
        for reason in ("Scheduled", "Pulled", "Created", "Started"):
            assert reason in text, text
        return text

    await eventually(described, 20, "the Events of the Pod")

    # The preStop hook runs before the stop, for its two seconds.
    await run.ok("delete pod lifecycle --wait=false")
    ending = await pods.wait_state(client, "lifecycle", "second", "terminated")
    assert pods.container_status(ending, "first").state.running is not None
    await pods.wait_gone(client, "lifecycle")
    events = await run.ok("get events --field-selector involvedObject.name=lifecycle -o custom-columns=R:.reason --no-headers")
    assert "Killing" in events.split()
    assert "FailedPreStopHook" not in events.split()


async def test_several_containers_survive_what_is_done_to_them(cluster: LocalCluster) -> None:
    """The agent killed: nothing is touched. A container removed by hand: it alone comes back. The pause container: all of them do."""

    async def running() -> dict[str, str]:
        found = [c for c in await containers_of(cluster) if c["State"] == "running"]
        return {c["Labels"]["lattice.dev/container"]: c["Id"] for c in found}

    async def replaced(*names: str, before: dict[str, str]) -> dict[str, str]:
        async def look() -> dict[str, str]:
            now = await running()
            assert now.keys() == before.keys(), now
            assert {name for name in now if now[name] != before[name]} == set(names)
            return now

        return await eventually(look, 40, f"new containers {names}")

    sidecar = pods.make_container("side", restartPolicy="Always")
    await cluster.client.create(pods.make_pod("trio", pods.make_container("a"), pods.make_container("b"), initContainers=[sidecar]))
    await pods.wait_ready(cluster.client, "trio")
    first = await running()
    assert first.keys() == {"POD", "side", "a", "b"}

    await cluster.agents[cluster.name].kill9()
    await cluster.start_agent()
    await cluster.client.create(pods.make_pod("after"))
    await pods.wait_ready(cluster.client, "after")
    await cluster.client.delete(pod.Pod, "after", "default", grace_period_s=1)
    await pods.wait_gone(cluster.client, "after")
    assert await running() == first

    await cluster.engine.remove(first["a"])
    second = await replaced("a", before=first)
    await cluster.engine.remove(second["POD"])
    await replaced("POD", "side", "a", "b", before=second)
    found = await pods.wait_ready(cluster.client, "trio")
    assert [status.restart_count for status in found.status.container_statuses] == [2, 1]
    await cluster.client.delete(pod.Pod, "trio", "default")
    await pods.wait_gone(cluster.client, "trio")
    assert await containers_of(cluster) == []
