"""Scheduler and reconcilers against a real API server: end states, polled with a deadline."""

from __future__ import annotations

from typing import Any, Protocol

import pytest

from controller.reconcilers.workload import template
from lattice.api import conditions, configmap, errors, event, lease, meta, names, namespace, node, pod, storage, workload
from lattice.machinery.clock import SystemClock
from lattice.testing.polling import eventually


class World(Protocol):
    client: Any
    transport: Any
    api: Any

    async def add_node(self, name: str = "n1", *, cpu: str = "4") -> Any: ...
    def controllers(self, clock: Any = None) -> Any: ...


def make_workload(name: str = "db", **spec: Any) -> workload.Workload:
    if not spec.keys() & {"preset", "image"}:
        spec["preset"] = {"name": "postgresql", "version": "15"}
    return workload.Workload.model_validate({"metadata": {"name": name, "namespace": "default"}, "spec": spec})


async def phase(cluster: World, wanted: str, name: str = "db") -> workload.Workload:
    async def look() -> workload.Workload:
        found: workload.Workload = await cluster.client.get(workload.Workload, name, "default")
        assert found.status.phase == wanted, found.status
        return found

    return await eventually(look, what=f"{name} to be {wanted}")


async def gone(cluster: World, kind: type[meta.Object], namespace_: str | None = "default") -> None:
    async def look() -> bool:
        left = (await cluster.client.list(kind, namespace_)).items
        assert not left, [item.name for item in left]
        return True

    await eventually(look, what=f"no {kind.PLURAL}")


async def message_of(cluster: World, part: str, name: str = "db") -> None:
    async def look() -> bool:
        found = await cluster.client.get(workload.Workload, name, "default")
        assert part in str(found.status.conditions), found.status
        return True

    await eventually(look, what=part)


async def settle(cluster: World) -> None:
    """Wait until the controllers have written nothing for a quarter of a second."""
    clock, seen = SystemClock(), -1
    while seen != len(cluster.transport.writes):
        seen = len(cluster.transport.writes)
        await clock.sleep(0.25)


async def test_apply_run_delete_and_apply_again(cluster: World) -> None:
    await cluster.add_node()
    async with cluster.controllers():
        await cluster.client.create(make_workload())
        running = await phase(cluster, "Running")
        assert (running.status.replicas, running.status.ready_replicas) == (1, 1)
        assert [e.container_port for e in running.status.endpoints] == [5432]
        claim = await cluster.client.get(storage.PersistentVolumeClaim, "db-data-0", "default")
        volume = await cluster.client.get(storage.PersistentVolume, claim.spec.volume_name)
        assert (claim.status.phase, volume.status.phase, volume.spec.node_name()) == ("Bound", "Bound", "n1")
        secret = await cluster.client.get(configmap.Secret, "db-credentials", "default")

        await cluster.client.delete(workload.Workload, "db", "default")
        await gone(cluster, pod.Pod)
        await gone(cluster, workload.Workload)
        assert (await cluster.client.get(storage.PersistentVolumeClaim, "db-data-0", "default")).uid == claim.uid
        assert (await cluster.client.get(configmap.Secret, "db-credentials", "default")).data == secret.data

        await cluster.client.create(make_workload())
        await phase(cluster, "Running")
        assert [v.name for v in (await cluster.client.list(storage.PersistentVolume)).items] == [volume.name]


async def test_second_pass_over_an_unchanged_world_writes_nothing(cluster: World) -> None:
    await cluster.add_node()
    async with cluster.controllers():
        await cluster.client.create(make_workload(replicas=2))
        await phase(cluster, "Running")
        await cluster.client.create(make_workload("stuck", image="x", resources={"requests": {"cpu": "64"}}))
        await message_of(cluster, "Insufficient cpu", "stuck")
        await settle(cluster)
    cluster.transport.writes.clear()
    async with cluster.controllers():  # a new process: every object is reconciled from the start
        await settle(cluster)
        await settle(cluster)
    assert cluster.transport.writes == []


