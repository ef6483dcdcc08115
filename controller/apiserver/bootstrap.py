"""What must be in the store before the first request: the cluster's id and epoch, the system's namespaces, the StorageClass.

Idempotent and safe beside other servers: everything is create-if-absent.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

import orjson

from controller.apiserver import definitions, metadata
from controller.apiserver.compiled import codec_of
from controller.apiserver.resources import DEFINITIONS, META_CLUSTER, ResourceTable
from controller.store import base
from lattice.api import meta, names, namespace, storage
from lattice.machinery.clock import Clock

_TRIES: Final = 8


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which cluster this is. ``epoch`` rises with every restore."""

    id: str
    epoch: int


def parse_cluster(value: bytes) -> Cluster:
    """Return the stored identity."""
    data = orjson.loads(value)
    return Cluster(str(data["id"]), int(data["epoch"]))


async def ensure_cluster(store: base.Store, rng: random.Random) -> Cluster:
    """Return the cluster's identity, making one in an empty store."""
    record = await store.get(META_CLUSTER)
    if record is None:
        value = orjson.dumps({"id": metadata.new_uid(rng), "epoch": 1})
        result = await store.txn([base.Put(META_CLUSTER, value, base.NO_REVISION)])
        if result.committed:
            return parse_cluster(value)
        record = result.previous[0]
        assert record is not None
    return parse_cluster(record.value)


async def ensure_definitions(store: base.Store, table: ResourceTable, *, clock: Clock, rng: random.Random) -> None:
    """Make the stored definitions of the ``lattice.dev`` kinds those of this program."""
    resource = table.find("apiextensions.k8s.io", "v1", DEFINITIONS)
    assert resource is not None
    for wanted in definitions.own_definitions():
        key = resource.key("", wanted["metadata"]["name"])
        for _ in range(_TRIES):
            record = await store.get(key)
            if record is None:
                data = {**wanted, "metadata": dict(wanted["metadata"])}
                metadata.fill_new(data["metadata"], now=clock.now(), rng=rng)
                data["metadata"]["generation"] = 1
            else:
                data = orjson.loads(record.value)
                if data["spec"] == wanted["spec"]:
                    break
                data["metadata"]["generation"] = int(data["metadata"].get("generation", 1)) + 1
                data["spec"] = wanted["spec"]
            data["status"] = {
                **definitions.accept_names(data, (), clock.now()),
                "storedVersions": [version["name"] for version in wanted["spec"]["versions"]],
            }
            expected = base.NO_REVISION if record is None else record.mod_revision
            result = await store.txn([base.Put(key, codec_of(resource).encode(data), expected)])
            if result.committed:
                break


async def ensure_objects(store: base.Store, table: ResourceTable, *, clock: Clock, rng: random.Random) -> None:
    """Create the namespaces and the StorageClass that every cluster has."""
    objects: list[meta.Object] = [
        namespace.Namespace.model_validate(
            {
                "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
                "spec": {"finalizers": ["kubernetes"]},
                "status": {"phase": "Active"},
            }
        )
        for name in names.BOOTSTRAP_NAMESPACES
    ]
    objects.append(
        storage.StorageClass.model_validate(
            {
                "metadata": {
                    "name": names.STORAGE_CLASS_LOCAL,
                    "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
                },
                "provisioner": names.VOLUME_DRIVER,
                "reclaimPolicy": "Retain",
                "volumeBindingMode": "WaitForFirstConsumer",
                "allowVolumeExpansion": False,
            }
        )
    )
    for obj in objects:
        resource = table.of(type(obj))
        key = resource.key("", obj.name)
        if await store.get(key) is not None:
            continue
        data = obj.to_dict()
        metadata.fill_new(data["metadata"], now=clock.now(), rng=rng)
        if resource.counts_generations:
            data["metadata"]["generation"] = 1
        await store.txn([base.Put(key, codec_of(resource).encode(data), base.NO_REVISION)])
