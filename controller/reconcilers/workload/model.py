"""What the plan of a Workload takes in and gives out: plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from lattice.api import configmap, meta, pod, storage, workload


@dataclass(frozen=True, slots=True)
class NameTaken:
    """An object that is not ours has a name that we need."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything that the plan depends on."""

    workload: workload.Workload
    now: datetime
    generated_password: str = field(default="", repr=False)
    """A fresh random password: used if, and only if, the credentials have to be made."""
    pods: tuple[pod.Pod, ...] = ()
    """Pods whose controller is the Workload."""
    claims: tuple[storage.PersistentVolumeClaim, ...] = ()
    """Claims of the names that the Workload uses, whoever's they are, and those that carry its label."""
    credentials: configmap.Secret | None = field(default=None, repr=False)
    """The Secret of the credentials' name, whoever's it is."""
    given_password: str | None = field(default=None, repr=False)
    """What ``passwordSecretRef`` points to; ``None`` if it is not there (yet)."""
    name_taken: NameTaken | None = None
    """What a create has run into."""
    rejected: str = ""
    """Why the API server refused an object that the spec leads to."""


@dataclass(frozen=True, slots=True)
class CreateSecret:
    """Make the credentials."""

    secret: configmap.Secret = field(repr=False)


@dataclass(frozen=True, slots=True)
class CreateClaim:
    """Make a replica's claim."""

    claim: storage.PersistentVolumeClaim


@dataclass(frozen=True, slots=True)
class SetRetention:
    """Make a claim, or the credentials, stay or go with the Workload."""

    kind: type[meta.Object]
    name: str
    uid: str
    resource_version: str
    owner: meta.OwnerReference | None
    reclaim_policy: str | None


@dataclass(frozen=True, slots=True)
class CreatePod:
    """Start a replica."""

    pod: pod.Pod


@dataclass(frozen=True, slots=True)
class DeletePod:
    """End a replica."""

    name: str
    uid: str
    why: str


Action: TypeAlias = CreateSecret | CreateClaim | SetRetention | CreatePod | DeletePod


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Actions in their order, and the whole status as it is to be."""

    actions: tuple[Action, ...] = ()
    status: workload.WorkloadStatus
    requeue_after_s: float | None = None
