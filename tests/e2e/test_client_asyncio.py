"""kubernetes-asyncio, the official client's twin for asyncio: typed and custom objects, watch, the dynamic client."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from kubernetes_asyncio import client, config, dynamic, watch

from lattice.testing.controlplane import ControlPlane
from lattice.testing.polling import eventually
from lattice.testing.specimens import definition, specimen

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]
NS = "default"


@pytest.fixture
async def api(plane: ControlPlane) -> AsyncIterator[client.ApiClient]:
    async with await config.new_client_from_config(str(plane.kubeconfig)) as api:
        yield api


async def test_a_typed_object_lives_its_life(api: client.ApiClient, name: str) -> None:
    core = client.CoreV1Api(api)
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"story": name}), data={"a": "1"})
    await core.create_namespaced_config_map(NS, body)
    patched = await core.patch_namespaced_config_map(name, NS, {"data": {"b": "2"}})
    assert patched.data == {"a": "1", "b": "2"}
    patched.data = {"c": "3"}
    assert (await core.replace_namespaced_config_map(name, NS, patched)).data == {"c": "3"}
    with pytest.raises(client.ApiException) as stale:
        await core.replace_namespaced_config_map(name, NS, patched)
    assert stale.value.status == 409
    found = await core.list_namespaced_config_map(NS, label_selector=f"story={name}")
    assert [each.metadata.name for each in found.items] == [name]
    await core.delete_namespaced_config_map(name, NS)
    with pytest.raises(client.ApiException) as absent:
        await core.read_namespaced_config_map(name, NS)
    assert absent.value.status == 404


async def test_a_watch_shows_what_happens_while_it_runs(api: client.ApiClient, name: str) -> None:
    core = client.CoreV1Api(api)
    start = await core.list_namespaced_config_map(NS)

    async def follow() -> list[str]:
        seen: list[str] = []
        async with watch.Watch().stream(
            core.list_namespaced_config_map,
            NS,
            field_selector=f"metadata.name={name}",
            resource_version=start.metadata.resource_version,
            timeout_seconds=20,
        ) as events:
            async for event in events:
                seen.append(event["type"])
                if event["type"] == "DELETED":
                    break
        return seen

    async with asyncio.TaskGroup() as group:
        following = group.create_task(follow())
        await core.create_namespaced_config_map(NS, client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name)))
        await core.patch_namespaced_config_map(name, NS, {"data": {"n": "1"}})
        await core.delete_namespaced_config_map(name, NS)
    assert following.result() == ["ADDED", "MODIFIED", "DELETED"]


async def test_a_kind_of_the_users_own(api: client.ApiClient, name: str) -> None:
    group = f"{name}.example.dev"
    definitions = client.ApiextensionsV1Api(api)
    await definitions.create_custom_resource_definition(definition(group))
    custom = client.CustomObjectsApi(api)
    made = await custom.create_namespaced_custom_object(group, "v1", NS, "specimens", specimen(group, name))
    assert made["spec"]["replicas"] == 1
    patched = await custom.patch_namespaced_custom_object(
        group, "v1", NS, "specimens", name, {"spec": {"replicas": 2}}, _content_type="application/merge-patch+json"
    )
    assert patched["metadata"]["generation"] == 2
    found = await custom.list_namespaced_custom_object(group, "v1", NS, "specimens")
    assert [each["metadata"]["name"] for each in found["items"]] == [name]
    await definitions.delete_custom_resource_definition(f"specimens.{group}")

    async def gone() -> bool:
        try:
            await custom.get_namespaced_custom_object(group, "v1", NS, "specimens", name)
        except client.ApiException as error:
            return error.status == 404
        return False

    await eventually(gone, 10, "the kind to be gone")


async def test_the_dynamic_client_applies(api: client.ApiClient, name: str) -> None:
    dyn = await dynamic.DynamicClient(api)
    maps = await dyn.resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": NS}, "data": {"a": "1"}}
    made = await dyn.server_side_apply(maps, body=body, field_manager="gitops")
    again = await dyn.server_side_apply(maps, body=body, field_manager="gitops")
    assert again.kind == "ConfigMap"
    assert again.metadata.resourceVersion == made.metadata.resourceVersion
    conflict = await dyn.server_side_apply(maps, body={**body, "data": {"a": "2"}}, field_manager="person")
    assert (conflict.kind, conflict.code, conflict.reason) == ("Status", 409, "Conflict")  # this client returns it, it does not raise
    forced = await dyn.server_side_apply(maps, body={**body, "data": {"a": "2"}}, field_manager="person", force_conflicts=True)
    assert forced.data.to_dict() == {"a": "2"}
    await dyn.delete(maps, name=name, namespace=NS)
