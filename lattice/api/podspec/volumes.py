"""Volumes: where data comes from, and where it appears in a container."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lattice.api import meta, quantity
from lattice.api.podspec.common import FieldSelector, Opaque, ResourceFieldSelector

_Mode = Annotated[int | None, Field(ge=0, le=0o777)]
HostPathType = Literal["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"]


class VolumeMount(meta.Model):
    """Where a volume appears in the container."""

    name: str
    """Name of the volume."""
    mount_path: str = Field(min_length=1)
    """Absolute path in the container."""
    sub_path: str | None = None
    """Path inside the volume to mount instead of its root: a file or a directory."""
    sub_path_expr: str | None = None
    """The same with ``$(VAR)`` expanded from the container's environment."""
    read_only: bool | None = None
    """Whether writes fail."""
    recursive_read_only: Literal["Disabled", "IfPossible", "Enabled"] | None = None
    """Whether mounts below are read-only too."""
    mount_propagation: Literal["None", "HostToContainer", "Bidirectional"] | None = None
    """How mounts pass between the Node and the container."""


class VolumeDevice(meta.Model):
    """A raw block device."""

    name: str
    """Name of the claim."""
    device_path: str
    """Path in the container."""


class KeyToPath(meta.Model):
    """A key as a file."""

    key: str
    """Key in the object's data."""
    path: str
    """Relative path of the file."""
    mode: _Mode = None
    """Permission bits."""


class SecretVolumeSource(meta.Model):
    """A Secret as files."""

    secret_name: str | None = None
    """Name of the Secret."""
    items: meta.AtomicList[KeyToPath] = ()
    """Keys to show; default all."""
    default_mode: _Mode = None
    """Permission bits, default 0644."""
    optional: bool | None = None
    """Whether it may be absent."""


class ConfigMapVolumeSource(meta.Model):
    """A ConfigMap as files."""

    name: str = ""
    """Name of the ConfigMap."""
    items: meta.AtomicList[KeyToPath] = ()
    """Keys to show; default all."""
    default_mode: _Mode = None
    """Permission bits, default 0644."""
    optional: bool | None = None
    """Whether it may be absent."""


class DownwardAPIVolumeFile(meta.Model):
    """A file with a field of the Pod, or a resource of a container."""

    path: str
    """Relative path of the file."""
    field_ref: FieldSelector | None = None
    """A field: ``metadata.labels`` and ``metadata.annotations`` are kept up to date."""
    resource_field_ref: ResourceFieldSelector | None = None
    """A request or limit."""
    mode: _Mode = None
    """Permission bits."""


class DownwardAPIVolumeSource(meta.Model):
    """Facts of the Pod as files."""

    items: meta.AtomicList[DownwardAPIVolumeFile] = ()
    """Files."""
    default_mode: _Mode = None
    """Permission bits, default 0644."""


class SecretProjection(meta.Model):
    """A Secret in a projected volume."""

    name: str = ""
    """Name of the Secret."""
    items: meta.AtomicList[KeyToPath] = ()
    """Keys to show; default all."""
    optional: bool | None = None
    """Whether it may be absent."""


class ConfigMapProjection(meta.Model):
    """A ConfigMap in a projected volume."""

    name: str = ""
    """Name of the ConfigMap."""
    items: meta.AtomicList[KeyToPath] = ()
    """Keys to show; default all."""
    optional: bool | None = None
    """Whether it may be absent."""


class DownwardAPIProjection(meta.Model):
    """Facts of the Pod in a projected volume."""

    items: meta.AtomicList[DownwardAPIVolumeFile] = ()
    """Files."""


class ServiceAccountTokenProjection(meta.Model):
    """A token of the Pod's service account in a projected volume."""

    audience: str | None = None
    """For whom the token is."""
    expiration_seconds: int | None = None
    """How long it is valid; default 3600."""
    path: str
    """Relative path of the file."""


