"""Watches: nothing lost, nothing twice, from every position; over restarts; selectors; slow readers; the desired state of a node."""

import asyncio
import contextlib
import json

import orjson
import pytest

from controller.apiserver import watchcache
from controller.store import base
from lattice.api import configmap, errors, node, pod, tombstone
from lattice.testing.polling import eventually

NS = "default"


def make(name, labels=None, **data):
    return configmap.ConfigMap.model_validate({"metadata": {"name": name, "namespace": NS, "labels": labels or {}}, "data": data})


async def collect(stream, count):
    """Return the next events as (type, name, resourceVersion); bookmarks are left out."""
    found = []
    async with asyncio.timeout(10), contextlib.aclosing(stream) as events:
        async for event in events:
            if event.type != "BOOKMARK":
                data = json.loads(event.raw)["metadata"]
                found.append((event.type, data["name"], int(data["resourceVersion"])))
            if len(found) == count:
                break
    return found


async def history(client):
    for number in range(5):
        await client.create(make(f"a{number}"))
    for number in range(5):
        await client.patch(configmap.ConfigMap, f"a{number}", NS, {"data": {"x": str(number)}})
    for number in range(0, 5, 2):
        await client.delete(configmap.ConfigMap, f"a{number}", NS)


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_watch_resumes_at_every_revision(api_server, client, restarted):
    start = (await client.list(configmap.ConfigMap)).resource_version
    await history(client)
    if restarted:
        await api_server.restart()
        client = api_server.client()
    whole = await collect(client.watch_raw(configmap.ConfigMap, NS, resource_version=start), 13)
    revisions = [revision for _, _, revision in whole]
    assert revisions == sorted(set(revisions))
    assert [kind for kind, _, _ in whole] == ["ADDED"] * 5 + ["MODIFIED"] * 5 + ["DELETED"] * 3
    for position in range(int(start), revisions[-1]):
        rest = [event for event in whole if event[2] > position]
        assert await collect(client.watch_raw(configmap.ConfigMap, NS, resource_version=str(position)), len(rest)) == rest


async def test_a_compacted_position_is_an_error_line_in_a_good_answer(api_server, client):
    await history(client)
    revision = await api_server.stores.main.revision()
    await api_server.stores.main.compact(base.Revision(revision - 2))
    await api_server.restart()
    async with (
        api_server.session() as session,
        session.get(f"/api/v1/namespaces/{NS}/configmaps?watch=true&resourceVersion=2") as answer,
    ):
        assert answer.status == 200
        line = json.loads(await answer.content.readline())
        assert (line["type"], line["object"]["code"], line["object"]["reason"]) == ("ERROR", 410, "Expired")
        assert await answer.content.read() == b""
    with pytest.raises(errors.GoneError):
        await collect(api_server.client().watch_raw(configmap.ConfigMap, NS, resource_version="2"), 1)


