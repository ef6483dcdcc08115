"""What a container mounts, and what has to be there for it. Pure."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field, replace
from typing import Final

from lattice.api import pod, quantity
from nodeagent.blueprint import environment
from nodeagent.blueprint.filevolumes import is_file_volume, make_file_volume
from nodeagent.blueprint.values import Address, Blueprint, ConfigError, GuardedMount, Node, Owned, References, Scratch, missing
from nodeagent.runtime import base
from nodeagent.volumes import files

_SET_GID: Final = 0o2000


@dataclass(slots=True, kw_only=True)
class Mounts:
    """What was found; filled while the mounts of a container are looked at."""

    mounts: list[base.Mount] = field(default_factory=list)
    files: dict[str, files.FileVolume] = field(default_factory=dict)
    claims: list[str] = field(default_factory=list)
    scratch: dict[str, Scratch] = field(default_factory=dict)
    guarded: list[GuardedMount] = field(default_factory=list)
    owned: dict[str, Owned] = field(default_factory=dict)


def make_mounts(
    wanted: pod.Pod, container: pod.Container, variables: dict[str, str], references: References, node: Node, address: Address
) -> Mounts:
    """Return the mounts of a container.

    Raises:
        ConfigError: something is missing, or the node does not allow it.
    """
    by_name = {volume.name: volume for volume in wanted.spec.volumes}
    made = Mounts()
    for mount in container.volume_mounts:
        volume = by_name.get(mount.name)
        if volume is None:
            raise missing(f"volume {mount.name!r} of mount {mount.mount_path} is not defined in the Pod")
        sub_path = _sub_path(mount, variables)
        target = posixpath.join("/", mount.mount_path)
        if volume.persistent_volume_claim is not None:
            source = volume.persistent_volume_claim
            handle = _claim_volume(wanted, source.claim_name, references)
            if handle not in made.claims:
                made.claims.append(handle)
            read_only = bool(mount.read_only or source.read_only)
            _own(made, wanted, handle, target, read_only=read_only or bool(sub_path))
            _add_volume(made, handle, target, sub_path, read_only=read_only, copy_image=True)
        elif volume.empty_dir is not None:
            scratch = make_scratch(wanted, volume.name, volume.empty_dir, target)
            made.scratch.setdefault(scratch.volume, scratch)
            _add_volume(made, scratch.volume, target, sub_path, read_only=bool(mount.read_only), copy_image=False)
        elif volume.host_path is not None:
            made.guarded.append(_host_mount(volume.host_path, mount, target, sub_path, node))
        elif is_file_volume(volume):
            found = made.files.get(volume.name) or make_file_volume(wanted, volume, references, node, address)
            made.files[volume.name] = found
            made.mounts.append(_file_mount(wanted, found, target, sub_path, node))
        else:
            raise ConfigError("Unsupported", f"volume {volume.name!r} has a source that this version does not know")
    return made


def make_scratch(wanted: pod.Pod, name: str, source: pod.EmptyDirVolumeSource, target: str) -> Scratch:
    """Return the Docker volume of an ``emptyDir``."""
    group = _fs_group(wanted)
    return Scratch(
        volume=f"lattice-pod-{wanted.uid}-{name}",
        target=target,
        mode=0o777 if group is None else 0o777 | _SET_GID,
        gid=group or 0,
        memory=source.medium == "Memory",
        size_bytes=quantity.to_units(source.size_limit) if source.size_limit else None,
    )


def with_memory(blueprint: Blueprint, wanted: pod.Pod) -> Blueprint:
    """Return a pause container's blueprint with the Pod's volumes in memory.

    Such a volume is there as long as somebody mounts it; so it outlives a restart of the others, as in Kubernetes.
    """
    held = [
        make_scratch(wanted, volume.name, volume.empty_dir, f"/memory/{volume.name}")
        for volume in wanted.spec.volumes
        if volume.empty_dir is not None and volume.empty_dir.medium == "Memory"
    ]
    mounts = tuple(base.Mount(kind="volume", target=one.target, source=one.volume, copy_image=False) for one in held)
    return replace(blueprint, config=replace(blueprint.config, mounts=mounts), scratch=tuple(held))


def _fs_group(wanted: pod.Pod) -> int | None:
    return wanted.spec.security_context.fs_group if wanted.spec.security_context else None


def _sub_path(mount: pod.VolumeMount, variables: dict[str, str]) -> str:
    """Return the path inside the volume, empty for its root."""
    if mount.sub_path_expr:
        path = environment.expand(mount.sub_path_expr, variables)
        if "$(" in path:
            raise missing(f"subPathExpr {mount.sub_path_expr!r} of {mount.mount_path} names a variable that the container does not have")
    else:
        path = mount.sub_path or ""
    if path and not files.is_safe_path(path):
        raise missing(f"subPath {path!r} of {mount.mount_path} must be relative and stay inside the volume")
    return "" if path in ("", ".") else posixpath.normpath(path)


def _add_volume(made: Mounts, volume: str, target: str, sub_path: str, *, read_only: bool, copy_image: bool) -> None:
    if sub_path:
        made.guarded.append(GuardedMount(target=target, read_only=read_only, volume=volume, path=sub_path, create=True))
    else:
        made.mounts.append(base.Mount(kind="volume", target=target, source=volume, read_only=read_only, copy_image=copy_image))


def _own(made: Mounts, wanted: pod.Pod, volume: str, target: str, *, read_only: bool) -> None:
    """Note a claim whose files go to the Pod's group; where it is only read, its owner stays, as in Kubernetes."""
    group = _fs_group(wanted)
    if group is None or read_only or wanted.spec.security_context is None:
        return
    policy = wanted.spec.security_context.fs_group_change_policy
    made.owned.setdefault(volume, Owned(volume=volume, target=target, gid=group, only_if_root_differs=policy == "OnRootMismatch"))


