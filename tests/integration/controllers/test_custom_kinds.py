"""Kinds that users add: garbage collection across them, namespaces with them, and their own end. A real API server, real controllers."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from lattice.api import configmap, errors, meta, namespace, scheme
from lattice.api.customresource import CustomResourceDefinition
from lattice.client.client import object_path
from lattice.machinery.clock import SystemClock
from lattice.testing.looplag import LoopLag
from lattice.testing.polling import eventually

SPECIMEN = scheme.custom_kind(group="example.dev", version="v1", kind="Specimen", plural="specimens", namespaced=True)
CRD = "specimens.example.dev"
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": CRD},
    "spec": {
        "group": "example.dev",
        "scope": "Namespaced",
        "names": {"kind": "Specimen", "plural": "specimens", "singular": "specimen", "listKind": "SpecimenList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


async def add_kind(cluster: Any) -> None:
    await cluster.client.send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body=orjson.dumps(DEFINITION))


async def add_specimen(
    cluster: Any, name: str, *, within: str = "default", owner: meta.Object | None = None, finalizers: tuple[str, ...] = ()
) -> meta.Object:
    owners = () if owner is None else (owner.owner_reference(),)
    metadata = meta.ObjectMeta(name=name, namespace=within, owner_references=owners, finalizers=finalizers)
    return await cluster.client.create(SPECIMEN(metadata=metadata))


async def add_config(cluster: Any, name: str, owner: meta.Object | meta.OwnerReference | None = None) -> configmap.ConfigMap:
    reference = owner.owner_reference() if isinstance(owner, meta.Object) else owner
    metadata = meta.ObjectMeta(name=name, namespace="default", owner_references=() if reference is None else (reference,))
    return await cluster.client.create(configmap.ConfigMap(metadata=metadata))


async def exists(cluster: Any, kind: type[meta.Object], name: str, within: str | None = "default") -> bool:
    try:
        await cluster.client.get(kind, name, within)
    except errors.NotFoundError:
        return False
    return True


async def wait_gone(cluster: Any, kind: type[meta.Object], name: str, within: str | None = "default") -> None:
    async def gone() -> bool:
        return not await exists(cluster, kind, name, within)

    await eventually(gone, what=f"the {kind.KIND} {name} to go")


async def settled(cluster: Any) -> None:
    """Let the controllers see all that has happened: an object that they must collect is collected meanwhile."""
    owner = await add_config(cluster, "probe-owner")
    await add_config(cluster, "probe", owner)
    await cluster.client.delete(configmap.ConfigMap, "probe-owner", "default", propagation_policy="Background")
    await wait_gone(cluster, configmap.ConfigMap, "probe")


def informer_tasks() -> list[str]:
    return sorted(task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith(f"informer.{CRD}"))


async def test_built_in_objects_go_with_a_custom_owner(cluster: Any) -> None:
    async with cluster.controllers():
        await add_kind(cluster)
        owner = await add_specimen(cluster, "web")
        await add_config(cluster, "owned", owner)
        await settled(cluster)
        assert await exists(cluster, configmap.ConfigMap, "owned")
        await cluster.client.delete(SPECIMEN, "web", "default", propagation_policy="Background")
        await wait_gone(cluster, configmap.ConfigMap, "owned")


async def test_custom_objects_go_with_a_built_in_owner(cluster: Any) -> None:
    async with cluster.controllers():
        await add_kind(cluster)
        owner = await add_config(cluster, "owner")
        await add_specimen(cluster, "owned", owner=owner)
        await cluster.client.delete(configmap.ConfigMap, "owner", "default", propagation_policy="Background")
        await wait_gone(cluster, SPECIMEN, "owned")


async def test_what_was_left_behind_while_nobody_looked_goes_at_the_start(cluster: Any) -> None:
    await add_kind(cluster)
    owner = await add_specimen(cluster, "web")
    await add_config(cluster, "owned", owner)
    await cluster.client.delete(SPECIMEN, "web", "default", propagation_policy="Background")
    async with cluster.controllers():
        await wait_gone(cluster, configmap.ConfigMap, "owned")


async def test_foreground_deletion_waits_for_custom_dependents(cluster: Any) -> None:
    async with cluster.controllers():
        await add_kind(cluster)
        owner = await add_config(cluster, "owner")
        await add_specimen(cluster, "owned", owner=owner, finalizers=("example.dev/x",))
        await cluster.client.delete(configmap.ConfigMap, "owner", "default", propagation_policy="Foreground")

        async def going() -> bool:
            return (await cluster.client.get(SPECIMEN, "owned", "default")).metadata.deletion_timestamp is not None

        await eventually(going, what="the dependent to be deleted")
        await settled(cluster)
        assert await exists(cluster, configmap.ConfigMap, "owner")
        await cluster.client.patch(SPECIMEN, "owned", "default", {"metadata": {"finalizers": None}})
        await wait_gone(cluster, configmap.ConfigMap, "owner")
        await wait_gone(cluster, SPECIMEN, "owned")


async def test_orphaned_dependents_stay(cluster: Any) -> None:
    async with cluster.controllers():
        await add_kind(cluster)
        owner = await add_specimen(cluster, "web")
        await add_config(cluster, "owned", owner)
        await cluster.client.delete(SPECIMEN, "web", "default", propagation_policy="Orphan")
        await wait_gone(cluster, SPECIMEN, "web")
        await settled(cluster)
        assert (await cluster.client.get(configmap.ConfigMap, "owned", "default")).metadata.owner_references == ()


async def test_owner_of_a_kind_that_is_not_served_is_unknown_and_not_gone(cluster: Any) -> None:
    async with cluster.controllers():
        reference = meta.OwnerReference(api_version="example.dev/v1", kind="Specimen", name="web", uid=meta.Uid("some-uid"))
        await add_config(cluster, "owned", reference)
        await settled(cluster)
        assert await exists(cluster, configmap.ConfigMap, "owned")


async def test_deleted_definition_takes_its_objects_and_what_they_own_along(cluster: Any) -> None:
    async with cluster.controllers():
        await add_kind(cluster)
        owner = await add_specimen(cluster, "web")
        await add_config(cluster, "owned", owner)
        await add_specimen(cluster, "kept", finalizers=("example.dev/x",))
        await settled(cluster)
        await cluster.client.delete(CustomResourceDefinition, CRD)
        await wait_gone(cluster, SPECIMEN, "web")

        async def says_why() -> bool:
            found = orjson.loads(await cluster.client.send("GET", object_path(CustomResourceDefinition, CRD)))
            by_type = {condition["type"]: condition for condition in found["status"]["conditions"]}
            assert by_type["Terminating"]["reason"] == "InstanceDeletionInProgress"
            assert "example.dev/x in 1 resource instances" in by_type["Terminating"]["message"]
            return True

        await eventually(says_why, what="the definition to say what it waits for")
        with pytest.raises(errors.ApiError):
            await add_specimen(cluster, "late")
        await cluster.client.patch(SPECIMEN, "kept", "default", {"metadata": {"finalizers": None}})
        await wait_gone(cluster, CustomResourceDefinition, CRD, None)

        async def unserved() -> bool:
            try:
                await cluster.client.list(SPECIMEN)
            except errors.NotFoundError:
                return True
            return False

        await eventually(unserved, what="the kind to be served no longer")
        await wait_gone(cluster, configmap.ConfigMap, "owned")
        await eventually(lambda: not informer_tasks(), what="the informer to end")


async def test_definition_whose_names_are_anothers_goes_at_once(cluster: Any) -> None:
    async with cluster.controllers():
        await add_kind(cluster)
        await add_specimen(cluster, "web")
        rival = {
            **DEFINITION,
            "metadata": {"name": "rivals.example.dev"},
            "spec": {**DEFINITION["spec"], "names": {"kind": "Specimen", "plural": "rivals"}},
        }
        await cluster.client.send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body=orjson.dumps(rival))
        await cluster.client.delete(CustomResourceDefinition, "rivals.example.dev")
        await wait_gone(cluster, CustomResourceDefinition, "rivals.example.dev", None)
        assert await exists(cluster, SPECIMEN, "web")


async def test_kind_that_comes_back_starts_empty(cluster: Any) -> None:
    async with cluster.controllers():
        for _ in range(5):
            await add_kind(cluster)
            owner = await add_specimen(cluster, "web")
            await add_config(cluster, "owned", owner)
            await eventually(lambda: informer_tasks() == [f"informer.{CRD}"], what="one informer for the kind")
            await cluster.client.delete(CustomResourceDefinition, CRD)
            await wait_gone(cluster, CustomResourceDefinition, CRD, None)
            await wait_gone(cluster, configmap.ConfigMap, "owned")
        await add_kind(cluster)
        assert (await cluster.client.list(SPECIMEN)).items == ()
        await eventually(lambda: informer_tasks() == [f"informer.{CRD}"], what="one informer for the kind")


async def test_namespace_is_emptied_of_custom_objects(cluster: Any) -> None:
    async with cluster.controllers():
        await cluster.client.create(namespace.Namespace(metadata=meta.ObjectMeta(name="team")))
        await add_kind(cluster)
        await add_specimen(cluster, "web", within="team")
        await add_specimen(cluster, "kept", within="team", finalizers=("example.dev/x",))
        await cluster.client.delete(namespace.Namespace, "team")

        async def says_why() -> bool:
            found = await cluster.client.get(namespace.Namespace, "team")
            by_type = {condition.type: condition.message for condition in found.status.conditions}
            assert by_type["NamespaceContentRemaining"] == "Some resources are remaining: specimens.example.dev has 1 resource instances"
            assert "example.dev/x in 1 resource instances" in by_type["NamespaceFinalizersRemaining"]
            return True

        await eventually(says_why, what="the namespace to say what it waits for")
        await cluster.client.patch(SPECIMEN, "kept", "team", {"metadata": {"finalizers": None}})
        await wait_gone(cluster, namespace.Namespace, "team", None)


async def test_empty_namespace_goes_quickly(cluster: Any) -> None:
    clock = SystemClock()
    async with cluster.controllers():
        await settled(cluster)
        await cluster.client.create(namespace.Namespace(metadata=meta.ObjectMeta(name="team")))
        before_s = clock.monotonic()
        await cluster.client.delete(namespace.Namespace, "team")
        await wait_gone(cluster, namespace.Namespace, "team", None)
        assert clock.monotonic() - before_s < 2.0


async def test_thousands_of_owners_hold_up_nobody(cluster: Any) -> None:
    """Each is a read, and a read in the process waits for nothing: one object once held the event loop for seconds."""
    gone = tuple(meta.OwnerReference(api_version="v1", kind="ConfigMap", name=f"n{number}", uid=f"u{number}") for number in range(3_000))
    async with cluster.controllers(), LoopLag() as lag:
        metadata = meta.ObjectMeta(name="owned", namespace="default", owner_references=gone)
        await cluster.client.create(configmap.ConfigMap(metadata=metadata))
        await wait_gone(cluster, configmap.ConfigMap, "owned")
    assert lag.longest_s < 0.3
