"""PersistentVolumeClaim, PersistentVolume and StorageClass: data that outlives a Pod, on one node's disk.

A claim waits for its first consumer. The scheduler then makes the PersistentVolume, with an affinity to the chosen node, and binds the
claim before it binds the Pod; the agent makes the Docker volume. The Pod of a bound claim runs on that node and nowhere else.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from lattice.api import event, meta, quantity, selectors

AccessMode = Literal["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"]
ReclaimPolicy = Literal["Retain", "Delete"]


class VolumeResources(meta.Model):
    """How much is asked for."""

    requests: quantity.ResourceList = Field(default_factory=dict)
    """``storage``: the least size."""
    limits: quantity.ResourceList | None = None
    """Not enforced."""


class PersistentVolumeClaimSpec(meta.Model):
    """What a user asks for."""

    access_modes: meta.AtomicList[AccessMode] = ()
    """How the volume may be mounted."""
    resources: VolumeResources = Field(default_factory=VolumeResources)
    """Size."""
    storage_class_name: str | None = None
    """``lattice-local``, the default."""
    volume_mode: Literal["Filesystem"] | None = None
    """Only ``Filesystem``."""
    volume_name: str | None = None
    """The PersistentVolume that is bound to it. Written by the scheduler."""


class PersistentVolumeClaimStatus(meta.Model):
    """What was found."""

    phase: Literal["Pending", "Bound", "Lost"] | None = None
    """``Pending`` until the first Pod that uses it is scheduled."""
    access_modes: meta.AtomicList[AccessMode] = ()
    """Access modes of the volume."""
    capacity: quantity.ResourceList = Field(default_factory=dict)
    """Size of the volume."""
    conditions: Annotated[tuple[meta.Condition, ...], meta.list_map("type")] = ()
    """Conditions."""


class PersistentVolumeClaim(meta.Object):
    """A request for a volume."""

    KIND: ClassVar[str] = "PersistentVolumeClaim"
    PLURAL: ClassVar[str] = "persistentvolumeclaims"

    spec: PersistentVolumeClaimSpec = Field(default_factory=PersistentVolumeClaimSpec)
    """Desired state."""
    status: PersistentVolumeClaimStatus = Field(default_factory=PersistentVolumeClaimStatus)
    """Observed state."""


class CSIVolumeSource(meta.Model):
    """The Docker volume."""

    driver: str
    """``local.lattice.dev``."""
    volume_handle: str
    """Name of the Docker volume on the node."""


class NodeSelectorTerms(meta.Model):
    """Nodes that can reach the volume."""

    model_config = ConfigDict(json_schema_extra=meta.ATOMIC)

    node_selector_terms: meta.AtomicList[selectors.NodeSelectorTerm] = ()
    """One of these must match."""


class VolumeNodeAffinity(meta.Model):
    """Where the volume is."""

    required: NodeSelectorTerms | None = None
    """Nodes that can reach the volume."""


class PersistentVolumeSpec(meta.Model):
    """A volume."""

    capacity: quantity.ResourceList = Field(default_factory=dict)
    """Size."""
    access_modes: meta.AtomicList[AccessMode] = ()
    """Access modes."""
    claim_ref: Annotated[event.ObjectReference | None, meta.GRANULAR_MAP] = None
    """The claim it belongs to."""
    csi: CSIVolumeSource | None = None
    """The Docker volume."""
    node_affinity: VolumeNodeAffinity | None = None
    """The node it is on."""
    persistent_volume_reclaim_policy: ReclaimPolicy = "Retain"
    """What happens to the data when the claim is deleted."""
    storage_class_name: str | None = None
    """``lattice-local``."""
    volume_mode: Literal["Filesystem"] | None = None
    """Only ``Filesystem``."""

    def node_name(self) -> meta.NodeName | None:
        """Return the node that the volume is on, where it names exactly one by hostname."""
        terms = self.node_affinity.required.node_selector_terms if self.node_affinity and self.node_affinity.required else ()
        for term in terms:
            for expression in term.match_expressions:
                if expression.key == "kubernetes.io/hostname" and expression.operator == "In" and len(expression.values) == 1:
                    return meta.NodeName(expression.values[0])
        return None


class PersistentVolumeStatus(meta.Model):
    """Observed state of a volume."""

    phase: Literal["Pending", "Available", "Bound", "Released", "Failed"] | None = None
    """``Released``: its claim is gone, the data is still there."""
    message: str | None = None
    """Why it is in this phase."""
    reason: str | None = None
    """Why, for machines."""


class PersistentVolume(meta.Object):
    """A Docker volume on one node."""

    KIND: ClassVar[str] = "PersistentVolume"
    PLURAL: ClassVar[str] = "persistentvolumes"
    NAMESPACED: ClassVar[bool] = False

    spec: PersistentVolumeSpec = Field(default_factory=PersistentVolumeSpec)
    """Desired state."""
    status: PersistentVolumeStatus = Field(default_factory=PersistentVolumeStatus)
    """Observed state."""


class StorageClass(meta.Object):
    """How volumes are made. There is one, ``lattice-local``, and it is read-only."""

    GROUP: ClassVar[str] = "storage.k8s.io"
    KIND: ClassVar[str] = "StorageClass"
    PLURAL: ClassVar[str] = "storageclasses"
    NAMESPACED: ClassVar[bool] = False

    provisioner: str = ""
    """Who makes the volumes."""
    reclaim_policy: ReclaimPolicy | None = None
    """Default reclaim policy."""
    volume_binding_mode: Literal["Immediate", "WaitForFirstConsumer"] | None = None
    """``WaitForFirstConsumer``: the volume is made where the first Pod runs."""
    allow_volume_expansion: bool | None = None
    """Whether a claim can grow."""
