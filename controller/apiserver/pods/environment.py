"""Rules of environment variables and of the fields that they, and downward volumes, may name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from controller.apiserver import shaping
from controller.apiserver.pods import phrases
from lattice.api import quantity, validation
from lattice.api.errors import Cause

Object = Mapping[str, Any]

ENV_FIELDS: Final = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs",
    "status.podIP", "status.podIPs",
)  # fmt: skip
VOLUME_FIELDS: Final = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_KNOWN_FIELDS: Final = {*ENV_FIELDS, *VOLUME_FIELDS, "spec.restartPolicy", "spec.schedulerName", "status.phase"}
_SUBSCRIPT: Final = re.compile(r"(metadata\.(?:labels|annotations))\['(.*)'\]\Z")
_RESOURCES: Final = (
    "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory",
)  # fmt: skip
_SOURCES: Final = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef")
_DIVISORS: Final = {
    "cpu": ("1m", "1"),
    "memory": ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"),
}


def check_env(env: Iterable[Object], where: str) -> list[Cause]:
    """Check the variables of a container."""
    causes: list[Cause] = []
    for index, variable in enumerate(env):
        place = f"{where}.env[{index}]"
        causes += phrases.check_env_name(variable["name"], f"{place}.name")
        source = variable.get("valueFrom")
        if source is not None:
            causes += _check_source(variable, source, f"{place}.valueFrom")
    return causes


def _check_source(variable: Object, source: Object, where: str) -> list[Cause]:
    present = [name for name in _SOURCES if source.get(name) is not None]
    if not present:
        return [shaping.invalid(where, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`")]
    causes = []
    if variable.get("value"):
        causes.append(shaping.invalid(where, "", "may not be specified when `value` is not empty"))
    if len(present) > 1:
        causes.append(shaping.invalid(where, "", "may not have more than one field specified at a time"))
    if (field := source.get("fieldRef")) is not None:
        causes += check_field(field, f"{where}.fieldRef", ENV_FIELDS, subscripts=True)
    if (resource := source.get("resourceFieldRef")) is not None:
        causes += check_resource_field(resource, f"{where}.resourceFieldRef", named=False)
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if (selector := source.get(kind)) is not None:
            if not selector.get("name"):
                causes.append(shaping.required(f"{where}.{kind}.name"))
            if not selector["key"]:
                causes.append(shaping.required(f"{where}.{kind}.key"))
    return causes


def check_env_from(sources: Iterable[Object], where: str) -> list[Cause]:
    """Check the whole objects that become variables."""
    causes: list[Cause] = []
    for index, source in enumerate(sources):
        place = f"{where}.envFrom[{index}]"
        if prefix := source.get("prefix"):
            causes += phrases.check_env_name(prefix, f"{place}.prefix")
        present = [name for name in ("configMapRef", "secretRef") if source.get(name) is not None]
        if not present:
            causes.append(shaping.invalid(place, "", "must specify one of: `configMapRef` or `secretRef`"))
        if len(present) > 1:
            causes.append(shaping.invalid(place, "", "may not have more than one field specified at a time"))
        causes += [shaping.required(f"{place}.{name}.name") for name in present if not source[name].get("name")]
    return causes


def check_field(selector: Object, where: str, allowed: tuple[str, ...], *, subscripts: bool) -> list[Cause]:
    """Check a ``fieldRef``: one of ``allowed``, or a single label or annotation."""
    path = selector["fieldPath"]
    if not path:
        return [shaping.required(f"{where}.fieldPath")]
    if selector.get("apiVersion", "v1") != "v1":
        message = f"error converting fieldPath: no kind is registered for version {shaping.shown(selector['apiVersion'])}"
        return [shaping.invalid(f"{where}.fieldPath", path, message)]
    match = _SUBSCRIPT.match(path)
    if match and subscripts:
        key = match.group(2).lower() if match.group(1).endswith("annotations") else match.group(2)
        return phrases.check_with(validation.check_qualified_name, where, key)
    if path not in _KNOWN_FIELDS:
        return [shaping.invalid(f"{where}.fieldPath", path, f"error converting fieldPath: field label not supported: {path}")]
    return [] if path in allowed else [shaping.unsupported(f"{where}.fieldPath", path, sorted(allowed))]


def check_resource_field(selector: Object, where: str, *, named: bool) -> list[Cause]:
    """Check a ``resourceFieldRef``; ``named``: it has to say of which container."""
    resource = selector["resource"]
    if named and not selector.get("containerName"):
        return [shaping.required(f"{where}.containerName")]
    if not resource:
        return [shaping.required(f"{where}.resource")]
    if resource not in _RESOURCES and not resource.startswith(("limits.hugepages-", "requests.hugepages-")):
        return [shaping.unsupported(f"{where}.resource", resource, _RESOURCES)]
    kind = resource.partition(".")[2]
    divisors = _DIVISORS["cpu" if kind == "cpu" else "memory"]
    try:
        divisor = quantity.parse_quantity(str(selector.get("divisor", "0")))
    except ValueError as error:
        return [shaping.invalid(f"{where}.divisor", selector["divisor"], str(error))]
    if divisor and divisor not in [quantity.parse_quantity(text) for text in divisors]:
        what = "1m and 1" if kind == "cpu" else ", ".join(divisors)
        message = f"only divisor's values {what} are supported with the {'cpu' if kind == 'cpu' else kind.replace('-', ' ')} resource"
        return [shaping.invalid(f"{where}.divisor", selector["divisor"], message)]
    return []
