"""Carries out the plans for claims and volumes. One controller each; both read the shared caches and check absences live."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any, assert_never

from controller.informers import INDEX_CLAIM, Informers
from controller.reconcilers.volume.plan import DeleteVolume, SetReclaimPolicy, SetVolumePhase, plan_claim, plan_volume
from lattice.api import errors, pod, storage
from lattice.client.client import Client
from lattice.machinery import controller, outcome
from lattice.machinery.clock import Clock
from lattice.machinery.entry import Entry
from lattice.machinery.keys import ObjectKey


class ClaimReconciler:
    """Protects claims that are used."""

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._claims = informers.of(storage.PersistentVolumeClaim).cache
        self._pods = informers.of(pod.Pod).cache

    async def reconcile(self, key: ObjectKey) -> outcome.Result:
        """Set or remove the claim's protection."""
        entry = self._claims.get(key)
        if entry is None:
            return outcome.Done()
        claim = entry.decode(storage.PersistentVolumeClaim)
        in_use = any(not user.projection.detail.finished for user in self._pods.by_index(INDEX_CLAIM, str(key)))
        if not in_use and entry.projection.deleting:
            in_use = await self._is_used_live(key)
        for action in plan_claim(claim, in_use=in_use):
            change = {"metadata": {"uid": entry.uid, "resourceVersion": entry.resource_version, "finalizers": list(action.finalizers)}}
            try:
                await self._client.patch(storage.PersistentVolumeClaim, key.name, key.namespace, change)
            except errors.NotFoundError:
                return outcome.Done()
        return outcome.Done()

    async def _is_used_live(self, key: ObjectKey) -> bool:
        pods = await self._client.list(pod.Pod, key.namespace)
        return any(
            volume.persistent_volume_claim is not None and volume.persistent_volume_claim.claim_name == key.name
            for p in pods.items
            if p.status.phase not in ("Succeeded", "Failed")
            for volume in p.spec.volumes
        )


class VolumeReconciler:
    """Releases or deletes volumes whose claim is gone."""

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._claims = informers.of(storage.PersistentVolumeClaim).cache
        self._volumes = informers.of(storage.PersistentVolume).cache

    async def reconcile(self, key: ObjectKey) -> outcome.Result:
        """Make the volume follow its claim."""
        entry = self._volumes.get(key)
        if entry is None:
            return outcome.Done()
        volume = entry.decode(storage.PersistentVolume)
        for action in plan_volume(volume, await self._claim_of(volume)):
            match action:
                case SetVolumePhase(phase):
                    change: Mapping[str, Any] = {"metadata": {"uid": entry.uid}, "status": {"phase": phase}}
                    await self._client.patch(storage.PersistentVolume, key.name, None, change, subresource="status")
                case SetReclaimPolicy(policy, finalizers):
                    metadata = {"uid": entry.uid, "resourceVersion": entry.resource_version, "finalizers": list(finalizers)}
                    change = {"metadata": metadata, "spec": {"persistentVolumeReclaimPolicy": policy}}
                    await self._client.patch(storage.PersistentVolume, key.name, None, change)
                case DeleteVolume():
                    await self._client.delete(storage.PersistentVolume, key.name, uid=entry.uid)
                case _:
                    assert_never(action)
        return outcome.Done()

    async def _claim_of(self, volume: storage.PersistentVolume) -> storage.PersistentVolumeClaim | None:
        """Return the very claim that the volume was made for; absence is checked live."""
        reference = volume.spec.claim_ref
        if reference is None or not reference.name or not reference.namespace:
            return None
        entry = self._claims.get(ObjectKey(reference.namespace, reference.name))
        if entry is not None and entry.uid == reference.uid:
            return entry.decode(storage.PersistentVolumeClaim)
        try:
            live = await self._client.get(storage.PersistentVolumeClaim, reference.name, reference.namespace)
        except errors.NotFoundError:
            return None
        return live if live.uid == reference.uid else None


def build(client: Client, informers: Informers, *, clock: Clock, rng: random.Random) -> tuple[controller.Controller[ObjectKey], ...]:
    """Return the controllers of claims and of volumes."""
    claims, volumes = informers.of(storage.PersistentVolumeClaim), informers.of(storage.PersistentVolume)

    def claims_of_pod(entry: Entry[Any]) -> Iterable[ObjectKey]:
        return [ObjectKey(entry.key.namespace, name) for name in entry.projection.detail.claims]

    def volume_of_claim(entry: Entry[Any]) -> Iterable[ObjectKey]:
        name = entry.projection.detail.volume_name
        return (ObjectKey("", name),) if name else ()

    return (
        controller.Controller(
            "claim",
            ClaimReconciler(client, informers),
            (
                controller.Source(informer=claims, keys=controller.own_key),
                controller.Source(informer=informers.of(pod.Pod), keys=claims_of_pod, resync=False),
            ),
            clock=clock,
            rng=rng,
        ),
        controller.Controller(
            "volume",
            VolumeReconciler(client, informers),
            (
                controller.Source(informer=volumes, keys=controller.own_key),
                controller.Source(informer=claims, keys=volume_of_claim, resync=False),
            ),
            clock=clock,
            rng=rng,
        ),
    )
