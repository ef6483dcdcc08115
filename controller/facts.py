"""What the control plane's caches keep decoded of every object: who owns it, whether it is going, and the kind's own projection.

Made by the informers of ``controller/informers.py``; read by the garbage collector (owners, finalizers), by the other reconcilers and
by the scheduler (``detail``). Whole objects are decoded from the entry's bytes when they are needed, and not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

D_co = TypeVar("D_co", covariant=True)
INDEX_OWNER = "owner"
"""Index of every cache: uids of the owners."""


@dataclass(frozen=True, slots=True)
class Owner:
    """An owner reference."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False
    block_deletion: bool = False


@dataclass(frozen=True, slots=True)
class Facts(Generic[D_co]):
    """The projection of one version of an object."""

    owners: tuple[Owner, ...]
    finalizers: tuple[str, ...]
    deleting: bool
    detail: D_co
    """What ``project`` of the kind made; ``None`` for kinds without one."""

    def controller_uid(self) -> str:
        """Return the uid of the owner that manages the object, empty if there is none."""
        return next((owner.uid for owner in self.owners if owner.controller), "")


@dataclass(frozen=True, slots=True)
class Item:
    """An object, as far as its end is concerned, read live."""

    name: str
    namespace: str
    uid: str
    deleting: bool
    finalizers: tuple[str, ...]


def facts_with(project: Callable[[Mapping[str, Any]], D_co]) -> Callable[[Mapping[str, Any]], Facts[D_co]]:
    """Return the projection of a kind, with ``project`` for its own part."""

    def make(document: Mapping[str, Any]) -> Facts[D_co]:
        metadata = document["metadata"]
        return Facts(
            owners=tuple(
                Owner(
                    reference.get("apiVersion", ""),
                    reference.get("kind", ""),
                    reference.get("name", ""),
                    reference.get("uid", ""),
                    bool(reference.get("controller")),
                    bool(reference.get("blockOwnerDeletion")),
                )
                for reference in metadata.get("ownerReferences") or ()
            ),
            finalizers=tuple(metadata.get("finalizers") or ()),
            deleting=bool(metadata.get("deletionTimestamp")),
            detail=project(document),
        )

    return make


def owner_uids(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Index function: the uids of an object's owners."""
    return tuple(reference.get("uid", "") for reference in document["metadata"].get("ownerReferences") or ())
