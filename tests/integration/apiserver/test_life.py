"""Life of objects: finalizers, grace, tombstones, namespaces, generations, status apart from the rest."""

import asyncio

import pytest

from controller.apiserver.request import User
from lattice.api import configmap, errors, meta, namespace, node, pod, storage, tombstone, workload
from lattice.client.client import Client

NS = "default"


def make_pod(name="p", **spec):
    spec = {"containers": [{"name": "main", "image": "busybox"}], **spec}
    return pod.Pod.model_validate({"metadata": {"name": name, "namespace": NS}, "spec": spec})


@pytest.fixture
def node1(api_server) -> Client:
    return api_server.local_client(User("system:node:node1", "3", ("system:nodes",)))


@pytest.fixture
def node2(api_server) -> Client:
    return api_server.local_client(User("system:node:node2", "4", ("system:nodes",)))


async def bound_pod(client, node1, **spec):
    await node1.create(node.Node.model_validate({"metadata": {"name": "node1"}}))
    made = await client.create(make_pod(**spec))
    await client.bind(made.name, NS, "node1", uid=made.uid)
    return await client.get(pod.Pod, made.name, NS)


async def test_generation_counts_changes_of_the_spec_only(client):
    made = await client.create(workload.Workload.model_validate({"metadata": {"name": "w", "namespace": NS}, "spec": {"image": "x"}}))
    assert made.metadata.generation == 1
    assert (await client.patch(workload.Workload, "w", NS, {"metadata": {"labels": {"a": "b"}}})).metadata.generation == 1
    assert (await client.patch(workload.Workload, "w", NS, {"spec": {"replicas": 2}})).metadata.generation == 2
    after = await client.patch(workload.Workload, "w", NS, {"status": {"phase": "Running"}, "spec": {"replicas": 9}}, subresource="status")
    assert (after.metadata.generation, after.status.phase, after.spec.replicas) == (2, "Running", 2)
    after = await client.patch(workload.Workload, "w", NS, {"status": {"phase": "Failed"}})
    assert after.status.phase == "Running"


async def test_finalizers_hold_an_object_until_the_last_is_removed(client):
    made = configmap.ConfigMap.model_validate({"metadata": {"name": "a", "namespace": NS, "finalizers": ["x.dev/a", "x.dev/b"]}})
    await client.create(made)
    await client.delete(configmap.ConfigMap, "a", NS)
    marked = await client.get(configmap.ConfigMap, "a", NS)
    assert marked.metadata.deletion_timestamp
    with pytest.raises(errors.InvalidError, match="no new finalizers can be added"):
        await client.patch(configmap.ConfigMap, "a", NS, {"metadata": {"finalizers": ["x.dev/a", "x.dev/b", "x.dev/c"]}})
    await client.patch(configmap.ConfigMap, "a", NS, {"metadata": {"finalizers": ["x.dev/b"]}})
    await client.delete(configmap.ConfigMap, "a", NS)
    await client.patch(configmap.ConfigMap, "a", NS, {"metadata": {"finalizers": None}})
    with pytest.raises(errors.NotFoundError):
        await client.get(configmap.ConfigMap, "a", NS)


async def test_propagation_policies_are_finalizers(client):
    for policy, finalizer in (("Foreground", "foregroundDeletion"), ("Orphan", "orphan")):
        await client.create(configmap.ConfigMap.model_validate({"metadata": {"name": "a", "namespace": NS}}))
        await client.delete(configmap.ConfigMap, "a", NS, propagation_policy=policy)
        assert (await client.get(configmap.ConfigMap, "a", NS)).metadata.finalizers == (finalizer,)
        await client.delete(configmap.ConfigMap, "a", NS, propagation_policy="Background")
        with pytest.raises(errors.NotFoundError):
            await client.get(configmap.ConfigMap, "a", NS)


async def test_an_unbound_pod_goes_at_once(client):
    await client.create(make_pod())
    await client.delete(pod.Pod, "p", NS)
    with pytest.raises(errors.NotFoundError):
        await client.get(pod.Pod, "p", NS)


