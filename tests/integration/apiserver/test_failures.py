"""What callers are told when the store fails, and what a vanished client leaves behind."""

import pytest

from controller.store import base
from lattice.api import configmap, errors, node, pod, tombstone
from lattice.testing.polling import eventually

NS = "default"


def make(name):
    return configmap.ConfigMap.model_validate({"metadata": {"name": name, "namespace": NS}})


@pytest.mark.parametrize(
    ("failure", "error", "text"),
    [
        (base.StoreFullError("disk"), errors.ServiceUnavailableError, "the store is full: disk. Reading and deleting still work"),
        (base.OutcomeUnknownError("slow"), errors.TimeoutStatusError, "Read the object before you retry"),
        (base.StoreUnavailableError("away"), errors.ServiceUnavailableError, "the store cannot be reached: away"),
        (RuntimeError("defect with a secret"), errors.InternalError, "the server failed on this request"),
    ],
)
async def test_failures_of_the_store_are_explained(api_server, client, monkeypatch, failure, error, text):
    async def fail(_ops):
        raise failure

    monkeypatch.setattr(api_server.stores.main, "txn", fail)
    with pytest.raises(error, match=text) as caught:
        await client.create(make("a"))
    assert "secret" not in str(caught.value)
    monkeypatch.undo()
    await client.create(make("a"))


async def test_a_watch_ends_with_its_connection(api_server):
    cache = api_server.api.registry.cache(api_server.api.table.of(configmap.ConfigMap))
    async with api_server.session() as session:
        answer = await session.get(f"/api/v1/namespaces/{NS}/configmaps?watch=true&resourceVersion=1")
        assert len(cache.watchers()) == 1
        answer.close()

        async def forgotten():
            return not cache.watchers()

        await eventually(forgotten, 5, "the watch to end")


async def test_forcing_a_pod_with_a_finalizer_tells_its_node_once(api_server, client):
    await client.create(node.Node.model_validate({"metadata": {"name": "node1"}}))
    spec = {"containers": [{"name": "a", "image": "x"}], "nodeName": "node1"}
    await client.create(pod.Pod.model_validate({"metadata": {"name": "p", "namespace": NS, "finalizers": ["x.dev/a"]}, "spec": spec}))
    for _ in range(3):
        await client.delete(pod.Pod, "p", NS, grace_period_s=0)
    assert len((await client.list(tombstone.Tombstone)).items) == 1
    await client.patch(pod.Pod, "p", NS, {"metadata": {"finalizers": None}})
    with pytest.raises(errors.NotFoundError):
        await client.get(pod.Pod, "p", NS)


async def test_empty_maps_are_not_stored(client):
    made = await client.create(
        configmap.ConfigMap.model_validate({"metadata": {"name": "a", "namespace": NS, "labels": {}, "annotations": {}}})
    )
    after = await client.patch(configmap.ConfigMap, "a", NS, {"metadata": {"annotations": {}, "finalizers": []}})
    assert after.metadata.resource_version == made.metadata.resource_version
