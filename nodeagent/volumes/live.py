"""Files of running Pods, kept up to date: a ConfigMap, Secret, label or annotation that changes is seen in the container within a second.

Called every second by the agent's main task. A mounted ``subPath`` does not change, as in Kubernetes; nor does the environment. Where an
object or key is gone, the files stay as they were: silence deletes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from lattice.api import meta, pod
from nodeagent.blueprint.filevolumes import is_file_volume, make_file_volume
from nodeagent.blueprint.values import Address, ConfigError, Node, References
from nodeagent.volumes.files import RunDirectory

logger = logging.getLogger(__name__)

_Seen = tuple[object, ...]
_NONE: Final[_Seen] = ()


class LiveFiles:
    """See the module's docstring."""

    def __init__(self, files: RunDirectory) -> None:
        self._files = files
        self._seen: dict[str, _Seen] = {}
        """By Pod: the versions of what its files were last made from."""

    def refresh(self, pods: Iterable[pod.Pod], references: References, node: Node) -> None:
        """Write what has changed. Costs next to nothing where nothing has.

        Raises:
            OSError: a file cannot be written; the others were not tried.
        """
        seen: dict[str, _Seen] = {}
        for wanted in pods:
            volumes = [volume for volume in wanted.spec.volumes if is_file_volume(volume)]
            if not volumes or wanted.metadata.deletion_timestamp is not None:
                continue
            versions = _versions(wanted, references, node)
            if self._seen.get(wanted.uid, _NONE) != versions:
                written = [volume for volume in volumes if self._files.has(wanted.uid, volume.name)]
                if not written:
                    continue  # its containers are not made yet, and write them when they are
                for volume in written:
                    self._write(wanted, volume, references, node)
            seen[wanted.uid] = versions
        self._seen = seen

    def _write(self, wanted: pod.Pod, volume: pod.Volume, references: References, node: Node) -> None:
        address = Address(
            ip=wanted.status.pod_ip or "", ipv6=next((one.ip or "" for one in wanted.status.pod_ips if ":" in (one.ip or "")), "")
        )
        try:
            made = make_file_volume(wanted, volume, references, node, address)
        except (ConfigError, ValueError) as error:
            logger.info(
                "files of a volume stay as they were", extra={"pod_uid": wanted.uid, "volume": volume.name, "why": str(error)[:200]}
            )
            return
        if self._files.write(wanted.uid, (made,)):
            logger.info("files of a volume are renewed", extra={"pod_uid": wanted.uid, "volume": volume.name})


def _versions(wanted: pod.Pod, references: References, node: Node) -> _Seen:
    """Return what tells whether anything that the files are made from has changed."""
    names = [name for volume in wanted.spec.volumes for name in _names(volume)]
    held: list[meta.Object | None] = [
        (references.secrets if secret else references.config_maps).get((wanted.namespace, name)) for secret, name in names
    ]
    versions = tuple(None if found is None else (found.uid, found.metadata.resource_version) for found in held)
    return (wanted.metadata.labels, wanted.metadata.annotations, wanted.status.pod_ip, node.allocatable, versions)


def _names(volume: pod.Volume) -> list[tuple[bool, str]]:
    """Return the objects of a volume: whether it is a Secret, its name."""
    names = []
    if volume.secret is not None:
        names.append((True, volume.secret.secret_name or ""))
    if volume.config_map is not None:
        names.append((False, volume.config_map.name))
    for part in volume.projected.sources if volume.projected is not None else ():
        if part.secret is not None:
            names.append((True, part.secret.name))
        if part.config_map is not None:
            names.append((False, part.config_map.name))
    return names
