"""The rights of a container: what it asks for, against what the node's owner allows. Pure.

A container's own ``securityContext`` wins over the Pod's, field by field. What weakens isolation and is not allowed is refused, never left
out silently: a program that believes it has a right would fail in stranger ways.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lattice.api import pod
from nodeagent.blueprint.values import ConfigError, Node
from nodeagent.runtime import base

_ALL: Final = "ALL"
_PREFIX: Final = "CAP_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """Rights as a container's configuration says them."""

    user: str | None
    groups: tuple[str, ...]
    read_only_root: bool
    privileged: bool
    no_new_privileges: bool
    capabilities: tuple[str, ...]
    seccomp: str | None
    seccomp_file: str
    non_root: bool
    """The image's user must not be root: nothing else says who runs."""
    group: int | None
    """Gid that goes with the image's user."""


def make_rights(wanted: pod.Pod, container: pod.Container, node: Node) -> Rights:
    """Return the rights of a container.

    Raises:
        ConfigError: it asks for something that this node does not allow.
    """
    whole = wanted.spec.security_context or pod.PodSecurityContext()
    own = container.security_context or pod.SecurityContext()
    user = whole.run_as_user if own.run_as_user is None else own.run_as_user
    group = whole.run_as_group if own.run_as_group is None else own.run_as_group
    non_root = whole.run_as_non_root if own.run_as_non_root is None else own.run_as_non_root
    if non_root and user == 0:
        raise ConfigError("CreateContainerConfigError", "container's runAsUser breaks non-root policy")
    privileged = bool(own.privileged)
    if privileged and not node.rules.privileged:
        text = f"container {container.name} is privileged, which the owner of node {node.name} does not allow (--allow-privileged)"
        raise ConfigError("PrivilegedNotAllowed", text)
    seccomp, seccomp_file = _seccomp(container, own.seccomp_profile or whole.seccomp_profile, node)
    return Rights(
        user=_user(user, group),
        groups=_groups(whole),
        read_only_root=bool(own.read_only_root_filesystem),
        privileged=privileged,
        # Only who is as good as root on the node may gain rights; the field cannot ask for it otherwise.
        no_new_privileges=not (privileged and own.allow_privilege_escalation is not False),
        capabilities=_capabilities(container, own.capabilities or pod.Capabilities(), node),
        seccomp="unconfined" if privileged and seccomp is None and not seccomp_file else seccomp,
        seccomp_file=seccomp_file,
        non_root=bool(non_root) and user is None,
        group=group if user is None else None,
    )


def runs_as_root(user: str) -> bool | None:
    """Return whether an image's ``USER`` is root; ``None``: a name says nothing about its number."""
    name = user.partition(":")[0]
    if name in ("", "root"):
        return True
    return int(name) == 0 if name.isdigit() else None


def _user(user: int | None, group: int | None) -> str | None:
    if user is None:
        return None
    return str(user) if group is None else f"{user}:{group}"


def _groups(whole: pod.PodSecurityContext) -> tuple[str, ...]:
    wanted = [*whole.supplemental_groups, *([whole.fs_group] if whole.fs_group is not None else [])]
    return tuple(str(number) for number in dict.fromkeys(wanted))


def _capabilities(container: pod.Container, asked: pod.Capabilities, node: Node) -> tuple[str, ...]:
    """Return the whole set: the usual ones, less what is dropped, and what is added and allowed. What is added stays, as in Kubernetes."""
    added, dropped = [_bare(name) for name in asked.add], {_bare(name) for name in asked.drop}
    allowed = set(base.CAPABILITIES) | node.rules.capabilities
    refused = [name for name in added if name not in allowed and _ALL not in node.rules.capabilities]
    if refused and not node.rules.privileged:
        text = (
            f"container {container.name} adds capability {', '.join(refused)}, "
            f"which the owner of node {node.name} does not allow (--allow-capability)"
        )
        raise ConfigError("CapabilityNotAllowed", text)
    if _ALL in added:
        return (_ALL,)
    kept = () if _ALL in dropped else tuple(name for name in base.CAPABILITIES if name not in dropped)
    return tuple(dict.fromkeys((*kept, *added)))


def _bare(name: str) -> str:
    return name.upper().removeprefix(_PREFIX)


def _seccomp(container: pod.Container, profile: pod.SeccompProfile | None, node: Node) -> tuple[str | None, str]:
    """Return the profile and the file to read it from: of both, one or none."""
    if profile is None or profile.type == "RuntimeDefault":
        return None, ""
    if profile.type == "Unconfined":
        if not (node.rules.unconfined or node.rules.privileged):
            text = (
                f"container {container.name} switches seccomp off, which the owner of node {node.name} does not allow (--allow-unconfined)"
            )
            raise ConfigError("UnconfinedNotAllowed", text)
        return "unconfined", ""
    name = profile.localhost_profile or ""
    if not node.rules.seccomp_dir:
        raise ConfigError("Unsupported", f"seccomp profile {name!r}: node {node.name} has no directory of profiles (--seccomp-dir)")
    if not name or name.startswith("/") or ".." in name.split("/"):
        raise ConfigError("CreateContainerConfigError", f"seccomp profile {name!r} must be a path below the node's directory of profiles")
    return None, f"{node.rules.seccomp_dir}/{name}"
