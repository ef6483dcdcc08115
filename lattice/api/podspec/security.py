"""Rights of containers and of the whole Pod."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lattice.api import meta
from lattice.api.podspec.common import Opaque


class Capabilities(meta.Model):
    """Linux capabilities, without the prefix ``CAP_``."""

    add: meta.AtomicList[str] = ()
    """Added to the few that every container has; only those that the Node's owner allows."""
    drop: meta.AtomicList[str] = ()
    """Taken away; ``ALL`` takes every one."""


class SELinuxOptions(meta.Model):
    """An SELinux label."""

    user: str | None = None
    """User part."""
    role: str | None = None
    """Role part."""
    type: str | None = None
    """Type part."""
    level: str | None = None
    """Level part."""


class SeccompProfile(meta.Model):
    """A filter of system calls."""

    type: Literal["RuntimeDefault", "Unconfined", "Localhost"]
    """``RuntimeDefault``: Docker's; ``Localhost``: a file on the Node."""
    localhost_profile: str | None = None
    """Path of the file, relative to the agent's directory of profiles."""


class AppArmorProfile(meta.Model):
    """An AppArmor profile."""

    type: Literal["RuntimeDefault", "Unconfined", "Localhost"]
    """``RuntimeDefault``: Docker's."""
    localhost_profile: str | None = None
    """Name of a profile that is loaded on the Node."""


class SecurityContext(meta.Model):
    """Rights of a container; what is set here wins over the Pod's."""

    run_as_user: int | None = Field(default=None, ge=0)
    """Uid of the process."""
    run_as_group: int | None = Field(default=None, ge=0)
    """Gid of the process."""
    run_as_non_root: bool | None = None
    """Whether a container that would run as root is not started."""
    read_only_root_filesystem: bool | None = None
    """Whether the root filesystem is read-only."""
    allow_privilege_escalation: bool | None = None
    """Whether a process may gain more rights than its parent. Never here, unless the container is privileged."""
    privileged: bool | None = None
    """Whether it has the rights of root on the Node; only where the Node's owner allows it."""
    capabilities: Capabilities | None = None
    """Capabilities to add and drop."""
    seccomp_profile: SeccompProfile | None = None
    """Filter of system calls."""
    app_armor_profile: AppArmorProfile | None = None
    """AppArmor profile."""
    se_linux_options: SELinuxOptions | None = None
    """SELinux label."""
    proc_mount: Literal["Default", "Unmasked"] | None = None
    """How ``/proc`` is mounted."""
    windows_options: Opaque | None = None
    """Windows containers."""


class Sysctl(meta.Model):
    """A kernel parameter."""

    name: str
    """Name, such as ``net.core.somaxconn``."""
    value: str
    """Value."""


class PodSecurityContext(meta.Model):
    """Rights of all containers of a Pod."""

    run_as_user: int | None = Field(default=None, ge=0)
    """Uid of the processes."""
    run_as_group: int | None = Field(default=None, ge=0)
    """Gid of the processes."""
    run_as_non_root: bool | None = None
    """Whether containers that would run as root are not started."""
    fs_group: int | None = Field(default=None, ge=0)
    """Gid that owns the volumes and that all processes have."""
    fs_group_change_policy: Literal["Always", "OnRootMismatch"] | None = None
    """When the owner of a volume's files is changed: always, or only where the root of the volume has another."""
    supplemental_groups: meta.AtomicList[int] = ()
    """More gids of all processes."""
    supplemental_groups_policy: Literal["Merge", "Strict"] | None = None
    """Whether the groups of the image's user count too (``Merge``)."""
    sysctls: meta.AtomicList[Sysctl] = ()
    """Kernel parameters of the Pod's own network and IPC namespaces."""
    seccomp_profile: SeccompProfile | None = None
    """Filter of system calls."""
    app_armor_profile: AppArmorProfile | None = None
    """AppArmor profile."""
    se_linux_options: SELinuxOptions | None = None
    """SELinux label."""
    se_linux_change_policy: str | None = None
    """How volumes are labelled."""
    windows_options: Opaque | None = None
    """Windows containers."""
