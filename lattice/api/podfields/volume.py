"""Volumes of a Pod."""

from __future__ import annotations

from typing import Final

from lattice.api.podfields import shownby
from lattice.api.podfields.rows import Row, honoured, refused

_NOWHERE: Final = (
    "this kind of volume is not supported: use persistentVolumeClaim, emptyDir, configMap, secret, projected, downwardAPI or hostPath"
)
_OTHERS: Final = (
    "csi", "nfs", "iscsi", "fc", "flexVolume", "gitRepo", "cephfs", "rbd", "glusterfs", "cinder", "flocker", "quobyte", "storageos",
    "scaleIO", "portworxVolume", "photonPersistentDisk", "vsphereVolume", "awsElasticBlockStore", "azureDisk", "azureFile",
    "gcePersistentDisk", "image",
)  # fmt: skip
_FILES: Final = ("items[].key", "items[].path", "items[].mode")
_DOWNWARD: Final = (
    "items[].path", "items[].mode", "items[].fieldRef.apiVersion", "items[].fieldRef.fieldPath", "items[].resourceFieldRef.containerName",
    "items[].resourceFieldRef.resource", "items[].resourceFieldRef.divisor",
)  # fmt: skip


def _under(prefix: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{prefix}.{name}" for name in names)


VOLUMES: Final[tuple[Row, ...]] = (
    *honoured(shownby.SHOWN, "volumes[].name"),
    *honoured(
        shownby.DIRECTORIES,
        *_under("volumes[].persistentVolumeClaim", "claimName", "readOnly"),
        note="the Docker volume of the bound PersistentVolume, which stays on its node; in use by another running container: waiting, "
        "`VolumeInUse`",
    ),
    *honoured(
        shownby.DIRECTORIES,
        "volumes[].emptyDir.medium",
        "volumes[].emptyDir.sizeLimit",
        note="goes with the Pod; `Memory`: in a Pod of one container it is empty after a restart",
    ),
    *honoured(
        shownby.FILES,
        *_under("volumes[].secret", "secretName", "defaultMode", "optional", *_FILES),
        note="updates reach the files while they run",
    ),
    *honoured(
        shownby.FILES,
        *_under("volumes[].configMap", "name", "defaultMode", "optional", *_FILES),
        note="updates reach the files while they run",
    ),
    *honoured(shownby.FILES, *_under("volumes[].downwardAPI", "defaultMode", *_DOWNWARD), note="updates reach the files while they run"),
    *honoured(
        shownby.FILES,
        "volumes[].projected.defaultMode",
        *_under("volumes[].projected.sources[].secret", "name", "optional", *_FILES),
        *_under("volumes[].projected.sources[].configMap", "name", "optional", *_FILES),
        *_under("volumes[].projected.sources[].downwardAPI", *_DOWNWARD),
    ),
    refused("volumes[].projected.sources[].serviceAccountToken", "tokens of service accounts are not mounted: put one into a Secret"),
    refused("volumes[].projected.sources[].clusterTrustBundle", "trust bundles do not exist here: put the certificates into a ConfigMap"),
    *honoured(
        shownby.OWNER,
        "volumes[].hostPath.path",
        "volumes[].hostPath.type",
        note="only where the node's owner allows it (`allow_host_paths`)",
    ),
    refused("volumes[].ephemeral", "make the PersistentVolumeClaim yourself and name it in persistentVolumeClaim"),
    *(refused(f"volumes[].{kind}", _NOWHERE) for kind in _OTHERS),
)
