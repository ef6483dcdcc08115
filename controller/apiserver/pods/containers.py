"""Rules of containers of the three kinds. Source: ``validateContainers`` and its neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from controller.apiserver import shaping
from controller.apiserver.pods import environment, phrases, probes, resources, security
from lattice.api import validation
from lattice.api.errors import Cause

Object = Mapping[str, Any]
_EPHEMERAL_NEVER: Final = ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe", "ports", "resizePolicy", "restartPolicy")
_LONG_LIVED: Final = ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")


@dataclass(frozen=True, slots=True)
class Setting:
    """What a container's rules depend on besides itself."""

    volumes: frozenset[str]
    grace_s: int
    has_os: bool


def check_containers(spec: Object) -> list[Cause]:
    """Check all containers of a Pod."""
    setting = Setting(
        frozenset(volume["name"] for volume in spec.get("volumes") or ()),
        spec.get("terminationGracePeriodSeconds") or 30,
        bool((spec.get("os") or {}).get("name")),
    )
    containers = spec.get("containers") or []
    causes = [] if containers else [shaping.required("spec.containers")]
    seen: set[str] = set()
    for index, container in enumerate(containers):
        where = f"spec.containers[{index}]"
        causes += _check_container(container, where, setting)
        if container.get("restartPolicy") is not None:
            causes.append(shaping.forbidden(f"{where}.restartPolicy", "may not be set for non-init containers"))
        if container["name"] in seen:
            causes.append(shaping.duplicate(f"{where}.name", container["name"]))
        seen.add(container["name"])
    causes += _check_host_ports(containers, "spec.containers")
    for index, container in enumerate(spec.get("initContainers") or ()):
        where = f"spec.initContainers[{index}]"
        causes += _check_container(container, where, setting)
        if container["name"] in seen:
            causes.append(shaping.duplicate(f"{where}.name", container["name"]))
        seen.add(container["name"])
        if container.get("restartPolicy") != "Always":
            message = "may not be set for init containers without restartPolicy=Always"
            causes += [shaping.forbidden(f"{where}.{field}", message) for field in _LONG_LIVED if container.get(field) is not None]
    for index, container in enumerate(spec.get("ephemeralContainers") or ()):
        causes += _check_ephemeral(container, f"spec.ephemeralContainers[{index}]", setting, spec, seen)
    return causes


def _check_ephemeral(container: Object, where: str, setting: Setting, spec: Object, seen: set[str]) -> list[Cause]:
    causes = _check_container({key: value for key, value in container.items() if key not in _EPHEMERAL_NEVER}, where, setting)
    if container["name"] in seen:
        causes.append(shaping.duplicate(f"{where}.name", container["name"]))
    seen.add(container["name"])
    target = container.get("targetContainerName")
    if target and target not in {item["name"] for kind in ("containers", "initContainers") for item in spec.get(kind) or ()}:
        causes.append(phrases.not_found(f"{where}.targetContainerName", target))
    never = [field for field in _EPHEMERAL_NEVER if container.get(field)]
    never += ["resources"] if container.get("resources") else []
    causes += [shaping.forbidden(f"{where}.{field}", "cannot be set for an Ephemeral Container") for field in never]
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        for field in ("subPath", "subPathExpr"):
            if mount.get(field):
                causes.append(shaping.forbidden(f"{where}.volumeMounts[{index}].{field}", "cannot be set for an Ephemeral Container"))
    return causes


def _check_container(container: Object, where: str, setting: Setting) -> list[Cause]:
    causes = phrases.check_with(validation.check_label, f"{where}.name", container["name"])
    image = container.get("image") or ""
    if not image:
        causes.append(shaping.required(f"{where}.image"))
    elif image != image.strip():
        causes.append(shaping.invalid(f"{where}.image", image, "must not have leading or trailing whitespace"))
    if (lifecycle := container.get("lifecycle")) is not None:
        causes += probes.check_lifecycle(lifecycle, f"{where}.lifecycle", grace_s=setting.grace_s, has_os=setting.has_os)
    causes += probes.check_probes(container, where)
    causes += check_ports(container.get("ports") or (), where)
    causes += environment.check_env(container.get("env") or (), where)
    causes += environment.check_env_from(container.get("envFrom") or (), where)
    causes += list(_check_mounts(container, where, setting.volumes))
    causes += resources.check_resources(container.get("resources") or {}, f"{where}.resources")
    if (context := container.get("securityContext")) is not None:
        causes += security.check_container(context, f"{where}.securityContext")
    return causes


def check_ports(ports: Any, where: str) -> list[Cause]:
    """Check the ports of a container. One port and protocol may stand in the list once: they are its keys."""
    causes: list[Cause] = []
    seen: set[tuple[int, str]] = set()
    names: set[str] = set()
    for index, port in enumerate(ports):
        place, name = f"{where}.ports[{index}]", port.get("name")
        if name:
            causes += phrases.check_port_name(name, f"{place}.name")
            if name in names:
                causes.append(shaping.duplicate(f"{place}.name", name))
            names.add(name)
        key = (port["containerPort"], port.get("protocol", "TCP"))
        if key in seen:
            causes.append(shaping.duplicate(place, {"containerPort": key[0], "protocol": key[1]}))
        seen.add(key)
        if address := port.get("hostIP"):
            causes += phrases.check_ip(address, f"{place}.hostIP")
    return causes


def _check_host_ports(containers: list[Object], where: str) -> list[Cause]:
    causes: list[Cause] = []
    taken: set[str] = set()
    for index, container in enumerate(containers):
        for number, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            text = f"{port.get('protocol', 'TCP')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if text in taken:
                causes.append(shaping.duplicate(f"{where}[{index}].ports[{number}].hostPort", text))
            taken.add(text)
    return causes


def _check_mounts(container: Object, where: str, volumes: frozenset[str]) -> Iterator[Cause]:
    paths: set[str] = set()
    privileged = bool((container.get("securityContext") or {}).get("privileged"))
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        place, path = f"{where}.volumeMounts[{index}]", mount["mountPath"]
        if not mount["name"]:
            yield shaping.required(f"{place}.name")
        elif mount["name"] not in volumes:
            yield phrases.not_found(f"{place}.name", mount["name"])
        if path in paths:
            yield shaping.invalid(f"{place}.mountPath", path, "must be unique")
        paths.add(path)
        if not path.startswith("/"):  # Kubernetes leaves this to the runtime, where it fails with less of a reason
            yield shaping.invalid(f"{place}.mountPath", path, "must be an absolute path")
        if mount.get("subPath") and mount.get("subPathExpr"):
            yield shaping.invalid(f"{place}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive")
        for field in ("subPath", "subPathExpr"):
            if mount.get(field):
                yield from phrases.check_descending(mount[field], f"{place}.{field}")
        if mount.get("mountPropagation") == "Bidirectional" and not privileged:
            message = "Bidirectional mount propagation is available only to privileged containers"
            yield shaping.forbidden(f"{place}.mountPropagation", message)
        if mount.get("recursiveReadOnly", "Disabled") != "Disabled" and not mount.get("readOnly"):
            yield shaping.forbidden(f"{place}.recursiveReadOnly", "may only be specified when readOnly is true")
