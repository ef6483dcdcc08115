"""Defaults of a Pod, as kube-apiserver fills them in (``pkg/apis/core/v1/defaults.go`` and the admission of service accounts).

They run before unknown fields, nulls and wrong types are dealt with, so nothing here relies on a shape. What the schema says (protocol
of a port, thresholds of a probe) is not repeated. Idempotent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

Object = dict[str, Any]

FILE_MODE: Final = 0o644
CONTAINER_LISTS: Final = ("initContainers", "containers", "ephemeralContainers")
_PROBES: Final = ("startupProbe", "readinessProbe", "livenessProbe")
_HOOKS: Final = ("postStart", "preStop")
_FILE_SOURCES: Final = ("secret", "configMap", "projected", "downwardAPI")


def default_pod(obj: Object) -> None:
    """Fill in the defaults of a Pod in place."""
    spec = _dict(obj.get("spec"))
    if not spec:
        return
    _set(spec, "restartPolicy", "Always")
    _set(spec, "dnsPolicy", "ClusterFirst")
    _set(spec, "terminationGracePeriodSeconds", 30)
    _set(spec, "securityContext", {})
    _set(spec, "schedulerName", "default-scheduler")
    _set(spec, "enableServiceLinks", True)
    _set(spec, "priority", 0)
    account = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = account
    for volume in _items(spec, "volumes"):
        _default_volume(volume)
    for kind in CONTAINER_LISTS:
        for container in _items(spec, kind):
            _default_container(container, reserves=kind != "ephemeralContainers")


def _default_volume(volume: Object) -> None:
    if not any(value is not None for key, value in volume.items() if key != "name"):
        volume["emptyDir"] = {}
    for kind in _FILE_SOURCES:
        source = volume.get(kind)
        if isinstance(source, dict):
            _set(source, "defaultMode", FILE_MODE)
            _default_files(source)
            for projection in _items(source, "sources"):
                _default_files(_dict(projection.get("downwardAPI")))
                if isinstance(token := projection.get("serviceAccountToken"), dict):
                    _set(token, "expirationSeconds", 3600)
    if isinstance(path := volume.get("hostPath"), dict):
        _set(path, "type", "")


def _default_files(source: Object) -> None:
    for item in _items(source, "items"):
        _default_selectors(item)


def _default_selectors(holder: Object) -> None:
    if isinstance(field := holder.get("fieldRef"), dict):
        _set(field, "apiVersion", "v1")
    if isinstance(resource := holder.get("resourceFieldRef"), dict):
        _set(resource, "divisor", "0")


def _default_container(container: Object, *, reserves: bool) -> None:
    _set(container, "terminationMessagePath", "/dev/termination-log")
    _set(container, "terminationMessagePolicy", "File")
    image = container.get("image")
    if isinstance(image, str):
        _set(container, "imagePullPolicy", "Always" if is_floating(image) else "IfNotPresent")
    _set(container, "resources", {})
    if reserves:
        _default_requests(_dict(container.get("resources")))
    for variable in _items(container, "env"):
        _default_selectors(_dict(variable.get("valueFrom")))
    for name in _PROBES:
        _default_action(_dict(container.get(name)))
        if isinstance(grpc := _dict(container.get(name)).get("grpc"), dict):
            _set(grpc, "service", "")
    for name in _HOOKS:
        _default_action(_dict(_dict(container.get("lifecycle")).get(name)))


def _default_requests(resources: Object) -> None:
    limits, requests = resources.get("limits"), resources.get("requests")
    if not isinstance(limits, dict) or not limits or not isinstance(requests, dict | None):
        return
    resources["requests"] = {**limits, **{name: amount for name, amount in (requests or {}).items() if amount is not None}}


def _default_action(holder: Object) -> None:
    if isinstance(get := holder.get("httpGet"), dict):
        _set(get, "path", "/")
        _set(get, "scheme", "HTTP")


def is_floating(image: str) -> bool:
    """Return whether an image reference has no tag or ``latest``, and no digest."""
    if "@" in image:
        return False
    tag = image.rpartition("/")[2].partition(":")[2]
    return tag in {"", "latest"}


def _set(holder: Object, key: str, value: Any) -> None:
    if holder.get(key) is None:
        holder[key] = value


def _dict(value: Any) -> Object:
    return value if isinstance(value, dict) else {}


def _items(holder: Object, key: str) -> Iterator[Object]:
    value = holder.get(key)
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else iter(())
