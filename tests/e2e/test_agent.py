"""What the node agent promises, looked at on the engine itself: probes, back-off, limits, grace, volumes, and life without a server."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from lattice.api import pod, storage, tombstone, workload
from lattice.testing.cluster import LocalCluster
from lattice.testing.engine import Engine
from lattice.testing.polling import eventually
from lattice.testing.processes import free_port
from lattice.testing.stories import containers_of, pods_of, sleeper, wait_gone, wait_no_containers, wait_phase

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(90)]
SLEEP = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"
IGNORE_TERM = "trap '' TERM; while :; do sleep 1; done"
SLOW_END = "trap 'sleep 1; exit 0' TERM; while :; do sleep 3600 & wait $!; done"
INDEX = "/usr/share/nginx/html/index.html"


def shell_pod(name: str, script: str, *, grace_s: int = 2, **container: Any) -> pod.Pod:
    """Return a Pod of its own (nothing replaces it) that runs a shell script."""
    fields = {"name": "main", "image": "busybox:latest", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script], **container}
    spec = {"containers": [fields], "terminationGracePeriodSeconds": grace_s}
    return pod.Pod.model_validate({"metadata": {"name": name, "namespace": "default"}, "spec": spec})


def nginx_pod(name: str, **container: Any) -> pod.Pod:
    """Return a Pod that serves HTTP on its port 80."""
    fields = {"name": "web", "image": "nginx:alpine", "imagePullPolicy": "IfNotPresent", **container}
    fields.setdefault("ports", [{"name": "http", "containerPort": 80}])
    spec = {"containers": [fields], "terminationGracePeriodSeconds": 2}
    return pod.Pod.model_validate({"metadata": {"name": name, "namespace": "default"}, "spec": spec})


async def state(cluster: LocalCluster, name: str) -> tuple[bool, pod.ContainerStatus]:
    """Return whether a Pod is ready, and its container's status."""
    found = await cluster.client.get(pod.Pod, name, "default")
    ready = any(c.type == "Ready" and c.status == "True" for c in found.status.conditions)
    return ready, found.status.container_statuses[0]


async def wait_ready(cluster: LocalCluster, name: str, *, restarts: int = 0, deadline_s: float = 20) -> pod.ContainerStatus:
    """Wait until a Pod is ready after exactly so many restarts."""

    async def reached() -> pod.ContainerStatus | None:
        ready, status = await state(cluster, name)
        assert (ready, status.restart_count) == (True, restarts), status.to_dict()
        return status

    found = await eventually(reached, deadline_s, f"{name} to be ready after {restarts} restarts")
    assert found is not None
    return found


def engine_id(status: pod.ContainerStatus) -> str:
    """Return the engine's id of a container."""
    return (status.container_id or "").removeprefix("docker://")


async def run_inside(engine: Engine, container_id: str, *command: str) -> None:
    """Run a command in a container, to its end."""
    made = await engine.call("POST", f"/containers/{container_id}/exec", body={"Cmd": list(command), "AttachStdout": True})
    await engine.call("POST", f"/exec/{made['Id']}/start", body={"Detach": False})


