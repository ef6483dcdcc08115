"""What becomes of claims and volumes when their other half goes: values in, values out.

A claim is protected while a Pod uses it. A volume whose claim is gone is ``Released`` and keeps its data (``Retain``), or goes with it
(``Delete``): then the node's agent removes the Docker volume and takes the finalizer away. Binding is the scheduler's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from lattice.api import names, storage


@dataclass(frozen=True, slots=True)
class SetFinalizers:
    """The whole list of finalizers."""

    finalizers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetReclaimPolicy:
    """The volume's policy is to be that of its claim, and with it the agent's finalizer."""

    policy: str
    finalizers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetVolumePhase:
    """The phase of a volume."""

    phase: str


@dataclass(frozen=True, slots=True)
class DeleteVolume:
    """The volume's data is to go."""


VolumeAction: TypeAlias = SetReclaimPolicy | SetVolumePhase | DeleteVolume


def plan_claim(claim: storage.PersistentVolumeClaim, *, in_use: bool) -> tuple[SetFinalizers, ...]:
    """Protect a claim; let it go when it is deleted and no Pod uses it.

    Args:
        claim: the claim.
        in_use: whether a Pod that has not ended uses it. Must have been read live when the claim is being deleted.
    """
    finalizers = claim.metadata.finalizers
    protected = names.FINALIZER_CLAIM_PROTECTION in finalizers
    if claim.metadata.deletion_timestamp is None:
        return () if protected else (SetFinalizers((*finalizers, names.FINALIZER_CLAIM_PROTECTION)),)
    if protected and not in_use:
        return (SetFinalizers(tuple(name for name in finalizers if name != names.FINALIZER_CLAIM_PROTECTION)),)
    return ()


def plan_volume(volume: storage.PersistentVolume, claim: storage.PersistentVolumeClaim | None) -> tuple[VolumeAction, ...]:
    """Decide on a volume.

    Args:
        volume: the volume.
        claim: the claim that it names, by uid; ``None`` if it is gone, which must have been read live.
    """
    if volume.metadata.deletion_timestamp is not None or volume.spec.claim_ref is None:
        return ()
    if claim is None:
        if volume.spec.persistent_volume_reclaim_policy == "Delete":
            return (DeleteVolume(),)
        return () if volume.status.phase == "Released" else (SetVolumePhase("Released"),)
    if claim.metadata.deletion_timestamp is not None:
        return ()
    policy = claim.metadata.annotations.get(names.ANNOTATION_RECLAIM_POLICY)
    if policy not in ("Retain", "Delete") or policy == volume.spec.persistent_volume_reclaim_policy:
        return ()
    others = tuple(name for name in volume.metadata.finalizers if name != names.FINALIZER_NODE_VOLUME)
    return (SetReclaimPolicy(policy, (*others, names.FINALIZER_NODE_VOLUME) if policy == "Delete" else others),)
