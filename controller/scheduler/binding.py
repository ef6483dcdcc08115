"""Carries out a placement: makes the volume, binds the claim, binds the Pod. In this order, so that a crash loses nothing.

Called by the scheduler's shell, many at once. Each step is idempotent and checked: a volume is named after its claim's uid, a claim is
bound on the condition that it has not changed, a Pod on the condition of its uid. After a crash between two steps the next round finds
the volume by its claim's uid, and the plan goes on with the same node.

Raises what the API answers; the shell takes the placement back and tries again later.
"""

from __future__ import annotations

import asyncio

from controller.scheduler.model import ClaimInfo
from controller.scheduler.plan import Placement
from lattice.api import errors, event, meta, names, selectors, storage
from lattice.client.client import Client


async def bind(client: Client, placement: Placement) -> None:
    """Make the placement true.

    Raises:
        errors.ConflictError: the Pod or a claim has changed.
        errors.ApiError: anything else that the API answered.
    """
    for claim in placement.bind_claims:
        await bind_claim(client, claim, placement.node_name)
    pod = placement.pod
    await client.bind(pod.key.name, pod.key.namespace, placement.node_name, uid=pod.uid)


async def bind_claim(client: Client, claim: ClaimInfo, node_name: str) -> None:
    """Give a claim its volume on a node. Repeating it is harmless.

    Raises:
        errors.ConflictError: the claim has changed, or its volume is on another node.
    """
    name = claim.volume_name or volume_name(claim)
    if not claim.volume_name:
        await _ensure_volume(client, claim, node_name)
        patch = {"metadata": {"uid": claim.uid, "resourceVersion": claim.resource_version}, "spec": {"volumeName": name}}
        await client.patch(storage.PersistentVolumeClaim, claim.key.name, claim.key.namespace, patch)
    claim_status = {"status": {"phase": "Bound", "accessModes": list(claim.access_modes), "capacity": {"storage": claim.size}}}
    async with asyncio.TaskGroup() as group:  # no claim is called Bound before it names its volume
        group.create_task(
            client.patch(storage.PersistentVolumeClaim, claim.key.name, claim.key.namespace, claim_status, subresource="status")
        )
        group.create_task(
            client.patch(storage.PersistentVolume, name, None, {"status": {"phase": "Bound"}}, subresource="status"),
        )


async def _ensure_volume(client: Client, claim: ClaimInfo, node_name: str) -> None:
    try:
        await client.create(make_volume(claim, node_name))
    except errors.AlreadyExistsError as error:
        found = await client.get(storage.PersistentVolume, volume_name(claim))
        mine = found.spec.claim_ref is not None and found.spec.claim_ref.uid == claim.uid
        if not mine or found.spec.node_name() != node_name:
            raise errors.ConflictError(
                f"persistentvolume {found.name!r} exists, and is not for claim {claim.key} on node {node_name!r}"
            ) from error


def volume_name(claim: ClaimInfo) -> str:
    """Return the name of a claim's PersistentVolume."""
    return f"pvc-{claim.uid}"


def make_volume(claim: ClaimInfo, node_name: str) -> storage.PersistentVolume:
    """Return the PersistentVolume of a claim on a node. The agent there makes the Docker volume ``volume_handle``."""
    delete = claim.reclaim_policy == "Delete"
    demand = selectors.NodeSelectorRequirement(key=names.LABEL_HOSTNAME, operator="In", values=(node_name,))
    return storage.PersistentVolume(
        metadata=meta.ObjectMeta(
            name=volume_name(claim),
            # Only data that may be removed needs the agent's word that it is; retained data stays when the object goes.
            finalizers=(names.FINALIZER_NODE_VOLUME,) if delete else (),
        ),
        spec=storage.PersistentVolumeSpec(
            capacity={"storage": claim.size},
            access_modes=tuple(claim.access_modes),
            claim_ref=event.ObjectReference(
                api_version="v1",
                kind="PersistentVolumeClaim",
                namespace=claim.key.namespace,
                name=claim.key.name,
                uid=meta.Uid(claim.uid),
            ),
            csi=storage.CSIVolumeSource(driver=names.VOLUME_DRIVER, volume_handle=f"lattice-{claim.uid}"),
            node_affinity=storage.VolumeNodeAffinity(
                required=storage.NodeSelectorTerms(node_selector_terms=(selectors.NodeSelectorTerm(match_expressions=(demand,)),))
            ),
            persistent_volume_reclaim_policy="Delete" if delete else "Retain",
            storage_class_name=names.STORAGE_CLASS_LOCAL,
            volume_mode="Filesystem",
        ),
    )
