"""Which Pods write more than they may: limits and measured sizes in, verdicts in kubelet's words out. Pure.

kubelet's ``localStorageEviction``: in this order, an emptyDir over its ``sizeLimit``, the Pod's containers together over the sum of
their ``ephemeral-storage`` limits (only where each has one), one container over its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lattice.api import pod, quantity

EVICTED: Final = "Evicted"
RESOURCE: Final = "ephemeral-storage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one Pod has written."""

    containers: Mapping[str, int] = field(default_factory=dict)
    """Name of a container to bytes of its layer and log."""
    volumes: Mapping[str, int] = field(default_factory=dict)
    """Name of an emptyDir on disk to its bytes."""


def volumes_of(wanted: pod.Pod) -> tuple[str, ...]:
    """Return the names of the Pod's emptyDirs on disk; those in memory hold their limit by themselves."""
    return tuple(each.name for each in wanted.spec.volumes if each.empty_dir is not None and each.empty_dir.medium != "Memory")


def is_limited(wanted: pod.Pod) -> bool:
    """Return whether the Pod has any limit that takes measuring."""
    sized = any(
        each.empty_dir is not None and each.empty_dir.medium != "Memory" and each.empty_dir.size_limit for each in wanted.spec.volumes
    )
    return sized or any(RESOURCE in each.resources.limits for each in _containers(wanted))


def _containers(wanted: pod.Pod) -> tuple[pod.Container, ...]:
    return (*wanted.spec.init_containers, *wanted.spec.containers)


def exceeded(wanted: pod.Pod, measured: Measured) -> str:
    """Return kubelet's sentence for the limit that a Pod exceeds, empty if it holds all."""
    for volume in wanted.spec.volumes:
        source = volume.empty_dir
        if source is None or source.medium == "Memory" or not source.size_limit:
            continue
        if measured.volumes.get(volume.name, 0) > quantity.to_units(source.size_limit) > 0:
            return f'Usage of EmptyDir volume "{volume.name}" exceeds the limit "{source.size_limit}". '
    apps = wanted.spec.containers
    if apps and all(RESOURCE in each.resources.limits for each in apps):
        total = sum(quantity.to_units(each.resources.limits[RESOURCE]) for each in apps)
        if sum(measured.containers.values()) + sum(measured.volumes.values()) > total:
            return f"Pod ephemeral local storage usage exceeds the total limit of containers {quantity.format_bytes(total)}. "
    for container in _containers(wanted):
        limit = container.resources.limits.get(RESOURCE)
        if limit is not None and measured.containers.get(container.name, 0) > quantity.to_units(limit):
            return f'Container {container.name} exceeded its local ephemeral storage limit "{limit}". '
    return ""
