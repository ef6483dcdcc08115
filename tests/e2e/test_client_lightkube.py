"""lightkube: typed and generic resources, server-side apply with a field manager, watch, wait."""

import asyncio
from collections.abc import Iterator

import httpx2
import pytest
from lightkube import ApiError, AsyncClient, Client, KubeConfig
from lightkube.generic_resource import create_namespaced_resource, create_resources_from_crd
from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.core_v1 import ConfigMap, Namespace, Pod
from lightkube.types import CascadeType, PatchType

from lattice.testing.controlplane import ControlPlane
from lattice.testing.polling import eventually
from lattice.testing.specimens import definition, specimen

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]
NS = "default"


@pytest.fixture
def api(plane: ControlPlane) -> Iterator[Client]:
    with Client(KubeConfig.from_file(plane.kubeconfig), namespace=NS, field_manager="story") as api:
        yield api


def config_map(name: str, *, namespace: str = NS, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace=namespace), data=data)


def test_an_object_lives_its_life(api: Client, name: str) -> None:
    made = api.create(config_map(name, a="1"))
    assert made.metadata.managedFields[0].manager == "story"
    patched = api.patch(ConfigMap, name, {"data": {"b": "2"}})
    assert patched.data == {"a": "1", "b": "2"}
    patched = api.patch(ConfigMap, name, {"data": {"a": None}}, patch_type=PatchType.MERGE)
    patched = api.patch(ConfigMap, name, [{"op": "add", "path": "/data/c", "value": "3"}], patch_type=PatchType.JSON)
    assert patched.data == {"b": "2", "c": "3"}
    api.patch(ConfigMap, name, {"metadata": {"labels": {"story": name}}})
    assert [each.metadata.name for each in api.list(ConfigMap, labels={"story": name})] == [name]
    assert not list(api.list(ConfigMap, namespace="*", labels={"story": "another"}))
    with pytest.raises(ApiError) as stale:
        api.replace(made)
    assert (stale.value.status.code, stale.value.status.reason) == (409, "Conflict")
    api.delete(ConfigMap, name, cascade=CascadeType.BACKGROUND)
    with pytest.raises(ApiError) as absent:
        api.get(ConfigMap, name)
    assert absent.value.status.code == 404


def test_apply_takes_and_gives_back(api: Client, name: str) -> None:
    made = api.apply(config_map(name, a="1", b="1"))
    assert api.apply(config_map(name, a="1", b="1")).metadata.resourceVersion == made.metadata.resourceVersion
    with pytest.raises(ApiError) as conflict:
        api.apply(config_map(name, b="2"), field_manager="person")
    assert conflict.value.status.details.causes[0].field == ".data.b"
    api.apply(config_map(name, b="2"), field_manager="person", force=True)
    assert api.apply(config_map(name)).data == {"b": "2"}


def test_lists_come_in_chunks(api: Client, name: str) -> None:
    api.create(Namespace(metadata=ObjectMeta(name=name)))
    for number in range(5):
        api.create(config_map(f"c{number}", namespace=name))
    assert [each.metadata.name for each in api.list(ConfigMap, namespace=name, chunk_size=2)] == [f"c{n}" for n in range(5)]
    api.deletecollection(ConfigMap, namespace=name)
    assert not list(api.list(ConfigMap, namespace=name))
    api.delete(Namespace, name)


def test_a_watch_resumes_where_it_stopped(api: Client, name: str) -> None:
    nothing = api.list(ConfigMap, fields={"metadata.name": name})
    assert not list(nothing)
    api.create(config_map(name, n="0"))
    api.patch(ConfigMap, name, {"data": {"n": "1"}})
    api.delete(ConfigMap, name)
    seen = []
    for event, found in api.watch(ConfigMap, fields={"metadata.name": name}, resource_version=nothing.resourceVersion, server_timeout=10):
        seen.append((event, found.data["n"]))
        if event == "DELETED":
            break
    assert seen == [("ADDED", "0"), ("MODIFIED", "1"), ("DELETED", "1")]


async def test_waiting_for_a_condition(plane: ControlPlane, name: str) -> None:
    api = AsyncClient(KubeConfig.from_file(plane.kubeconfig), namespace=NS)
    spec = PodSpec(containers=[Container(name="main", image="busybox")])
    async with asyncio.timeout(20):
        await api.create(Namespace(metadata=ObjectMeta(name=name)))
        await api.create(Pod(metadata=ObjectMeta(name=name), spec=spec))
        waiting = asyncio.ensure_future(api.wait(Pod, name, for_conditions=["Told"]))
        conditions = [{"type": "Told", "status": "True"}]
        await api.patch(Pod.Status, name, {"status": {"conditions": conditions}})
        found = await waiting
        assert "Told" in {each.type for each in found.status.conditions}
        await api.delete(Pod, name, grace_period=0)
        await api.delete(Namespace, name)
    await api.close()


async def test_a_kind_of_the_users_own(api: Client, name: str) -> None:
    group = f"{name}.example.dev"
    crd = api.create(CustomResourceDefinition.from_dict(definition(group)))
    create_resources_from_crd(crd)
    specimens = create_namespaced_resource(group, "v1", "Specimen", "specimens")
    made = api.create(specimens(specimen(group, name)))
    assert made.spec["replicas"] == 1
    applied = api.apply(specimens(specimen(group, name, image="redis", replicas=2)), force=True)
    assert (applied.spec, applied.metadata.generation) == ({"image": "redis", "replicas": 2}, 2)
    patched = api.patch(specimens.Status, name, {"status": {"phase": "Running"}}, patch_type=PatchType.MERGE)
    assert patched.status == {"phase": "Running"}
    scale = api.get(specimens.Scale, name)
    assert scale.spec.replicas == 2
    scale.spec.replicas = 5
    api.replace(scale, name)
    assert [each.spec["replicas"] for each in api.list(specimens)] == [5]
    api.delete(CustomResourceDefinition, f"specimens.{group}")

    def gone() -> bool:
        try:
            api.get(specimens, name)
        except httpx2.HTTPStatusError as error:  # the path is unknown then, which is no Status and so no ApiError
            return error.response.status_code == 404
        return False

    await eventually(gone, 10, "the kind to be gone")