async def test_data_goes_with_the_workload_if_it_says_so(cluster: World) -> None:
    await cluster.add_node()
    async with cluster.controllers():
        await cluster.client.create(make_workload(storage={"whenDeleted": "Delete"}))
        await phase(cluster, "Running")
        await cluster.client.delete(workload.Workload, "db", "default")
        for kind in (pod.Pod, storage.PersistentVolumeClaim, configmap.Secret):
            await gone(cluster, kind)
        await gone(cluster, storage.PersistentVolume, None)


async def test_scale_and_update(cluster: World) -> None:
    for name in ("n1", "n2"):
        await cluster.add_node(name)
    async with cluster.controllers():
        await cluster.client.create(make_workload(image="nginx:1", replicas=2))
        await phase(cluster, "Running")
        pods = (await cluster.client.list(pod.Pod, "default")).items
        assert {p.spec.node_name for p in pods} == {"n1", "n2"}
        await cluster.client.patch(workload.Workload, "db", "default", {"spec": {"image": "nginx:2", "replicas": 3}})

        async def updated() -> bool:
            images = [p.spec.containers[0].image for p in (await cluster.client.list(pod.Pod, "default")).items]
            assert images == ["nginx:2"] * 3, images
            return True

        await eventually(updated, what="all replicas to be updated")
        await phase(cluster, "Running")
        await cluster.client.patch(workload.Workload, "db", "default", {"spec": {"replicas": 0}})
        await phase(cluster, "Stopped")
        await gone(cluster, pod.Pod)


async def test_unknown_preset_version_and_impossible_resources_say_so(cluster: World) -> None:
    await cluster.add_node()
    async with cluster.controllers():
        await cluster.client.create(make_workload("old", preset={"name": "postgresql", "version": "9"}))
        found = await phase(cluster, "Failed", "old")
        stalled = conditions.get_condition(found.status.conditions, "Stalled")
        assert stalled is not None
        assert (stalled.status, stalled.reason) == ("True", "UnknownPresetVersion")
        await cluster.client.create(make_workload("big", resources={"requests": {"cpu": "64"}}))
        await message_of(cluster, "0/1 nodes are available: 1 Insufficient cpu.", "big")

        async def told() -> bool:
            found = [e for e in (await cluster.client.list(event.Event, "default")).items if e.reason == "FailedScheduling"]
            assert [(e.message, e.count or 1) for e in found] == [("0/1 nodes are available: 1 Insufficient cpu.", 1)], found
            return True

        await eventually(told, what="one FailedScheduling event")
        await cluster.add_node("large", cpu="128")
        assert (await phase(cluster, "Running", "big")).status.endpoints[0].node_name == "large"


async def test_silent_and_unready_nodes_take_no_pods(cluster: World) -> None:
    agent = await cluster.add_node()
    async with cluster.controllers():
        await agent.post_ready("False")

        async def tainted(*keys: str) -> bool:
            found = await cluster.client.get(node.Node, "n1")
            assert tuple(taint.key for taint in found.spec.taints) == keys, found.spec
            return True

        await eventually(lambda: tainted(names.TAINT_NOT_READY), what="the not-ready taint")
        await cluster.client.create(make_workload())
        await message_of(cluster, "not ready")
        await agent.post_ready("True")
        await eventually(tainted, what="no taint")
        await phase(cluster, "Running")


@pytest.mark.parametrize("policy", ["Foreground", "Orphan"])
async def test_propagation(cluster: World, policy: str) -> None:
    agent = await cluster.add_node()
    async with cluster.controllers():
        await cluster.client.create(make_workload())
        await phase(cluster, "Running")
        agent.paused = True
        await cluster.client.delete(workload.Workload, "db", "default", propagation_policy=policy)
        if policy == "Orphan":
            await gone(cluster, workload.Workload)
            (left,) = (await cluster.client.list(pod.Pod, "default")).items
            assert left.metadata.owner_references == ()
            assert left.metadata.deletion_timestamp is None
            return

        async def going() -> bool:
            (left,) = (await cluster.client.list(pod.Pod, "default")).items
            assert left.metadata.deletion_timestamp is not None
            return True

        await eventually(going, what="the Pod to be deleted")
        assert (await cluster.client.get(workload.Workload, "db", "default")).metadata.deletion_timestamp is not None
        agent.paused = False
        await gone(cluster, pod.Pod)
        await gone(cluster, workload.Workload)


