"""kr8s, the client that reads like Python: objects that patch, label, scale, watch and wait for themselves."""

import asyncio
from collections.abc import AsyncIterator

import kr8s
import kr8s.asyncio
import pytest
from kr8s.asyncio.objects import ConfigMap, Pod, new_class, object_from_spec

from lattice.testing.controlplane import ControlPlane
from lattice.testing.specimens import definition, specimen

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]
NS = "default"


@pytest.fixture
async def api(plane: ControlPlane) -> AsyncIterator[kr8s.asyncio.Api]:
    api = await kr8s.asyncio.api(kubeconfig=str(plane.kubeconfig))
    yield api
    await api._session.aclose()  # it has no way of its own to close its connections


async def config_map(api: kr8s.asyncio.Api, name: str, **data: str) -> ConfigMap:
    made = await ConfigMap({"metadata": {"name": name, "namespace": NS}, "data": data}, api=api)
    await made.create()
    return made


async def test_an_object_lives_its_life(api: kr8s.asyncio.Api, name: str) -> None:
    made = await config_map(api, name, a="1")
    assert made.metadata.uid
    await made.patch({"data": {"b": "2"}})
    assert made.data == {"a": "1", "b": "2"}
    await made.patch([{"op": "remove", "path": "/data/a"}], type="json")
    await made.label(story=name)
    await made.annotate({"note": "x"})
    [found] = [each async for each in api.get("configmaps", namespace=NS, label_selector={"story": name})]
    assert (found.name, found.raw["data"], found.annotations) == (name, {"b": "2"}, {"note": "x"})
    await made.remove_label("story")
    assert not [each async for each in api.get("configmaps", namespace=NS, label_selector={"story": name})]

    again = await ConfigMap.get(name, namespace=NS, api=api)
    assert again == made
    assert await made.exists()
    await made.delete()
    assert not await made.exists()
    with pytest.raises(kr8s.NotFoundError):
        await made.refresh()


async def test_a_watch_shows_what_happens_while_it_runs(api: kr8s.asyncio.Api, name: str) -> None:
    made = await config_map(api, name, n="0")
    watching = asyncio.Event()

    async def follow() -> list[tuple[str, str]]:
        seen = []
        async for event, found in api.watch("configmaps", namespace=NS, field_selector={"metadata.name": name}):
            watching.set()
            seen.append((event, found.raw["data"]["n"]))
            if event == "DELETED":
                break
        return seen

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        following = group.create_task(follow())
        await watching.wait()
        await made.patch({"data": {"n": "1"}})
        await made.delete()
    assert following.result() == [("ADDED", "0"), ("MODIFIED", "1"), ("DELETED", "1")]


async def test_waiting_for_a_condition_and_for_the_end(api: kr8s.asyncio.Api, name: str) -> None:
    spec = {"containers": [{"name": "main", "image": "busybox"}], "nodeSelector": {"example.dev/none": "true"}}
    pod = await Pod({"metadata": {"name": name, "namespace": NS}, "spec": spec}, api=api)
    await pod.create()
    await pod.wait("condition=PodScheduled=False", timeout=15)
    with pytest.raises(TimeoutError):
        await pod.wait("condition=Ready", timeout=1)
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        group.create_task(pod.wait("delete"))
        await pod.delete()


async def test_a_kind_of_the_users_own(api: kr8s.asyncio.Api, name: str) -> None:
    group = f"{name}.example.dev"
    crd = await object_from_spec(definition(group), api=api)
    await crd.create()
    await crd.wait("condition=Established", timeout=10)
    specimens = new_class(kind="Specimen", version=f"{group}/v1", namespaced=True, scalable=True)
    made = await specimens(specimen(group, name), api=api)
    await made.create()
    assert made.spec.replicas == 1
    await made.scale(3)
    assert made.replicas == 3
    await made.patch({"status": {"phase": "Running"}}, subresource="status")
    await made.refresh()
    assert (made.status.phase, made.metadata.generation) == ("Running", 2)
    await made.wait("jsonpath='{.status.phase}'=Running", timeout=10)
    [found] = [each async for each in api.get(f"specimens.{group}", namespace=NS)]
    assert (found.kind, found.name) == ("Specimen", name)
    await crd.delete()
    async with asyncio.timeout(10):
        await made.wait("delete")
        await crd.wait("delete")


async def test_who_am_i_and_what_is_there(api: kr8s.asyncio.Api) -> None:
    assert await api.whoami() == "admin"
    served = {(each["version"], each["name"]) for each in await api.api_resources()}
    assert {("v1", "configmaps"), ("lattice.dev/v1", "workloads"), ("coordination.k8s.io/v1", "leases")} <= served
    assert int((await api.version())["minor"].rstrip("+")) >= 30