async def test_a_bound_pod_waits_for_its_agent(client, node1, node2):
    made = await bound_pod(client, node1, terminationGracePeriodSeconds=7)
    assert made.spec.node_name == "node1"
    assert [(c.type, c.status) for c in made.status.conditions] == [("PodScheduled", "True")]
    await client.delete(pod.Pod, "p", NS)
    await client.delete(pod.Pod, "p", NS)
    marked = await client.get(pod.Pod, "p", NS)
    assert marked.metadata.deletion_grace_period_seconds == 7
    await client.delete(pod.Pod, "p", NS, grace_period_s=3)
    assert (await client.get(pod.Pod, "p", NS)).metadata.deletion_grace_period_seconds == 3
    with pytest.raises(errors.ForbiddenError):
        await node2.delete(pod.Pod, "p", NS, grace_period_s=0)
    with pytest.raises(errors.ConflictError):
        await node1.delete(pod.Pod, "p", NS, grace_period_s=0, uid="another")
    await node1.delete(pod.Pod, "p", NS, grace_period_s=0, uid=made.uid)
    with pytest.raises(errors.NotFoundError):
        await client.get(pod.Pod, "p", NS)
    assert not (await client.list(tombstone.Tombstone)).items


async def test_a_forced_removal_leaves_a_tombstone_until_its_node_acknowledges(client, node1, node2):
    made = await bound_pod(client, node1)
    await client.delete(pod.Pod, "p", NS, grace_period_s=0)
    (stone,) = (await client.list(tombstone.Tombstone)).items
    assert (stone.name, stone.spec.node_name, stone.spec.pod_name) == (made.uid, "node1", "p")
    with pytest.raises(errors.ForbiddenError):
        await node2.delete(tombstone.Tombstone, stone.name)
    await node1.delete(tombstone.Tombstone, stone.name)
    assert not (await client.list(tombstone.Tombstone)).items


async def test_a_deleted_node_takes_its_tombstones(client, node1):
    await bound_pod(client, node1)
    await client.delete(pod.Pod, "p", NS, grace_period_s=0)
    await client.delete(node.Node, "node1")
    assert not (await client.list(tombstone.Tombstone)).items


async def test_a_pod_is_bound_once(client, node1):
    made = await bound_pod(client, node1)
    with pytest.raises(errors.ConflictError, match="already assigned"):
        await client.bind("p", NS, "node2", uid=made.uid)
    second = await client.create(make_pod("q"))
    answers = await asyncio.gather(*(client.bind("q", NS, f"n{i}", uid=second.uid) for i in range(5)), return_exceptions=True)
    assert sum(answer is None for answer in answers) == 1
    with pytest.raises(errors.ConflictError):
        await client.bind("q", NS, "n", uid=meta.Uid("another life"))


async def test_pod_specs_do_not_change(client):
    await client.create(make_pod())
    with pytest.raises(errors.InvalidError, match="pod updates may not change fields"):
        await client.patch(pod.Pod, "p", NS, {"spec": {"restartPolicy": "Never"}})
    await client.patch(pod.Pod, "p", NS, {"metadata": {"labels": {"a": "b"}}})


async def test_namespaces_end_in_two_steps(client):
    await client.create(namespace.Namespace.model_validate({"metadata": {"name": "foo"}}))
    await client.delete(namespace.Namespace, "foo")
    marked = await client.get(namespace.Namespace, "foo")
    assert marked.status.phase == "Terminating"
    with pytest.raises(errors.ForbiddenError, match="because it is being terminated"):
        await client.create(configmap.ConfigMap.model_validate({"metadata": {"name": "a", "namespace": "foo"}}))
    await client.replace(meta.changed(marked, spec=namespace.NamespaceSpec(finalizers=())), subresource="finalize")
    with pytest.raises(errors.NotFoundError):
        await client.get(namespace.Namespace, "foo")
    with pytest.raises(errors.ForbiddenError):
        await client.delete(namespace.Namespace, "default")