async def test_namespace_is_emptied_and_goes(cluster: World) -> None:
    agent = await cluster.add_node()
    async with cluster.controllers():
        await cluster.client.create(namespace.Namespace(metadata=meta.ObjectMeta(name="team")))
        made = make_workload()
        await cluster.client.create(meta.changed(made, metadata=meta.changed(made.metadata, namespace="team")))

        async def running() -> bool:
            assert (await cluster.client.get(workload.Workload, "db", "team")).status.phase == "Running"
            return True

        await eventually(running, what="the workload to run")
        agent.paused = True
        await cluster.client.delete(namespace.Namespace, "team")

        async def waits() -> bool:
            found = await cluster.client.get(namespace.Namespace, "team")
            assert "pods. has 1 resource instances" in str(found.status.conditions), found.status
            return True

        await eventually(waits, what="the namespace to say what it waits for")
        agent.paused = False

        async def absent() -> bool:
            try:
                found = await cluster.client.get(namespace.Namespace, "team")
            except errors.NotFoundError:
                return True
            raise AssertionError(found)

        await eventually(absent, deadline_s=15, what="the namespace to go")
        for kind in (pod.Pod, storage.PersistentVolumeClaim, configmap.Secret, event.Event):
            await gone(cluster, kind, "team")


async def test_claim_in_use_waits_for_its_pod(cluster: World) -> None:
    await cluster.add_node()
    async with cluster.controllers():
        await cluster.client.create(make_workload())
        await phase(cluster, "Running")
        await cluster.client.delete(storage.PersistentVolumeClaim, "db-data-0", "default")
        await settle(cluster)
        assert (await cluster.client.get(storage.PersistentVolumeClaim, "db-data-0", "default")).metadata.deletion_timestamp
        await cluster.client.delete(workload.Workload, "db", "default")
        await gone(cluster, storage.PersistentVolumeClaim)

        async def released() -> bool:
            (volume,) = (await cluster.client.list(storage.PersistentVolume)).items
            assert volume.status.phase == "Released", volume.status
            return True

        await eventually(released, what="the volume to be released")


async def test_controllers_that_are_cut_off_again_and_again_make_nothing_twice(cluster: World) -> None:
    await cluster.add_node("n1")
    await cluster.add_node("n2")
    clock = SystemClock()
    for number in range(4):
        await cluster.client.create(make_workload(f"w{number}", replicas=2))
    for round_ in range(12):
        async with cluster.controllers():
            await clock.sleep(0.01 + 0.007 * round_)
    async with cluster.controllers():
        for number in range(4):
            await phase(cluster, "Running", f"w{number}")
        pods = (await cluster.client.list(pod.Pod, "default")).items
        assert len(pods) == 8
        claims = (await cluster.client.list(storage.PersistentVolumeClaim, "default")).items
        assert len(claims) == 8
        volumes = (await cluster.client.list(storage.PersistentVolume)).items
        assert sorted(v.spec.claim_ref.uid for v in volumes) == sorted(c.uid for c in claims)
        nodes = {volume.name: volume.spec.node_name() for volume in volumes}
        homes = {claim.name: nodes[claim.spec.volume_name] for claim in claims}
        for p in pods:
            claim_name = p.spec.volumes[0].persistent_volume_claim.claim_name
            assert homes[claim_name] == p.spec.node_name