def _claim_volume(wanted: pod.Pod, claim_name: str, references: References) -> str:
    claim = references.claims.get((wanted.namespace, claim_name))
    if claim is None:
        raise missing(f'persistentvolumeclaim "{claim_name}" not found')
    volume = references.volumes.get(claim.spec.volume_name or "")
    if volume is None or volume.spec.csi is None:
        raise missing(f'persistentvolumeclaim "{claim_name}" is not bound to a volume yet')
    if volume.spec.claim_ref is not None and volume.spec.claim_ref.uid not in (None, claim.uid):
        raise missing(f'persistentvolume "{volume.name}" belongs to another claim than "{claim_name}"')
    return volume.spec.csi.volume_handle


def _file_mount(wanted: pod.Pod, volume: files.FileVolume, target: str, sub_path: str, node: Node) -> base.Mount:
    source = f"{node.run_dir}/{wanted.uid}/{volume.name}"
    if sub_path:
        if not any(file.path == sub_path or file.path.startswith(f"{sub_path}/") for file in volume.files):
            raise missing(f"subPath {sub_path!r} of {target}: there is no such key in volume {volume.name!r}")
        # The link to the present files is followed when the container starts: what is mounted does not change after it, as in Kubernetes.
        source = f"{source}/{files.CURRENT}/{sub_path}"
    return base.Mount(kind="bind", target=target, source=source, read_only=True)


def _host_mount(source: pod.HostPathVolumeSource, mount: pod.VolumeMount, target: str, sub_path: str, node: Node) -> GuardedMount:
    """Return a mount of the node's own files, where its owner allows it."""
    path = posixpath.normpath(posixpath.join("/", source.path, sub_path))
    read_only = bool(mount.read_only)
    allowed = [rule for rule in node.rules.host_paths if path == rule[0] or path.startswith(rule[0].rstrip("/") + "/")]
    if not source.path.startswith("/") or not allowed:
        text = f"the owner of node {node.name} does not allow Pods to mount {source.path}: use a claim, or ask for --allow-host-path"
        raise ConfigError("HostPathNotAllowed", text)
    writable = [rule for rule in allowed if rule[1]]
    if not read_only and not writable:
        text = f"the owner of node {node.name} allows Pods to mount {source.path} read-only: set readOnly: true on the mount"
        raise ConfigError("HostPathNotAllowed", text)
    prefix = max((rule[0] for rule in (allowed if read_only else writable)), key=len)
    return GuardedMount(
        target=target,
        read_only=read_only,
        prefix=prefix,
        path=posixpath.relpath(path, prefix) if path != prefix else "",
        type=source.type or "",
        create=bool(sub_path) or (source.type or "") in ("", "DirectoryOrCreate"),
    )