def connects(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


async def test_http_and_tcp_probes_decide_who_is_ready_and_who_is_restarted(cluster: LocalCluster) -> None:
    quick = {"periodSeconds": 1, "failureThreshold": 2}
    on_index = {"httpGet": {"path": "/index.html", "port": "http"}, **quick}
    for made in (
        nginx_pod("web", readinessProbe=on_index, livenessProbe=on_index),
        nginx_pod("tcp", readinessProbe={"tcpSocket": {"port": 80}, **quick}),
        nginx_pod("lost", readinessProbe={"httpGet": {"path": "/no-such-page", "port": 80}, **quick}),
        nginx_pod("deaf", readinessProbe={"tcpSocket": {"port": 81}, **quick}),
    ):
        await cluster.client.create(made)
    first = await wait_ready(cluster, "web")
    await wait_ready(cluster, "tcp")

    await run_inside(cluster.engine, engine_id(first), "rm", INDEX)
    second = await wait_ready(cluster, "web", restarts=1)  # a new container has the page again
    assert engine_id(second) != engine_id(first)
    assert second.last_state.terminated is not None
    assert engine_id(first) == (second.last_state.terminated.container_id or "").removeprefix("docker://")

    # By now the others had all the time they needed; an unready container is not restarted for it.
    for name in ("lost", "deaf"):
        ready, status = await state(cluster, name)
        assert not ready
        assert status.state.running is not None
        assert status.restart_count == 0
    await wait_ready(cluster, "tcp")


async def test_restarts_back_off_visibly(cluster: LocalCluster) -> None:
    await cluster.client.create(shell_pod("crasher", "exit 3"))
    seen: dict[str, int] = {}

    async def three_delays() -> bool:
        _, status = await state(cluster, "crasher")
        waiting = status.state.waiting
        if waiting is not None and waiting.reason == "CrashLoopBackOff":
            seen.setdefault((waiting.message or "").split()[1], status.restart_count)
            assert status.last_state.terminated is None or status.last_state.terminated.exit_code == 3
        assert len(seen) >= 3, seen
        return True

    await eventually(three_delays, 30, "three back-offs")
    assert seen == {"1s": 0, "2s": 1, "4s": 2}

    async def restarted() -> pod.ContainerStatus | None:
        _, status = await state(cluster, "crasher")
        return status if status.restart_count == 3 else None

    found = await eventually(restarted, 10, "the third restart")
    assert found is not None
    assert found.last_state.terminated is not None
    assert (found.last_state.terminated.exit_code, found.last_state.terminated.reason) == (3, "Error")


async def test_limits_rights_and_addresses_are_really_on_the_container(cluster: LocalCluster) -> None:
    port = free_port()
    limits = {"limits": {"cpu": "250m", "memory": "32Mi"}}
    ports = [{"containerPort": 80, "hostPort": port, "hostIP": "127.0.0.2"}, {"containerPort": 81}]
    await cluster.client.create(sleeper("strict", image="nginx:alpine", command=[], resources=limits, ports=ports))
    found = await wait_phase(cluster.client, "strict")
    (container,) = await containers_of(cluster)
    settings = (await cluster.engine.inspect(container["Id"]))["HostConfig"]
    assert (settings["CpuQuota"], settings["CpuPeriod"]) == (25_000, 100_000)
    assert settings["Memory"] == settings["MemorySwap"] == 32 * 2**20
    assert settings["PidsLimit"] == 4096
    assert settings["CapDrop"] == ["ALL"]
    assert not {"NET_RAW", "SYS_ADMIN", "MKNOD", "CAP_NET_RAW", "CAP_SYS_ADMIN", "CAP_MKNOD"} & set(settings["CapAdd"])
    assert settings["SecurityOpt"] == ["no-new-privileges"]
    assert settings["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10485760", "max-file": "3"}}
    assert settings["RestartPolicy"]["Name"] == "no"
    assert settings["Privileged"] is False

    endpoints = {e.container_port: (e.host_ip, e.host_port) for e in found.status.endpoints}
    assert endpoints[80] == ("127.0.0.2", port)
    assert endpoints[81][0] == "127.0.0.1"
    assert 30000 <= endpoints[81][1] <= 32767
    await eventually(lambda: connects("127.0.0.2", port), 10, "nginx to answer at its address")
    assert not connects("127.0.0.1", port)


async def test_a_stop_leaves_the_grace_it_was_given_and_no_more(cluster: LocalCluster) -> None:
    for made in (shell_pod("orderly", SLOW_END, grace_s=20), shell_pod("stubborn", IGNORE_TERM, grace_s=3)):
        await cluster.client.create(made)
    ids = {name: engine_id(await wait_ready(cluster, name)) for name in ("orderly", "stubborn")}
    since = int(datetime.fromisoformat((await cluster.engine.call("GET", "/info"))["SystemTime"]).timestamp())
    for name in ids:
        await cluster.client.delete(pod.Pod, name, "default")
    for name in ids:
        await wait_gone(cluster.client, pod.Pod, name, deadline_s=15)
    await wait_no_containers(cluster, deadline_s=5)

    told: dict[str, float] = {}
    ended: dict[str, tuple[str, float]] = {}
    async for event in cluster.engine.events(since=str(since - 1), until=str(since + 20)):
        actor, at_s = event.get("Actor", {}), event["timeNano"] / 1e9
        if event.get("Action") == "kill":
            told.setdefault(actor["ID"], at_s)
        if event.get("Action") == "die":
            ended[actor["ID"]] = (actor["Attributes"]["exitCode"], at_s)
        if set(ids.values()) <= ended.keys():
            break
    code, at_s = ended[ids["orderly"]]
    assert code == "0"  # it was let finish
    assert 0.9 <= at_s - told[ids["orderly"]] <= 3
    code, at_s = ended[ids["stubborn"]]
    assert code == "137"
    assert 2.8 <= at_s - told[ids["stubborn"]] <= 5


