"""From a Pod to what a container needs: environment, mounts, ports, labels, hash. Pure.

Called by the worker of a Pod before it creates a container. Guarantees: the same inputs give an equal :class:`Blueprint`; nothing is
guessed: what is missing raises :class:`ConfigError`, whose reason and sentence become the container's waiting state. Host ports are not
chosen here (``nodeagent/ports``), files are not written here (``nodeagent/volumes``).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import orjson

from lattice.api import configmap, pod, quantity, storage
from lattice.api.errors import LatticeError
from nodeagent.runtime import base
from nodeagent.volumes import files

_VARIABLE = re.compile(r"\$(?:\$|\(([A-Za-z_.\-][\w.\-]*)\))")
_FIELD_KEY = re.compile(r"^metadata\.(labels|annotations)\['([^']+)'\]$")
_MAX_HOSTNAME: Final = 63


class ConfigError(LatticeError):
    """The container cannot be made from what is known now.

    Args:
        reason: the waiting reason: ``CreateContainerConfigError``, ``Unsupported``.
        message: a sentence for a person.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """The objects that Pods of this node use, by namespace and name."""

    secrets: Mapping[tuple[str, str], configmap.Secret] = field(default_factory=dict, repr=False)
    config_maps: Mapping[tuple[str, str], configmap.ConfigMap] = field(default_factory=dict)
    claims: Mapping[tuple[str, str], storage.PersistentVolumeClaim] = field(default_factory=dict)
    volumes: Mapping[str, storage.PersistentVolume] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What of the node a container sees or carries."""

    name: str
    uid: str
    cluster_id: str
    host_ip: str
    run_dir: str
    """Where the files of Secret and ConfigMap volumes are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """Everything for a container but its restart number and host ports."""

    config: base.ContainerConfig
    files: tuple[files.FileVolume, ...] = field(default=(), repr=False)
    """Written before the container is created."""
    volumes: tuple[str, ...] = ()
    """Docker volumes of claims, ensured before."""
    scratch_volumes: tuple[str, ...] = ()
    """Docker volumes of this Pod alone, removed with it."""


def spec_hash(wanted: pod.Pod, container: pod.Container) -> str:
    """Return a hash of what must not change without a new container of a Pod; each of its containers has its own.

    Only fields that change what runs count, and only as they were written: values of Secrets do not (a rotation restarts nothing, as in
    Kubernetes), nor defaults that a newer server would fill in.
    """
    fields = [
        container.name,
        container.image,
        container.command,
        container.args,
        container.working_dir,
        [variable.to_dict() for variable in container.env],
        [source.to_dict() for source in container.env_from],
        [mount.to_dict() for mount in container.volume_mounts],
        dict(container.resources.limits),
        container.security_context.to_dict() if container.security_context else None,
    ]
    return hashlib.sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def container_name(wanted: pod.Pod, container: str, restarts: int) -> str:
    """Return the container's name in Docker. The uid tells it from another Pod of this name: of an earlier life, or a cluster."""
    return f"lattice_{wanted.namespace}_{wanted.name}_{container}_{wanted.uid[:8]}_{restarts}"


def make_blueprint(wanted: pod.Pod, container: pod.Container, references: References, node: Node) -> Blueprint:
    """Return what to create for one container of a Pod.

    Raises:
        ConfigError: something it needs is missing or not supported.
    """
    if not container.image:
        raise ConfigError("InvalidImageName", f"container {container.name} has no image")
    environment = _environment(wanted, container, references, node)
    mounts, file_volumes, claim_volumes, scratch = _mounts(wanted, container, references, node)
    limits = container.resources.limits
    security = container.security_context or pod.SecurityContext()
    config = base.ContainerConfig(
        name=container_name(wanted, container.name, 0),
        image=container.image,
        labels={
            base.LABEL_NODE: node.uid,
            base.LABEL_CLUSTER: node.cluster_id,
            base.LABEL_POD_UID: wanted.uid,
            base.LABEL_POD_NAME: wanted.name,
            base.LABEL_POD_NAMESPACE: wanted.namespace,
            base.LABEL_CONTAINER: container.name,
            base.LABEL_SPEC_HASH: spec_hash(wanted, container),
        },
        entrypoint=tuple(expand(part, environment) for part in container.command) or None,
        command=tuple(expand(part, environment) for part in container.args) or (() if container.command else None),
        env=tuple(environment.items()),
        working_dir=container.working_dir,
        hostname=(wanted.spec.hostname or wanted.name)[:_MAX_HOSTNAME].rstrip(".-"),
        user=_user(security),
        mounts=mounts,
        cpu_millis=quantity.to_millis(limits["cpu"]) if "cpu" in limits else None,
        memory_bytes=quantity.to_units(limits["memory"]) if "memory" in limits else None,
        read_only_root=bool(security.read_only_root_filesystem),
        tty=bool(container.tty),
        stdin=bool(container.stdin),
    )
    return Blueprint(config=config, files=file_volumes, volumes=claim_volumes, scratch_volumes=scratch)


