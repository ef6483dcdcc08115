"""A kopf operator works against Lattice as against Kubernetes: every kind of handler, on kinds of the user's own and on built-in ones.

The operator is operators/story.py, in a process of its own. test_kopf_outages.py takes its server away.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lattice.client.client import Client
from lattice.testing.controlplane import ControlPlane
from lattice.testing.operators import KopfOperator
from lattice.testing.polling import eventually
from lattice.testing.rawobjects import Collection
from lattice.testing.specimens import definition, specimen

STORY = Path(__file__).parent / "operators" / "story.py"
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]
FINALIZER = "story.example.dev/finalizer"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
EVENTS = "/api/v1/namespaces/default/events"


@dataclass(frozen=True)
class Case:
    """A kind that the operator handles."""

    path: str
    manifest: Callable[[str, str], dict[str, Any]]
    field: str
    keeps_status: bool = False


def config_map(group: str, name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "labels": {"story": group}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"replicas": "1"}}


def workload(group: str, name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "labels": {"story": group}}
    return {"apiVersion": "lattice.dev/v1", "kind": "Workload", "metadata": metadata, "spec": {"image": "busybox", "replicas": 1}}


CASES = {
    "custom": Case("/apis/{group}/v1/namespaces/default/specimens", specimen, "spec", keeps_status=True),
    "workload": Case("/apis/lattice.dev/v1/namespaces/default/workloads", workload, "spec"),
    "core": Case("/api/v1/namespaces/default/configmaps", config_map, "data"),
}


@pytest.fixture
async def client(plane: ControlPlane) -> AsyncIterator[Client]:
    client = plane.client_for("admin-token", keep=False)
    yield client
    await client.close()


@pytest.fixture
def group(name: str) -> str:
    """Return an API group, and value of the label "story", that no other test has."""
    return f"{name}.example.dev"


@pytest.fixture
async def run_operator(plane: ControlPlane, tmp_path: Path, group: str) -> AsyncIterator[Callable[..., KopfOperator]]:
    """Start operators that mind the group; they end with the test."""
    async with AsyncExitStack() as stack:

        def run(name: str = "operator", *, env: dict[str, str] | None = None, **options: Any) -> KopfOperator:
            variables = {"STORY_GROUP": group, **(env or {})}
            made = KopfOperator(STORY, plane.kubeconfig, directory=tmp_path, name=name, env=variables, **options)
            stack.push_async_callback(made.stop)
            made.start()
            return made

        yield run


async def objects_of(case: Case, client: Client, group: str) -> Collection:
    """Return the kind's objects, which may need a definition first."""
    if "{group}" in case.path:
        await Collection(client, DEFINITIONS).create(definition(group))
    return Collection(client, case.path.format(group=group))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_every_kind_of_handler_is_told(client: Client, run_operator: Any, group: str, name: str, case: Case) -> None:
    objects = await objects_of(case, client, group)
    operator = run_operator()
    made = await objects.create(case.manifest(group, name))
    [entry] = await operator.told("created", name)
    assert entry["retry"] == 0
    await operator.told("daemon started", name)
    assert (await operator.told("ticked", name, times=3))[0]["name"] == name

    async def settled() -> dict[str, Any]:
        found = await objects.get(name)
        handled = json.loads(found["metadata"]["annotations"]["kopf.zalando.org/last-handled-configuration"])
        assert handled[case.field] == found[case.field]
        assert not [key for key in found["metadata"]["annotations"] if key.startswith("kopf.zalando.org/created")], "progress is cleared"
        return found

    found = await eventually(settled, 10, "kopf to note what it has handled")
    assert found["metadata"]["finalizers"] == [FINALIZER]
    assert found["metadata"]["uid"] == made["metadata"]["uid"]
    if case.keeps_status:
        assert found["status"] == {"phase": "Deploying", "created": {"peers": 1}}
        assert found["metadata"]["generation"] == 1, "neither finalizer nor annotations nor status are a new generation"

    [event] = await eventually(lambda: events_of(client, name, "Told"), 10, "the event")
    assert (event["message"], event["type"], event["involvedObject"]["uid"]) == (f"{name} was created", "Normal", made["metadata"]["uid"])

    old, new = (1, 3) if case.field == "spec" else ("1", "3")
    await objects.patch(name, {case.field: {"replicas": new}})
    [entry] = await operator.told("updated", name)
    assert entry["diff"] == [["change", [case.field, "replicas"], old, new]]
    assert [(e["old"], e["new"]) for e in await operator.told("field", name, times=2)] == [(None, old), (old, new)]

    await objects.delete(name)
    await operator.told("deleted", name)
    await operator.told("daemon stopped", name)
    await objects.gone(name)
    assert len(operator.entries("created", name)) == len(operator.entries("deleted", name)) == 1
    await eventually(lambda: operator.entries("seen", name)[-1]["type"] == "DELETED", 10, "the operator to see it go")