class ForwardClock(SystemClock):
    """Whose monotonic time a test can move on."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


async def test_node_that_is_silent_becomes_unknown_and_comes_back(cluster: World) -> None:
    agent = await cluster.add_node()
    clock = ForwardClock()
    async with cluster.controllers(clock):
        await settle(cluster)
        clock.ahead_s = 20.0
        await cluster.client.patch(node.Node, "n1", None, {"metadata": {"labels": {"touched": "yes"}}})

        async def ready_is(status: str, *keys: str) -> bool:
            found = await cluster.client.get(node.Node, "n1")
            assert tuple(taint.key for taint in found.spec.taints) == keys, found.spec
            assert [c.status for c in found.status.conditions if c.type == "Ready"] == [status], found.status
            return True

        await eventually(lambda: ready_is("Unknown", names.TAINT_UNREACHABLE), what="the node to be unreachable")
        beat = {"spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}}
        await cluster.client.patch(lease.Lease, "n1", names.NAMESPACE_NODE_LEASE, beat)
        await agent.post_ready("True")
        await eventually(lambda: ready_is("True"), what="the node to be back")


async def test_foreign_pod_of_the_name_is_left_alone(cluster: World) -> None:
    await cluster.add_node()
    async with cluster.controllers():
        await cluster.client.create(make_workload(image="nginx", replicas=0))
        owner = await phase(cluster, "Stopped")
        digest = template.template_hash(owner)
        foreign = pod.Pod.model_validate(
            {
                "metadata": {"name": f"db-{digest}-0-0", "namespace": "default"},
                "spec": {"containers": [{"name": "main", "image": "mine"}]},
            }
        )
        created = await cluster.client.create(foreign)
        await cluster.client.patch(workload.Workload, "db", "default", {"spec": {"replicas": 1}})
        await message_of(cluster, "NameTaken")
        assert (await cluster.client.get(pod.Pod, foreign.name, "default")).uid == created.uid


async def test_kept_or_not_is_decided_at_any_time(cluster: World) -> None:
    await cluster.add_node()
    async with cluster.controllers():
        await cluster.client.create(make_workload(storage={"size": "1Gi"}))
        await phase(cluster, "Running")
        await cluster.client.patch(workload.Workload, "db", "default", {"spec": {"storage": {"whenDeleted": "Delete"}}})

        async def follows() -> bool:
            (volume,) = (await cluster.client.list(storage.PersistentVolume)).items
            assert volume.spec.persistent_volume_reclaim_policy == "Delete"
            assert names.FINALIZER_NODE_VOLUME in volume.metadata.finalizers
            return True

        await eventually(follows, what="the volume to follow")
        assert len((await cluster.client.list(pod.Pod, "default")).items) == 1
        await cluster.client.delete(workload.Workload, "db", "default")
        await gone(cluster, storage.PersistentVolume, None)
        await gone(cluster, configmap.Secret)


async def test_password_from_a_secret_is_waited_for_and_used(cluster: World) -> None:
    await cluster.add_node()
    async with cluster.controllers():
        preset = {"name": "redis", "version": "7", "passwordSecretRef": {"name": "mine"}}
        await cluster.client.create(make_workload(preset=preset))
        await phase(cluster, "Validating")
        given = {"metadata": {"name": "mine", "namespace": "default"}, "data": {"password": "Z2l2ZW4="}}
        await cluster.client.create(configmap.Secret.model_validate(given))
        await phase(cluster, "Running")
        assert (await cluster.client.get(configmap.Secret, "db-credentials", "default")).data["password"] == "Z2l2ZW4="


async def test_pod_that_a_user_deleted_is_replaced_on_its_node(cluster: World) -> None:
    for name in ("n1", "n2"):
        await cluster.add_node(name)
    async with cluster.controllers():
        await cluster.client.create(make_workload())
        await phase(cluster, "Running")
        (before,) = (await cluster.client.list(pod.Pod, "default")).items
        await cluster.client.delete(pod.Pod, before.name, "default")

        async def replaced() -> bool:
            found = (await cluster.client.list(pod.Pod, "default")).items
            assert len(found) == 1, "between the end of the one and the start of the other there may be none"
            after = found[0]
            assert after.uid != before.uid
            assert after.spec.node_name == before.spec.node_name
            return True

        await eventually(replaced, what="the replacement")
        await phase(cluster, "Running")