def with_attempt(blueprint: Blueprint, wanted: pod.Pod, *, restarts: int, ports: tuple[base.PortBinding, ...]) -> base.ContainerConfig:
    """Return the configuration of one attempt: its name, its number, its host ports."""
    config = blueprint.config
    labels = {**config.labels, base.LABEL_RESTARTS: str(restarts)}
    if ports:
        labels[base.LABEL_HOST_PORTS] = host_ports_text(ports)
    return replace(config, name=container_name(wanted, config.labels[base.LABEL_CONTAINER], restarts), labels=labels, ports=ports)


def host_ports_text(ports: tuple[base.PortBinding, ...]) -> str:
    """Return the text of the ``lattice.dev/host-ports`` annotation and label."""
    return orjson.dumps(
        [
            {"containerPort": port.container_port, "protocol": port.protocol, "hostIP": port.host_ip, "hostPort": port.host_port}
            for port in ports
        ]
    ).decode()


def parse_host_ports(text: str) -> tuple[base.PortBinding, ...]:
    """Parse what :func:`host_ports_text` wrote; anything else is nothing (a user may have edited the annotation)."""
    try:
        return tuple(
            base.PortBinding(
                container_port=int(entry["containerPort"]),
                host_port=int(entry["hostPort"]),
                host_ip=str(entry["hostIP"]),
                protocol=str(entry.get("protocol", "TCP")),
            )
            for entry in orjson.loads(text)
        )
    except (ValueError, TypeError, KeyError):
        return ()


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Replace ``$(VAR)`` by its value, ``$$`` by ``$``; an unknown variable stays as it is written (Kubernetes' rule)."""

    def value(match: re.Match[str]) -> str:
        return environment.get(match.group(1), match.group(0)) if match.group(1) else "$"

    return _VARIABLE.sub(value, text)


def _user(security: pod.SecurityContext) -> str | None:
    if security.run_as_user is None:
        return None if security.run_as_group is None else f"0:{security.run_as_group}"
    return str(security.run_as_user) if security.run_as_group is None else f"{security.run_as_user}:{security.run_as_group}"


def _environment(wanted: pod.Pod, container: pod.Container, references: References, node: Node) -> dict[str, str]:
    result: dict[str, str] = {}
    for source in container.env_from:
        prefix = source.prefix or ""
        for reference, secret in ((source.config_map_ref, False), (source.secret_ref, True)):
            if reference is not None:
                content = _content(wanted.namespace, reference.name, references, secret=secret, optional=bool(reference.optional))
                result.update({f"{prefix}{key}": value.decode(errors="replace") for key, value in sorted(content.items())})
    for variable in container.env:
        if variable.value_from is None:
            result[variable.name] = expand(variable.value or "", result)
        else:
            value = _value_from(wanted, variable.value_from, references, node)
            if value is not None:
                result[variable.name] = value
    return result


def _value_from(wanted: pod.Pod, source: pod.EnvVarSource, references: References, node: Node) -> str | None:
    if source.field_ref is not None:
        return _field(wanted, source.field_ref.field_path, node)
    secret = source.secret_key_ref is not None
    selector = source.secret_key_ref or source.config_map_key_ref
    if selector is None:
        return ""
    content = _content(wanted.namespace, selector.name, references, secret=secret, optional=bool(selector.optional))
    if selector.key in content:
        return content[selector.key].decode(errors="replace")
    if selector.optional:
        return None
    kind = "Secret" if secret else "ConfigMap"
    raise ConfigError("CreateContainerConfigError", f"couldn't find key {selector.key} in {kind} {wanted.namespace}/{selector.name}")


def _field(wanted: pod.Pod, path: str, node: Node) -> str:
    simple = {
        "metadata.name": wanted.name,
        "metadata.namespace": wanted.namespace,
        "metadata.uid": str(wanted.uid),
        "spec.nodeName": wanted.spec.node_name or "",
        "spec.serviceAccountName": wanted.spec.service_account_name or "default",
        "status.hostIP": node.host_ip,
    }
    if path in simple:
        return simple[path]
    if match := _FIELD_KEY.match(path):
        source = wanted.metadata.labels if match.group(1) == "labels" else wanted.metadata.annotations
        return source.get(match.group(2), "")
    raise ConfigError("CreateContainerConfigError", f"field path {path!r} is not available to environment variables")


def _content(namespace: str, name: str, references: References, *, secret: bool, optional: bool) -> dict[str, bytes]:
    if secret:
        found = references.secrets.get((namespace, name))
        if found is not None:
            return {key: base64.b64decode(value) for key, value in found.data.items()}
    else:
        config_map = references.config_maps.get((namespace, name))
        if config_map is not None:
            binary = {key: base64.b64decode(value) for key, value in config_map.binary_data.items()}
            return {**{key: value.encode() for key, value in config_map.data.items()}, **binary}
    if optional:
        return {}
    raise ConfigError("CreateContainerConfigError", f'{"secret" if secret else "configmap"} "{name}" not found')


def _mounts(
    wanted: pod.Pod, container: pod.Container, references: References, node: Node
) -> tuple[tuple[base.Mount, ...], tuple[files.FileVolume, ...], tuple[str, ...], tuple[str, ...]]:
    by_name = {volume.name: volume for volume in wanted.spec.volumes}
    mounts: list[base.Mount] = []
    file_volumes: dict[str, files.FileVolume] = {}
    claims: list[str] = []
    scratch: list[str] = []
    for mount in container.volume_mounts:
        volume = by_name.get(mount.name)
        if volume is None:
            raise ConfigError("CreateContainerConfigError", f"volume {mount.name!r} of mount {mount.mount_path} is not defined in the Pod")
        if volume.persistent_volume_claim is not None:
            _refuse_sub_path(mount)
            handle = _claim_volume(wanted, volume.persistent_volume_claim.claim_name, references)
            claims.append(handle)
            read_only = bool(mount.read_only or volume.persistent_volume_claim.read_only)
            mounts.append(base.Mount(kind="volume", target=mount.mount_path, source=handle, read_only=read_only))
        elif volume.empty_dir is not None:
            _refuse_sub_path(mount)
            mounts.append(_empty_dir(wanted, volume.name, volume.empty_dir, mount, scratch))
        else:
            made = file_volumes.setdefault(volume.name, _file_volume(wanted, volume, references))
            source = f"{node.run_dir}/{wanted.uid}/{volume.name}" + (f"/{mount.sub_path}" if mount.sub_path else "")
            if mount.sub_path and mount.sub_path not in {file.path for file in made.files}:
                raise ConfigError("CreateContainerConfigError", f"subPath {mount.sub_path!r} of {mount.mount_path}: there is no such key")
            mounts.append(base.Mount(kind="bind", target=mount.mount_path, source=source, read_only=True))
    return tuple(mounts), tuple(file_volumes.values()), tuple(claims), tuple(scratch)


def _refuse_sub_path(mount: pod.VolumeMount) -> None:
    if mount.sub_path:
        raise ConfigError("Unsupported", f"subPath of {mount.mount_path}: only Secret and ConfigMap volumes have sub-paths in this version")


def _empty_dir(wanted: pod.Pod, name: str, source: pod.EmptyDirVolumeSource, mount: pod.VolumeMount, scratch: list[str]) -> base.Mount:
    if source.medium == "Memory":
        size = quantity.to_units(source.size_limit) if source.size_limit else None
        return base.Mount(kind="tmpfs", target=mount.mount_path, size_bytes=size, read_only=bool(mount.read_only))
    volume = f"lattice-pod-{wanted.uid}-{name}"
    if volume not in scratch:
        scratch.append(volume)
    return base.Mount(kind="volume", target=mount.mount_path, source=volume, read_only=bool(mount.read_only))


def _claim_volume(wanted: pod.Pod, claim_name: str, references: References) -> str:
    claim = references.claims.get((wanted.namespace, claim_name))
    if claim is None:
        raise ConfigError("CreateContainerConfigError", f'persistentvolumeclaim "{claim_name}" not found')
    volume = references.volumes.get(claim.spec.volume_name or "")
    if volume is None or volume.spec.csi is None:
        raise ConfigError("CreateContainerConfigError", f'persistentvolumeclaim "{claim_name}" is not bound to a volume yet')
    if volume.spec.claim_ref is not None and volume.spec.claim_ref.uid not in (None, claim.uid):
        raise ConfigError("CreateContainerConfigError", f'persistentvolume "{volume.name}" belongs to another claim than "{claim_name}"')
    return volume.spec.csi.volume_handle


def _file_volume(wanted: pod.Pod, volume: pod.Volume, references: References) -> files.FileVolume:
    if volume.secret is not None:
        name, items, optional = volume.secret.secret_name or "", volume.secret.items, bool(volume.secret.optional)
        mode, secret = volume.secret.default_mode, True
    elif volume.config_map is not None:
        name, items, optional = volume.config_map.name, volume.config_map.items, bool(volume.config_map.optional)
        mode, secret = volume.config_map.default_mode, False
    else:
        raise ConfigError("Unsupported", f"volume {volume.name!r} has a source that this version does not know")
    content = _content(wanted.namespace, name, references, secret=secret, optional=optional)
    default_mode = 0o644 if mode is None else mode
    chosen = items or tuple(pod.KeyToPath(key=key, path=key) for key in sorted(content))
    made = []
    for item in chosen:
        if item.key not in content:
            if optional:
                continue
            raise ConfigError("CreateContainerConfigError", f"references non-existent key {item.key} of {name}")
        if not files.is_safe_path(item.path):
            raise ConfigError("CreateContainerConfigError", f"path {item.path!r} of volume {volume.name!r} must stay inside the volume")
        made.append(files.File(path=item.path, content=content[item.key], mode=default_mode if item.mode is None else item.mode))
    return files.FileVolume(name=volume.name, files=tuple(made))
