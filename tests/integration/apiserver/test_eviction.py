"""Evictions on the wire, as `kubectl drain` and the Kubernetes clients send them."""

import contextlib
import io
import json

import pytest

from controller.apiserver.request import User
from lattice.api import errors, node, pod
from lattice.client.client import Client

PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
async def admin(api_server):
    async with api_server.session() as session:
        yield session


@pytest.fixture
def node1(api_server) -> Client:
    return api_server.local_client(User("system:node:node1", "3", ("system:nodes",)))


def make_pod(name: str, **spec) -> pod.Pod:
    whole = {"containers": [{"name": "a", "image": "b"}], **spec}
    return pod.Pod.model_validate({"metadata": {"name": name, "namespace": "default"}, "spec": whole})


async def make_bound(client, node1, name="p", **spec) -> pod.Pod:
    with contextlib.suppress(errors.AlreadyExistsError):
        await node1.create(node.Node.model_validate({"metadata": {"name": "node1"}}))
    made = await client.create(make_pod(name, **spec))
    await client.bind(name, "default", "node1", uid=made.uid)
    return await client.get(pod.Pod, name, "default")


async def evict(session, name="p", query="", **body):
    whole = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "default"}, **body}
    data = io.BytesIO(json.dumps({key: value for key, value in whole.items() if value is not None}).encode())
    async with session.post(f"{PODS}/{name}/eviction{query}", data=data, headers={"Content-Type": "application/json"}) as answer:
        return answer.status, await answer.json()


def target(found: pod.Pod) -> list[tuple[str, str]]:
    return [(each.status, each.reason) for each in found.status.conditions if each.type == "DisruptionTarget"]


async def test_an_eviction_begins_a_deletion_with_the_pods_own_grace_and_says_so(client, node1, admin):
    await make_bound(client, node1, terminationGracePeriodSeconds=7)
    status, body = await evict(admin)
    assert (status, body) == (201, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
    found = await client.get(pod.Pod, "p", "default")
    assert found.metadata.deletion_grace_period_seconds == 7
    assert target(found) == [("True", "EvictionByEvictionAPI")]
    assert (await evict(admin))[0] == 201  # again: it is going already
    await node1.delete(pod.Pod, "p", "default", uid=found.uid, grace_period_s=0)
    assert (await evict(admin))[0] == 404


async def test_delete_options_are_honoured(client, node1, admin):
    made = await make_bound(client, node1)
    assert (await evict(admin, deleteOptions={"preconditions": {"uid": "another"}}))[0] == 409
    untouched = await client.get(pod.Pod, "p", "default")
    assert (untouched.metadata.deletion_timestamp, target(untouched)) == (None, [])
    assert (await evict(admin, deleteOptions={"gracePeriodSeconds": 3, "preconditions": {"uid": made.uid}}))[0] == 201
    assert (await client.get(pod.Pod, "p", "default")).metadata.deletion_grace_period_seconds == 3


@pytest.mark.parametrize("how", [{"query": "?dryRun=All"}, {"deleteOptions": {"dryRun": ["All"]}}])
async def test_a_dry_run_changes_nothing(how, client, node1, admin):
    made = await make_bound(client, node1)
    assert (await evict(admin, **how))[0] == 201
    assert await client.get(pod.Pod, "p", "default") == made


async def test_a_pod_that_was_never_bound_goes_at_once_and_an_ended_one_gets_no_condition(client, node1, admin):
    await client.create(make_pod("q"))
    assert (await evict(admin, "q"))[0] == 201
    with pytest.raises(errors.NotFoundError):
        await client.get(pod.Pod, "q", "default")
    await make_bound(client, node1)
    await node1.patch(pod.Pod, "p", "default", {"status": {"phase": "Succeeded"}}, subresource="status")
    await client.evict("p", "default")
    assert target(await client.get(pod.Pod, "p", "default")) == []


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"kind": "Pod"}, 400, "must be of type Eviction"),
        ({"apiVersion": "policy/v9"}, 400, "must be of type Eviction"),
        ({"metadata": {"name": "other"}}, 400, "name in URL does not match name in Eviction object"),
        ({"metadata": {"namespace": "other"}}, 400, "does not match the namespace sent on the request"),
        ({"deleteOptions": {"gracePeriodSeconds": -1}}, 422, "gracePeriodSeconds"),
        ({"deleteOptions": "x"}, 400, "is not an object"),
    ],
)
async def test_what_is_no_eviction_is_refused(body, code, message, client, node1, admin):
    made = await make_bound(client, node1)
    status, answer = await evict(admin, **body)
    assert status == code
    assert message in answer["message"]
    assert await client.get(pod.Pod, "p", "default") == made


async def test_older_clients_and_nameless_bodies_are_understood(client, node1, admin):
    await make_bound(client, node1)
    assert (await evict(admin, apiVersion="policy/v1beta1", metadata=None))[0] == 201


async def test_who_may_not(client, node1, api_server):
    await make_bound(client, node1)
    for token in ("alice-token", "node1-token"):
        async with api_server.session(token) as session:
            status, answer = await evict(session)
            assert (status, 'cannot create resource "pods/eviction"' in answer["message"]) == (403, True)


async def test_discovery_offers_it_where_kubectl_looks(admin):
    async with admin.get("/api/v1") as answer:
        rows = {row["name"]: row for row in (await answer.json())["resources"]}
    assert (rows["pods/eviction"]["group"], rows["pods/eviction"]["version"], rows["pods/eviction"]["kind"]) == ("policy", "v1", "Eviction")
