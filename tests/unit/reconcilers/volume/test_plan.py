"""What becomes of claims and volumes when their other half goes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from controller.reconcilers.volume.plan import DeleteVolume, SetFinalizers, SetReclaimPolicy, SetVolumePhase, plan_claim, plan_volume
from lattice.api import event, meta, names, storage

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROTECTION = names.FINALIZER_CLAIM_PROTECTION


def make_claim(*, deleting: bool = False, finalizers: tuple[str, ...] = (), policy: str | None = None) -> storage.PersistentVolumeClaim:
    annotations = {names.ANNOTATION_RECLAIM_POLICY: policy} if policy else {}
    metadata = meta.ObjectMeta(
        name="c", namespace="d", finalizers=finalizers, deletion_timestamp=NOW if deleting else None, annotations=annotations
    )
    return storage.PersistentVolumeClaim(metadata=metadata)


def make_volume(
    policy: str = "Retain", phase: str = "Bound", *, finalizers: tuple[str, ...] = (), deleting: bool = False
) -> storage.PersistentVolume:
    return storage.PersistentVolume.model_validate(
        {
            "metadata": {"name": "v", "finalizers": finalizers, "deletionTimestamp": NOW if deleting else None},
            "spec": {"persistentVolumeReclaimPolicy": policy, "claimRef": event.ObjectReference(name="c", namespace="d").to_dict()},
            "status": {"phase": phase},
        }
    )


@pytest.mark.parametrize(
    ("claim", "in_use", "plan"),
    [
        (make_claim(), False, (SetFinalizers((PROTECTION,)),)),
        (make_claim(finalizers=("x", PROTECTION)), True, ()),
        (make_claim(finalizers=("x", PROTECTION), deleting=True), True, ()),
        (make_claim(finalizers=("x", PROTECTION), deleting=True), False, (SetFinalizers(("x",)),)),
        (make_claim(finalizers=("x",), deleting=True), False, ()),
    ],
)
def test_claim_is_protected_while_it_is_used(claim: storage.PersistentVolumeClaim, in_use: bool, plan: object) -> None:
    assert plan_claim(claim, in_use=in_use) == plan


@pytest.mark.parametrize(
    ("volume", "claim", "plan"),
    [
        (make_volume(), make_claim(), ()),
        (make_volume(), None, (SetVolumePhase("Released"),)),
        (make_volume(phase="Released"), None, ()),
        (make_volume("Delete"), None, (DeleteVolume(),)),
        (make_volume("Delete", deleting=True), None, ()),
        (make_volume(), make_claim(policy="Delete"), (SetReclaimPolicy("Delete", (names.FINALIZER_NODE_VOLUME,)),)),
        (
            make_volume("Delete", finalizers=("x", names.FINALIZER_NODE_VOLUME)),
            make_claim(policy="Retain"),
            (SetReclaimPolicy("Retain", ("x",)),),
        ),
        (make_volume("Delete"), make_claim(), ()),
        (make_volume(), make_claim(policy="Delete", deleting=True), ()),
    ],
)
def test_volume_follows_its_claim(volume: storage.PersistentVolume, claim: storage.PersistentVolumeClaim | None, plan: object) -> None:
    assert plan_volume(volume, claim) == plan