class VolumeProjection(meta.Model):
    """A source of a projected volume; exactly one."""

    secret: SecretProjection | None = None
    """A Secret."""
    config_map: ConfigMapProjection | None = None
    """A ConfigMap."""
    downward_api: DownwardAPIProjection | None = Field(default=None, alias="downwardAPI")
    """Facts of the Pod."""
    service_account_token: ServiceAccountTokenProjection | None = None
    """A token."""
    cluster_trust_bundle: Opaque | None = None
    """Certificates."""


class ProjectedVolumeSource(meta.Model):
    """Several sources in one directory."""

    sources: meta.AtomicList[VolumeProjection] = ()
    """Sources; a later one wins where paths meet."""
    default_mode: _Mode = None
    """Permission bits, default 0644."""


class ClaimVolumeSource(meta.Model):
    """A claim of the Pod's namespace."""

    claim_name: str
    """Name of the PersistentVolumeClaim."""
    read_only: bool | None = None
    """Whether writes fail."""


class EmptyDirVolumeSource(meta.Model):
    """A directory that lives as long as the Pod."""

    medium: Literal["", "Memory"] | None = None
    """``Memory``: a tmpfs."""
    size_limit: quantity.Quantity | None = None
    """Size of a tmpfs; on disk, the Pod is evicted when it is exceeded."""


class HostPathVolumeSource(meta.Model):
    """A path of the Node; only where the Node's owner allows it."""

    path: str
    """Path on the Node."""
    type: HostPathType | None = None
    """What must be there; empty: no check."""


class Volume(meta.Model):
    """A volume of a Pod; exactly one source."""

    name: str = Field(min_length=1)
    """Name, unique in the Pod."""
    persistent_volume_claim: ClaimVolumeSource | None = None
    """A claim."""
    secret: SecretVolumeSource | None = None
    """A Secret."""
    config_map: ConfigMapVolumeSource | None = None
    """A ConfigMap."""
    empty_dir: EmptyDirVolumeSource | None = None
    """A directory that lives as long as the Pod."""
    projected: ProjectedVolumeSource | None = None
    """Several sources in one directory."""
    downward_api: DownwardAPIVolumeSource | None = Field(default=None, alias="downwardAPI")
    """Facts of the Pod as files."""
    host_path: HostPathVolumeSource | None = None
    """A path of the Node."""
    ephemeral: Opaque | None = None
    """A claim that is made for the Pod."""
    image: Opaque | None = None
    """An image as files."""
    csi: Opaque | None = None
    """A volume of a storage driver."""
    nfs: Opaque | None = None
    """An NFS export."""
    iscsi: Opaque | None = None
    """An iSCSI disk."""
    fc: Opaque | None = None
    """A Fibre Channel disk."""
    flex_volume: Opaque | None = None
    """A volume of a program on the Node."""
    git_repo: Opaque | None = None
    """A Git repository."""
    cephfs: Opaque | None = None
    """A CephFS mount."""
    rbd: Opaque | None = None
    """A Ceph disk."""
    glusterfs: Opaque | None = None
    """A Gluster mount."""
    cinder: Opaque | None = None
    """An OpenStack disk."""
    flocker: Opaque | None = None
    """A Flocker volume."""
    quobyte: Opaque | None = None
    """A Quobyte mount."""
    storageos: Opaque | None = None
    """A StorageOS volume."""
    scale_io: Opaque | None = Field(default=None, alias="scaleIO")
    """A ScaleIO volume."""
    portworx_volume: Opaque | None = None
    """A Portworx volume."""
    photon_persistent_disk: Opaque | None = None
    """A Photon disk."""
    vsphere_volume: Opaque | None = None
    """A vSphere disk."""
    aws_elastic_block_store: Opaque | None = None
    """A disk of Amazon's cloud."""
    azure_disk: Opaque | None = None
    """A disk of Microsoft's cloud."""
    azure_file: Opaque | None = None
    """A file share of Microsoft's cloud."""
    gce_persistent_disk: Opaque | None = None
    """A disk of Google's cloud."""
