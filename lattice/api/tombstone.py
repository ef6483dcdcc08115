"""Tombstone (``lattice.dev/v1``): a Pod was removed by force while its node may still run it.

The server writes one, in the same transaction, when a bound Pod leaves the store before its agent confirmed the end. The agent stops
what has this Pod uid and deletes the Tombstone: that is its acknowledgement. Deleting the Node deletes its Tombstones.
"""

from __future__ import annotations

from typing import ClassVar

from lattice.api import meta, names


class TombstoneSpec(meta.Model):
    """Which Pod."""

    node_name: str
    """Node that may still run it."""
    pod_uid: meta.Uid
    """Uid of the Pod; the Tombstone's name is the same."""
    pod_namespace: str
    """Namespace of the Pod."""
    pod_name: str
    """Name of the Pod."""


class Tombstone(meta.Object):
    """A Pod that was removed by force."""

    GROUP: ClassVar[str] = names.GROUP
    KIND: ClassVar[str] = "Tombstone"
    PLURAL: ClassVar[str] = "tombstones"
    NAMESPACED: ClassVar[bool] = False

    spec: TombstoneSpec
    """Which Pod."""