async def test_selector_transitions(client):
    start = (await client.list(configmap.ConfigMap)).resource_version
    stream = client.watch_raw(configmap.ConfigMap, NS, resource_version=start, label_selector="color=red")
    await client.create(make("a"))
    await client.create(make("b", {"color": "red"}))
    for name, color in (("a", "red"), ("b", "blue"), ("a", "red"), ("b", "green")):
        await client.patch(configmap.ConfigMap, name, NS, {"metadata": {"labels": {"color": color}}, "data": {"n": color}})
    await client.patch(configmap.ConfigMap, "a", NS, {"data": {"x": "1"}})
    await client.delete(configmap.ConfigMap, "b", NS)
    await client.delete(configmap.ConfigMap, "a", NS)
    found = await collect(stream, 5)
    assert [event[:2] for event in found] == [("ADDED", "b"), ("ADDED", "a"), ("DELETED", "b"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_pods_of_one_node_are_found_by_index(client):
    start = (await client.list(pod.Pod)).resource_version
    stream = client.watch_raw(pod.Pod, resource_version=start, field_selector="spec.nodeName=n1")
    for name, target in (("p", "n1"), ("q", "n2")):
        spec = {"containers": [{"name": "a", "image": "x"}]}
        made = await client.create(pod.Pod.model_validate({"metadata": {"name": name, "namespace": NS}, "spec": spec}))
        await client.bind(name, NS, target, uid=made.uid)
    await client.patch(pod.Pod, "p", NS, {"status": {"phase": "Running"}}, subresource="status")
    assert [event[:2] for event in await collect(stream, 2)] == [("ADDED", "p"), ("MODIFIED", "p")]


async def test_initial_events_end_with_a_bookmark(client):
    await client.create(make("a"))
    query = {"watch": "true", "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    async with contextlib.aclosing(client.stream_events(f"/api/v1/namespaces/{NS}/configmaps", query=query)) as events:
        first, second = await anext(events), await anext(events)
    assert (first.type, second.type) == ("ADDED", "BOOKMARK")
    assert json.loads(second.raw)["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_timeout_ends_a_watch_with_a_bookmark(api_server):
    async with (
        api_server.session() as session,
        session.get(f"/api/v1/namespaces/{NS}/configmaps?watch=true&timeoutSeconds=1&allowWatchBookmarks=true") as answer,
    ):
        lines = (await answer.read()).splitlines()
    assert json.loads(lines[-1])["type"] == "BOOKMARK"


async def test_a_slow_reader_is_cut_and_resumes(api_server, client, monkeypatch):
    monkeypatch.setattr(watchcache, "MAX_PENDING_BYTES", 300_000)
    start = (await client.list(configmap.ConfigMap)).resource_version
    watchers = api_server.api.registry.cache(api_server.api.table.of(configmap.ConfigMap))
    async with api_server.session() as session:
        answer = await session.get(f"/api/v1/namespaces/{NS}/configmaps?watch=true&resourceVersion={start}")
        # Nobody reads: the socket's buffers fill, then the queue, then the server cuts the connection.
        await client.create(make("a"))
        for number in range(200):
            await client.patch(configmap.ConfigMap, "a", NS, {"data": {"x": str(number) + "y" * 100_000}})
            if number and not watchers.watchers():
                break

        async def forgotten():
            return not watchers.watchers()

        await eventually(forgotten, 10, "the slow reader to be cut")
        answer.close()
    last = (await client.list(configmap.ConfigMap)).resource_version
    resumed = await collect(client.watch_raw(configmap.ConfigMap, NS, resource_version=str(int(last) - 1)), 1)
    assert resumed[0][2] == int(last)


class TestDesired:
    async def test_snapshot_then_changes(self, api_server, client):
        agent = api_server.client("node1-token")
        await agent.create(node.Node.model_validate({"metadata": {"name": "node1"}}))
        await client.create(configmap.Secret.model_validate({"metadata": {"name": "s", "namespace": NS}, "stringData": {"k": "v"}}))
        await client.create(configmap.Secret.model_validate({"metadata": {"name": "other", "namespace": NS}, "stringData": {"k": "v"}}))
        env = [
            {"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "Y", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "k"}}},
        ]
        spec = {"containers": [{"name": "a", "image": "x", "env": env}]}
        made = await client.create(pod.Pod.model_validate({"metadata": {"name": "p", "namespace": NS}, "spec": spec}))
        await client.bind("p", NS, "node1", uid=made.uid)
        document = orjson.loads(await agent.send("GET", "/api/v1/nodes/node1/desired"))
        assert [(item["kind"], item["metadata"]["name"]) for item in document["items"]] == [("Secret", "s"), ("Pod", "p")]
        assert (document["clusterID"], document["storeEpoch"]) == (api_server.api.cluster.id, 1)

        events = agent.stream_events("/api/v1/nodes/node1/desired", query={"watch": "true"})

        async def following():
            async with asyncio.timeout(10):
                event = await anext(events)
            data = json.loads(event.raw)
            return event.type, data["kind"], data["metadata"].get("name"), data["metadata"].get("annotations")

        async with contextlib.aclosing(events):
            assert (await following())[:3] == ("ADDED", "Secret", "s")
            assert (await following())[:3] == ("ADDED", "Pod", "p")
            kind, _, _, annotations = await following()
            assert kind == "BOOKMARK"
            assert annotations == {
                "k8s.io/initial-events-end": "true",
                "lattice.dev/cluster-id": api_server.api.cluster.id,
                "lattice.dev/store-epoch": "1",
            }
            await client.patch(configmap.Secret, "other", NS, {"stringData": {"k": "w"}})
            await client.patch(configmap.Secret, "s", NS, {"stringData": {"k": "w"}})
            assert (await following())[:3] == ("MODIFIED", "Secret", "s")
            await client.create(make("late", k="1"))
            assert (await following())[:3] == ("ADDED", "ConfigMap", "late")
            await client.delete(pod.Pod, "p", NS, grace_period_s=0)
            (stone,) = (await client.list(tombstone.Tombstone)).items
            left = sorted([(await following())[:3] for _ in range(4)])
            assert left == [
                ("ADDED", "Tombstone", stone.name),
                ("DELETED", "ConfigMap", "late"),
                ("DELETED", "Pod", "p"),
                ("DELETED", "Secret", "s"),
            ]

    async def test_of_an_unknown_node(self, api_server):
        with pytest.raises(errors.NotFoundError):
            await api_server.client("node1-token").send("GET", "/api/v1/nodes/node1/desired")
