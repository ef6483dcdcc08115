"""What a blueprint is made from, and what it is. Values only; made by ``plan.py`` from the other modules of this package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lattice.api import configmap, pod, storage
from lattice.api.errors import LatticeError
from nodeagent.runtime import base
from nodeagent.volumes import files


class ConfigError(LatticeError):
    """The container cannot be made from what is known now, or this node does not allow it.

    Args:
        reason: the waiting reason: ``CreateContainerConfigError``, ``Unsupported``, ``PrivilegedNotAllowed`` …
        message: a sentence for a person.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def missing(message: str) -> ConfigError:
    """Return the error for something that is not there (yet): the container waits for it."""
    return ConfigError("CreateContainerConfigError", message)


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """The objects that Pods of this node use, by namespace and name."""

    secrets: Mapping[tuple[str, str], configmap.Secret] = field(default_factory=dict, repr=False)
    config_maps: Mapping[tuple[str, str], configmap.ConfigMap] = field(default_factory=dict)
    claims: Mapping[tuple[str, str], storage.PersistentVolumeClaim] = field(default_factory=dict)
    volumes: Mapping[str, storage.PersistentVolume] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the node's owner allows and sets. The defaults allow nothing that weakens isolation."""

    host_paths: tuple[tuple[str, bool], ...] = ()
    """Directories that ``hostPath`` may mount with all below them, and whether they may be written."""
    privileged: bool = False
    capabilities: frozenset[str] = frozenset()
    """What Pods may add to the usual ones, without ``CAP_``."""
    unconfined: bool = False
    """Whether Pods may switch seccomp off."""
    seccomp_dir: str = ""
    """Where profiles of type Localhost are; empty: there are none."""
    pids_limit: int = 4096
    log_max_size_bytes: int = base.LOG_MAX_SIZE_BYTES
    log_max_files: int = base.LOG_MAX_FILES


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What of the node a container sees or carries."""

    name: str
    uid: str
    cluster_id: str
    host_ip: str
    run_dir: str
    """Where the files of Secret and ConfigMap volumes are."""
    allocatable: Mapping[str, str] = field(default_factory=dict)
    """What the Node offers, as quantities: the limits of a container that sets none."""
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Address of a Pod; empty: not known before it starts."""

    ip: str = ""
    ipv6: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """A Docker volume that belongs to a Pod alone and goes with it: an ``emptyDir``."""

    volume: str
    target: str
    """Where this container mounts it."""
    mode: int = 0o777
    """Permission bits of its root, set once, when it is made."""
    gid: int = 0
    memory: bool = False
    size_bytes: int | None = None
    """Limit: of a volume in memory by the kernel; of one on disk by measuring."""

    def options(self) -> dict[str, str]:
        """Return the options of Docker's local driver."""
        if not self.memory:
            return {}
        size = "" if self.size_bytes is None else f",size={self.size_bytes}"
        return {"type": "tmpfs", "device": "tmpfs", "o": f"mode={self.mode:04o},gid={self.gid}{size}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """A claim's volume whose files are to belong to the Pod's ``fsGroup``."""

    volume: str
    target: str
    gid: int
    only_if_root_differs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardedMount:
    """A mount of a path that a container may have had a hand in: resolved by the shell, so that no link leads out of its root."""

    target: str
    read_only: bool
    volume: str = ""
    """The root is this Docker volume …"""
    prefix: str = ""
    """… or this directory of the node, which its owner allows."""
    path: str = ""
    """Below the root; empty: the root itself."""
    type: pod.HostPathType = ""
    """What must be there, or is made."""
    create: bool = False
    """A directory is made where nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """Everything for a container but its restart number and host ports."""

    config: base.ContainerConfig
    files: tuple[files.FileVolume, ...] = field(default=(), repr=False)
    """Written before the container is created."""
    volumes: tuple[str, ...] = ()
    """Docker volumes of claims, ensured before."""
    scratch: tuple[Scratch, ...] = ()
    """Docker volumes of this Pod alone."""
    guarded: tuple[GuardedMount, ...] = ()
    """Mounts that are added to ``config`` when their paths are resolved."""
    owned: tuple[Owned, ...] = ()
    """Volumes whose owner is set after the container is created, before it starts."""
    seccomp_file: str = ""
    """Profile to read into ``config.seccomp``."""
    non_root: bool = False
    """The image's user must be known, and not root, before the container is created: ``config.user`` does not say."""

    group: int | None = None
    """Gid of the process next to the image's user; ``config.user`` says nothing."""
