"""``metrics.k8s.io`` over a real API server and real control lines: who is asked, what is believed, and when the group is announced."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from lattice.api import errors, meta, node, pod
from lattice.testing.polling import eventually
from lattice.testing.rawobjects import Collection

ROOT = "/apis/metrics.k8s.io/v1beta1"
USED = {"cpuNanocores": 250_000_000, "memoryBytes": 64 * 1024**2, "windowSeconds": 12.5}


class Agents:
    """Stands where the control lines are: what each node answers, and how often it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self.delay_s = 0.0

    async def ask(self, name: str, question: Mapping[str, Any], *, timeout_s: float = 10) -> Any:
        assert question == {"kind": "usage"}
        self.asked.append(name)
        await asyncio.sleep(self.delay_s)  # noqa: TID251 - lets others in
        if name not in self.answers:
            raise errors.ServiceUnavailableError(f"the node {name} has no line")
        return self.answers[name]


@pytest.fixture
def agents(api_server) -> Agents:
    made = Agents()
    api_server.api._usage._lines = made
    return made


@pytest.fixture
async def bound(client, agents):
    """A Pod ``web`` on ``n1``, which says what it uses."""
    await client.create(node.Node(metadata=meta.ObjectMeta(name="n1", labels={"zone": "a"})))
    made = await client.create(
        pod.Pod.model_validate(
            {
                "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
                "spec": {"containers": [{"name": "main", "image": "i"}]},
            }
        )
    )
    await client.bind("web", "default", "n1", uid=made.uid)
    agents.answers["n1"] = {
        "at": "2026-01-01T00:00:00+00:00",
        "node": USED,
        "pods": [{"namespace": "default", "name": "web", "uid": made.uid, "containers": [{"name": "main", **USED}]}],
    }
    return made


async def groups(client) -> list[str]:
    return [group["name"] for group in orjson.loads(await client.send("GET", "/apis"))["groups"]]


async def test_the_group_is_announced_while_there_is_a_node(client, agents) -> None:
    assert "metrics.k8s.io" not in await groups(client)
    with pytest.raises(errors.NotFoundError):
        await client.send("GET", f"{ROOT}/nodes")
    await client.create(node.Node(metadata=meta.ObjectMeta(name="n1")))

    async def announced() -> bool:
        return "metrics.k8s.io" in await groups(client)

    await eventually(announced, 10, "the group")
    assert await Collection(client, f"{ROOT}/nodes").list() == []  # it does not answer
    await client.delete(node.Node, "n1")

    async def gone() -> bool:
        return not await announced()

    await eventually(gone, 10, "the group to be gone")


async def test_usage_has_metrics_servers_shape(client, bound) -> None:
    (found,) = await Collection(client, f"{ROOT}/nodes").list()
    assert found == {
        "kind": "NodeMetrics",
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {"name": "n1", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"zone": "a"}},
        "timestamp": "2026-01-01T00:00:00Z",
        "window": "12.5s",
        "usage": {"cpu": "250000000n", "memory": "65536Ki"},
    }
    one = await Collection(client, f"{ROOT}/namespaces/default/pods").get("web")
    assert one["metadata"] == {
        "name": "web",
        "namespace": "default",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"app": "web"},
    }
    assert one["containers"] == [{"name": "main", "usage": {"cpu": "250000000n", "memory": "65536Ki"}}]
    for path in (f"{ROOT}/pods", f"{ROOT}/namespaces/default/pods"):
        assert await Collection(client, path).list() == [one]
    assert await Collection(client, f"{ROOT}/namespaces/kube-system/pods").list() == []
    assert await Collection(client, f"{ROOT}/pods").list(labelSelector="app=web") == [one]
    assert await Collection(client, f"{ROOT}/pods").list(labelSelector="app=db") == []


async def test_what_is_not_known_is_not_found_and_nothing_can_be_written(client, bound) -> None:
    with pytest.raises(errors.NotFoundError, match=r'nodemetrics\.metrics\.k8s\.io "n2" not found'):
        await Collection(client, f"{ROOT}/nodes").get("n2")
    with pytest.raises(errors.NotFoundError, match=r'podmetrics\.metrics\.k8s\.io "default/db" not found'):
        await Collection(client, f"{ROOT}/namespaces/default/pods").get("db")
    with pytest.raises(errors.MethodNotAllowedError):
        await client.send("DELETE", f"{ROOT}/nodes/n1")


async def test_only_users_who_may_read_it_do(api_server, bound) -> None:
    for token in ("alice-token", "node1-token"):
        with pytest.raises(errors.ForbiddenError):
            await api_server.client(token).send("GET", f"{ROOT}/nodes")


async def test_many_who_ask_ask_a_node_once(client, agents, bound) -> None:
    agents.delay_s = 0.05
    path = f"{ROOT}/namespaces/default/pods/web"
    await asyncio.gather(*(client.send("GET", path) for _ in range(20)))
    assert agents.asked == ["n1"]


async def test_a_node_that_failed_is_asked_again_at_once(client, agents, bound) -> None:
    answer = agents.answers.pop("n1")
    assert await Collection(client, f"{ROOT}/nodes").list() == []
    agents.answers["n1"] = answer
    assert len(await Collection(client, f"{ROOT}/nodes").list()) == 1


async def test_a_node_can_speak_for_its_own_pods_and_their_containers_only(client, agents, bound) -> None:
    await client.create(node.Node(metadata=meta.ObjectMeta(name="n2")))
    stolen = {**agents.answers["n1"]}
    agents.answers["n1"] = {**stolen, "pods": [{**stolen["pods"][0], "containers": [{"name": "other", **USED}]}]}
    agents.answers["n2"] = stolen
    assert await Collection(client, f"{ROOT}/pods").list() == []
    assert [found["metadata"]["name"] for found in await Collection(client, f"{ROOT}/nodes").list()] == ["n1", "n2"]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "text",
        [],
        {},
        {"at": "yesterday", "node": USED, "pods": []},
        {"at": "2026-01-01T00:00:00", "node": USED, "pods": []},
        {"at": "2026-01-01T00:00:00Z", "node": {**USED, "cpuNanocores": -1}, "pods": "many"},
        {"at": "2026-01-01T00:00:00Z", "node": {**USED, "memoryBytes": 2**80}, "pods": [7, {"uid": 8}, {"uid": "u", "containers": 9}]},
        {"at": "2026-01-01T00:00:00Z", "node": {**USED, "windowSeconds": True}, "pods": [{"uid": "u", "containers": [{"name": 3}]}]},
    ],
)
async def test_an_answer_of_the_wrong_shape_is_no_answer(client, agents, bound, answer: Any) -> None:
    agents.answers["n1"] = answer
    assert await Collection(client, f"{ROOT}/nodes").list() == []
    assert await Collection(client, f"{ROOT}/pods").list() == []


async def test_a_table_has_the_figures(api_server, bound) -> None:
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    async with api_server.session() as session, session.get(f"{ROOT}/nodes", headers=accept) as answer:
        table = await answer.json()
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "CPU", "Memory", "Window"]
    assert [row["cells"] for row in table["rows"]] == [["n1", "250000000n", "65536Ki", "12.5s"]]