async def test_secrets(client):
    made = await client.create(configmap.Secret.model_validate({"metadata": {"name": "s", "namespace": NS}, "stringData": {"k": "v"}}))
    assert (made.data, made.string_data, made.type) == ({"k": "dg=="}, None, "Opaque")
    with pytest.raises(errors.InvalidError, match="type: Invalid value"):
        await client.patch(configmap.Secret, "s", NS, {"type": "other"})
    with pytest.raises(errors.InvalidError) as caught:
        await client.patch(configmap.Secret, "s", NS, {"data": {"k": "hunter2!"}})
    assert "hunter2" not in caught.value.message


async def test_generated_names(client):
    made = [
        await client.create(configmap.ConfigMap.model_validate({"metadata": {"generateName": "g-", "namespace": NS}})) for _ in range(3)
    ]
    assert len({item.name for item in made}) == 3
    assert all(item.name.startswith("g-") and len(item.name) == 7 for item in made)


class TestNodeRestriction:
    async def test_own_node_only(self, client, node1):
        await node1.create(node.Node.model_validate({"metadata": {"name": "node1"}}))
        with pytest.raises(errors.ForbiddenError):
            await node1.create(node.Node.model_validate({"metadata": {"name": "node2"}}))
        await node1.patch(node.Node, "node1", None, {"metadata": {"labels": {"zone": "a"}}})
        await node1.patch(node.Node, "node1", None, {"status": {"capacity": {"cpu": "4"}}}, subresource="status")
        for patch in ({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}, {"spec": {"unschedulable": True}}):
            with pytest.raises(errors.ForbiddenError):
                await node1.patch(node.Node, "node1", None, patch)
        for action in (node1.get(node.Node, "node2"), node1.delete(node.Node, "node2"), node1.list(node.Node)):
            with pytest.raises(errors.ForbiddenError):
                await action

    async def test_own_node_goes_when_it_holds_no_pods(self, client, node1):
        await bound_pod(client, node1)
        with pytest.raises(errors.ForbiddenError, match="while 1 Pods are bound to it"):
            await node1.delete(node.Node, "node1")
        await client.delete(pod.Pod, "p", NS, grace_period_s=0)
        await node1.delete(node.Node, "node1")
        with pytest.raises(errors.NotFoundError):
            await client.get(node.Node, "node1")

    async def test_own_pods_status_only(self, client, node1, node2):
        await bound_pod(client, node1)
        ports = {"metadata": {"annotations": {"lattice.dev/host-ports": "[]", "other": "x"}}, "status": {"phase": "Running"}}
        after = await node1.patch(pod.Pod, "p", NS, ports, subresource="status")
        assert (after.status.phase, after.metadata.annotations) == ("Running", {"lattice.dev/host-ports": "[]"})
        for action in (
            node2.patch(pod.Pod, "p", NS, {"status": {"phase": "Failed"}}, subresource="status"),
            node1.patch(pod.Pod, "p", NS, {"metadata": {"labels": {"a": "b"}}}),
            node1.get(pod.Pod, "p", NS),
            node1.bind("p", NS, "node1", uid=meta.Uid("x")),
            node1.get(configmap.Secret, "s", NS),
            node2.send("GET", "/api/v1/nodes/node1/desired"),
        ):
            with pytest.raises(errors.ForbiddenError):
                await action

    async def test_own_volumes_finalizer_only(self, client, node1, node2):
        term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node1"]}]}
        spec = {
            "capacity": {"storage": "1Gi"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
            "persistentVolumeReclaimPolicy": "Delete",
        }
        await client.create(
            storage.PersistentVolume.model_validate({"metadata": {"name": "v", "finalizers": ["lattice.dev/node-volume"]}, "spec": spec})
        )
        for who, patch in ((node2, {"metadata": {"finalizers": None}}), (node1, {"spec": {"persistentVolumeReclaimPolicy": "Retain"}})):
            with pytest.raises(errors.ForbiddenError):
                await who.patch(storage.PersistentVolume, "v", None, patch)
        await client.delete(storage.PersistentVolume, "v")
        await node1.patch(storage.PersistentVolume, "v", None, {"metadata": {"finalizers": None}})
        with pytest.raises(errors.NotFoundError):
            await client.get(storage.PersistentVolume, "v")