async def events_of(client: Client, name: str, reason: str) -> list[dict[str, Any]]:
    return await Collection(client, EVENTS).list(fieldSelector=f"involvedObject.name={name},reason={reason}")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_a_temporary_error_is_tried_again_and_a_permanent_one_is_not(
    client: Client, run_operator: Any, group: str, name: str, case: Case
) -> None:
    objects = await objects_of(case, client, group)
    operator = run_operator()
    name = f"{name}-flaky-hopeless"
    await objects.create(case.manifest(group, name))
    assert [entry["retry"] for entry in await operator.told("flaky", name, times=3)] == [0, 1, 2]

    async def over() -> bool:
        return "kopf.zalando.org/last-handled-configuration" in (await objects.get(name))["metadata"]["annotations"]

    await eventually(over, 10, "the creation to be handled")
    await objects.patch(name, {"metadata": {"labels": {"again": "yes"}}})
    await operator.told("updated", name)
    assert len(operator.entries("hopeless", name)) == len(operator.entries("created", name)) == 1
    assert len(operator.entries("flaky", name)) == 3
    await objects.delete(name)
    await objects.gone(name)


@pytest.mark.parametrize("way", ["whole", "chunks", "stream"])
async def test_a_restarted_operator_sees_what_changed_meanwhile(client: Client, run_operator: Any, group: str, name: str, way: str) -> None:
    objects = await objects_of(CASES["core"], client, group)
    operator = run_operator(env={"STORY_LIST": way})
    for number in range(3):
        await objects.create(config_map(group, f"{name}-{number}"))
        await operator.told("created", f"{name}-{number}")

    async def handled() -> bool:
        found = await objects.list(labelSelector=f"story={group}")
        return all("kopf.zalando.org/last-handled-configuration" in each["metadata"].get("annotations", {}) for each in found)

    await eventually(handled, 10, "the creations to be handled")
    await operator.kill9()
    await objects.patch(f"{name}-0", {"data": {"replicas": "2"}})
    await objects.delete(f"{name}-1")
    await objects.create(config_map(group, f"{name}-3"))
    operator.start()
    await operator.told("updated", f"{name}-0")
    await operator.told("deleted", f"{name}-1")
    await objects.gone(f"{name}-1")
    await operator.told("created", f"{name}-3")
    assert not operator.entries("updated", f"{name}-2")
    assert len(operator.entries("created", f"{name}-2")) == 1


PEERINGS = Path(__file__).parent / "kopf-peering.yaml"


@pytest.mark.parametrize("scope", ["cluster", "namespace"])
async def test_of_two_operators_the_one_with_priority_works(
    plane: ControlPlane, client: Client, run_operator: Any, group: str, name: str, scope: str
) -> None:
    plane.lattice("apply", "-f", str(PEERINGS))
    path, where = {
        "cluster": ("/apis/kopf.dev/v1/clusterkopfpeerings", ["--all-namespaces"]),
        "namespace": ("/apis/kopf.dev/v1/namespaces/default/kopfpeerings", ["--namespace=default"]),
    }[scope]
    kind = "ClusterKopfPeering" if scope == "cluster" else "KopfPeering"
    peerings = Collection(client, path)
    await peerings.create({"apiVersion": "kopf.dev/v1", "kind": kind, "metadata": {"name": name}})
    objects = await objects_of(CASES["core"], client, group)

    low = run_operator("low", options=[*where, f"--peering={name}", "--priority=1"])
    await objects.create(config_map(group, f"{name}-0"))
    await low.told("created", f"{name}-0")
    high = run_operator("high", options=[*where, f"--peering={name}", "--priority=2"])
    await eventually(lambda: "Pausing operations in favour of" in low.tail(1000), 15, "the lesser operator to pause")
    priorities = sorted(peer["priority"] for peer in (await peerings.get(name))["status"].values())
    assert priorities == [1, 2]

    await objects.create(config_map(group, f"{name}-1"))
    await high.told("created", f"{name}-1")
    assert not low.entries("created", f"{name}-1")
    await high.stop()
    await eventually(lambda: "Resuming operations" in low.tail(1000), 15, "the lesser operator to resume")
    await objects.create(config_map(group, f"{name}-2"))
    await low.told("created", f"{name}-2")
    assert not low.entries("created", f"{name}-1")
    assert not high.entries("created", f"{name}-2")
    await low.stop()
    assert not (await peerings.get(name)).get("status")