async def test_data_of_policy_delete_goes_with_the_workload_and_other_data_stays(cluster: LocalCluster) -> None:
    for name, policy in (("brief", "Delete"), ("lasting", "Retain")):
        kept = {"size": "16Mi", "mountPath": "/data", "whenDeleted": policy}
        await cluster.client.create(sleeper(name, storage=kept))
    volumes: dict[str, storage.PersistentVolume] = {}
    for name in ("brief", "lasting"):
        await wait_phase(cluster.client, name)
        claim = await cluster.client.get(storage.PersistentVolumeClaim, f"{name}-data-0", "default")
        volumes[name] = await cluster.client.get(storage.PersistentVolume, claim.spec.volume_name or "")
    handles = {name: made.spec.csi.volume_handle for name, made in volumes.items() if made.spec.csi}
    assert set(await cluster.engine.volumes(cluster.node_label())) == set(handles.values())
    assert "lattice.dev/node-volume" in volumes["brief"].metadata.finalizers

    for name in ("brief", "lasting"):
        await cluster.client.delete(workload.Workload, name, "default")
    await wait_gone(cluster.client, storage.PersistentVolumeClaim, "brief-data-0")
    await wait_gone(cluster.client, storage.PersistentVolume, volumes["brief"].name, None)
    await wait_no_containers(cluster)
    assert await cluster.engine.volumes(cluster.node_label()) == [handles["lasting"]]
    await cluster.client.get(storage.PersistentVolumeClaim, "lasting-data-0", "default")


async def test_without_a_server_a_restarted_agent_starts_what_it_knows(cluster: LocalCluster) -> None:
    preset = {"metadata": {"name": "cache", "namespace": "default"}, "spec": {"preset": {"name": "redis", "version": "7"}}}
    await cluster.client.create(workload.Workload.model_validate(preset))  # it needs its Secret
    await cluster.client.create(sleeper("known"))
    uids = set()
    for name in ("cache", "known"):
        await wait_phase(cluster.client, name)
        uids |= {made.uid for made in await pods_of(cluster.client, name)}
    saved = cluster.directory / f"agent-{cluster.name}" / "desired.json"
    # The agent writes it once a second.
    await eventually(lambda: saved.exists() and all(uid in saved.read_text() for uid in uids), 5, "the Pods to be on the agent's disk")
    await cluster.server.stop()
    await cluster.agents[cluster.name].kill9()
    for container in await containers_of(cluster):
        await cluster.engine.call("POST", f"/containers/{container['Id']}/kill")
    assert {c["State"] for c in await containers_of(cluster)} == {"exited"}
    await cluster.start_agent(wait=False)

    async def run_again() -> bool:
        found = await containers_of(cluster)  # next to each, the one that was killed is kept for its log
        assert {c["Labels"]["lattice.dev/pod-uid"] for c in found if c["State"] == "running"} == uids, found
        return True

    await eventually(run_again, 20, "the containers to run again without a server")
    await cluster.start_server()
    await cluster.wait_node()
    for name in ("cache", "known"):
        await wait_phase(cluster.client, name)
        assert {made.uid for made in await pods_of(cluster.client, name)} <= uids
    assert len([c for c in await containers_of(cluster) if c["State"] == "running"]) == 2


async def test_a_pod_removed_by_force_while_its_agent_is_away_goes_when_it_returns(cluster: LocalCluster) -> None:
    await cluster.client.create(shell_pod("forced", SLEEP))
    await cluster.client.create(shell_pod("beside", SLEEP))
    await wait_ready(cluster, "forced")
    beside = engine_id(await wait_ready(cluster, "beside"))
    await cluster.agents[cluster.name].stop()
    uid = (await cluster.client.get(pod.Pod, "forced", "default")).uid
    await cluster.client.delete(pod.Pod, "forced", "default", grace_period_s=0)
    await wait_gone(cluster.client, pod.Pod, "forced", deadline_s=2)
    left = await cluster.client.get(tombstone.Tombstone, uid)
    assert left.spec.pod_uid == uid
    assert len(await containers_of(cluster)) == 2

    agent = await cluster.start_agent()
    await wait_gone(cluster.client, tombstone.Tombstone, uid, None, deadline_s=20)
    assert [c["Id"] for c in await containers_of(cluster) if c["State"] == "running"] == [beside]
    assert len(await containers_of(cluster)) == 1
    assert "are kept" not in agent.tail()  # what is asked to go is not reported as unknown


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB where the agent keeps its data."""
    place = tmp_path / "lattice" / "agent-test"
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


async def test_an_agent_with_a_full_disk_goes_on(small_disk: Path, make_cluster) -> None:
    cluster = await make_cluster()
    filler = small_disk / "filler"
    with contextlib.suppress(OSError):
        filler.write_bytes(b"x" * 2**21)
    await cluster.client.create(sleeper("late"))
    await wait_phase(cluster.client, "late")
    agent = cluster.agents[cluster.name]
    await eventually(lambda: "cannot write the last desired set" in agent.tail(), 5, "the agent to complain")
    await cluster.client.create(sleeper("later"))
    await wait_phase(cluster.client, "later")
    assert agent.running

    filler.unlink()
    saved = small_disk / "desired.json"
    await eventually(lambda: saved.exists() and "later" in saved.read_text(), 5, "the agent to write again")
    assert agent.tail().count("cannot write the last desired set") == 1
