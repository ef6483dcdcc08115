"""Silence deletes nothing: a restored backup, another cluster, an empty or broken server, an agent restart stop no container."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

from lattice.api import configmap, meta, pod
from lattice.testing.cluster import LATTICE, LocalCluster
from lattice.testing.engine import Engine
from lattice.testing.polling import eventually
from lattice.testing.stories import containers_of, sleeper, wait_phase

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(180)]
WATCHED_S = 8
"""Longer than the agent needs to reconnect, and to look at everything again."""


async def running_ids(cluster: LocalCluster) -> dict[str, str]:
    """Return id → start time of the agent's running containers."""
    found = [c for c in await containers_of(cluster) if c["State"] == "running"]
    return {c["Id"]: (await cluster.engine.inspect(c["Id"]))["State"]["StartedAt"] for c in found}


async def assert_unchanged(cluster: LocalCluster, before: dict[str, str]) -> None:
    """Hold for a while that exactly these containers run and were not started again."""
    for _ in range(WATCHED_S * 2):
        assert await running_ids(cluster) == before
        await asyncio.sleep(0.5)


async def lattice(*arguments: str) -> str:
    done = await asyncio.to_thread(subprocess.run, [*LATTICE, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_restoring_an_older_backup_stops_nothing(cluster: LocalCluster, tmp_path: Path) -> None:
    await cluster.client.create(sleeper("old", replicas=5))
    await wait_phase(cluster.client, "old")
    backup = tmp_path / "backup.lattice"
    await lattice("--kubeconfig", str(cluster.kubeconfig), "backup", str(backup))
    await cluster.client.create(sleeper("new", replicas=5))
    await wait_phase(cluster.client, "new")
    before = await running_ids(cluster)
    assert len(before) == 10

    await cluster.server.stop()
    await lattice("restore", str(backup), "--data-dir", str(cluster.data_dir), "--replace")
    await cluster.start_server()
    await cluster.wait_node()
    await assert_unchanged(cluster, before)
    assert {p.metadata.labels["lattice.dev/workload"] for p in (await cluster.client.list(pod.Pod, "default")).items} == {"old"}
    # And the restored control plane works: what it knows it still manages.
    await wait_phase(cluster.client, "old")


async def test_another_cluster_under_the_same_address_stops_nothing(cluster: LocalCluster) -> None:
    await cluster.client.create(sleeper("ours", replicas=3))
    await wait_phase(cluster.client, "ours")
    before = await running_ids(cluster)
    await cluster.server.stop()
    keep = cluster.directory / "kept"
    shutil.copytree(cluster.data_dir / "tls", keep)
    shutil.rmtree(cluster.data_dir)
    shutil.copytree(keep, cluster.data_dir / "tls")
    await cluster.start_server()  # same name, same certificate, same tokens: an empty cluster
    await assert_unchanged(cluster, before)


async def test_a_stopped_agent_leaves_everything_running_and_adopts_it_again(cluster: LocalCluster) -> None:
    await cluster.client.create(sleeper("ours", replicas=3))
    await wait_phase(cluster.client, "ours")
    before = await running_ids(cluster)
    assert await cluster.agents[cluster.name].stop() == 0
    assert await running_ids(cluster) == before
    await cluster.start_agent()
    await assert_unchanged(cluster, before)


async def test_foreign_containers_are_never_touched(cluster: LocalCluster) -> None:
    labels = {"lattice.dev/pod-uid": "not-of-this-node", "lattice.dev/node-uid": "another-node"}
    config = {"Image": "busybox:latest", "Cmd": ["sleep", "300"], "Labels": labels, "HostConfig": {"Init": True}}
    foreign = await cluster.engine.create(config)
    try:
        await cluster.engine.start(foreign)
        await cluster.client.create(sleeper("ours"))
        await wait_phase(cluster.client, "ours")
        await cluster.agents[cluster.name].stop()
        await cluster.start_agent()
        assert (await cluster.engine.inspect(foreign))["State"]["Running"]
    finally:
        await cluster.engine.remove(foreign)


async def test_a_second_pass_over_an_unchanged_world_changes_nothing(cluster: LocalCluster) -> None:
    await cluster.client.create(sleeper("ours", replicas=3, ports=[{"containerPort": 80}]))
    await wait_phase(cluster.client, "ours")
    before = await running_ids(cluster)
    await cluster.agents[cluster.name].kill9()
    await cluster.server.kill9()
    await cluster.start_server()
    await cluster.start_agent()
    await wait_phase(cluster.client, "ours")

    async def revision() -> str:
        return (await cluster.client.list_raw(configmap.ConfigMap, "default")).resource_version

    async def quiet() -> bool:
        start = await revision()
        await asyncio.sleep(3)
        return await revision() == start

    await eventually(quiet, 20, "the first pass after the restart to end")
    start = await revision()
    changes: list[str] = []
    async with Engine(cluster.docker_host) as second_eye:
        watching = asyncio.create_task(collect_changes(second_eye, cluster.node_label(), changes))
        await asyncio.sleep(35)  # the agent's own look at everything comes every 30 s
        watching.cancel()
    assert changes == []
    assert await revision() == start, "somebody wrote to the store although nothing had changed"
    assert await running_ids(cluster) == before


async def collect_changes(engine: Engine, label: str, changes: list[str]) -> None:
    key, _, value = label.partition("=")
    async for event in engine.events():
        ours = event.get("Actor", {}).get("Attributes", {}).get(key) == value
        changes.extend([event["Action"]] if ours and not event["Action"].startswith("exec_") else [])


async def test_a_backup_is_complete_and_a_damaged_one_is_refused(cluster: LocalCluster, tmp_path: Path) -> None:
    for number in range(20):
        made = configmap.ConfigMap(metadata=meta.ObjectMeta(name=f"c{number}", namespace="default"), data={"n": str(number)})
        await cluster.client.create(made)
    backup, damaged = tmp_path / "b", tmp_path / "damaged"
    await lattice("--kubeconfig", str(cluster.kubeconfig), "backup", str(backup))
    damaged.write_bytes(backup.read_bytes()[:-20])
    await cluster.server.stop()
    refused = await asyncio.to_thread(
        subprocess.run,
        [*LATTICE, "restore", str(damaged), "--data-dir", str(cluster.data_dir), "--replace"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert refused.returncode != 0
    assert "Traceback" not in refused.stderr
    await cluster.start_server()  # and what was there is still there
    assert len((await cluster.client.list(configmap.ConfigMap, "default")).items) == 20
    await cluster.server.stop()
    fresh = cluster.directory / "fresh"
    await lattice("restore", str(backup), "--data-dir", str(fresh))
