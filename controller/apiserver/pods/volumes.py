"""Rules of a Pod's volumes. Source: ``validateVolumes`` in k8s.io/kubernetes ``pkg/apis/core/validation``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from controller.apiserver import shaping
from controller.apiserver.pods import environment, phrases
from lattice.api import quantity, validation
from lattice.api.errors import Cause

Object = Mapping[str, Any]
_PROJECTIONS: Final = ("secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle")
_MANY: Final = "may not specify more than 1 volume type"


def check_volumes(volumes: list[Object]) -> list[Cause]:
    """Check all volumes of a Pod."""
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, volume in enumerate(volumes):
        where, name = f"spec.volumes[{index}]", volume["name"]
        causes += _check_source(volume, where)
        causes += phrases.check_with(validation.check_label, f"{where}.name", name)
        if name in seen:
            causes.append(shaping.duplicate(f"{where}.name", name))
        seen.add(name)
    return causes


def _check_source(volume: Object, where: str) -> list[Cause]:
    present = [key for key in volume if key != "name"]
    if not present:
        return [shaping.required(where, "must specify a volume type")]
    causes = [shaping.forbidden(f"{where}.{key}", _MANY) for key in present[1:]]
    check = _SOURCES.get(present[0])
    return causes + (check(volume[present[0]], f"{where}.{present[0]}") if check else [])


def _secret(source: Object, where: str) -> list[Cause]:
    causes = [] if source.get("secretName") else [shaping.required(f"{where}.secretName")]
    return causes + _check_keys(source, where)


def _named(source: Object, where: str) -> list[Cause]:
    causes = [] if source.get("name") else [shaping.required(f"{where}.name")]
    return causes + _check_keys(source, where)


def _check_keys(source: Object, where: str) -> list[Cause]:
    causes = []
    for index, item in enumerate(source.get("items") or ()):
        place = f"{where}.items[{index}]"
        if not item["key"]:
            causes.append(shaping.required(f"{place}.key"))
        if not item["path"]:
            causes.append(shaping.required(f"{place}.path"))
        causes += phrases.check_file_name(item["path"], f"{place}.path")
    return causes


def _claim(source: Object, where: str) -> list[Cause]:
    return [] if source["claimName"] else [shaping.required(f"{where}.claimName")]


def _empty_dir(source: Object, where: str) -> list[Cause]:
    limit = source.get("sizeLimit")
    if limit is not None and quantity.parse_quantity(str(limit)) < 0:
        return [shaping.forbidden(f"{where}.sizeLimit", "SizeLimit field must be a valid resource quantity")]
    return []


def _host_path(source: Object, where: str) -> list[Cause]:
    if not source["path"]:
        return [shaping.required(f"{where}.path")]
    return phrases.check_no_backsteps(source["path"], f"{where}.path")


def _downward(source: Object, where: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, item in enumerate(source.get("items") or ()):
        place = f"{where}.items[{index}]"
        if not item["path"]:
            causes.append(shaping.required(f"{place}.path"))
        causes += phrases.check_file_name(item["path"], f"{place}.path")
        field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
        if field is not None and resource is not None:
            causes.append(shaping.invalid(place, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
        elif field is not None:
            causes += environment.check_field(field, f"{place}.fieldRef", environment.VOLUME_FIELDS, subscripts=True)
        elif resource is not None:
            causes += environment.check_resource_field(resource, f"{place}.resourceFieldRef", named=True)
        else:
            causes.append(shaping.required(place, "one of fieldRef and resourceFieldRef is required"))
    return causes


def _projected(source: Object, where: str) -> list[Cause]:
    causes: list[Cause] = []
    paths: set[str] = set()
    for index, projection in enumerate(source.get("sources") or ()):
        place = f"{where}.sources[{index}]"
        causes += phrases.one_of(projection, _PROJECTIONS, place, none="must specify a projected volume type", many=_MANY)
        for kind in ("secret", "configMap"):
            if (part := projection.get(kind)) is not None:
                causes += _named(part, f"{place}.{kind}")
        if (part := projection.get("downwardAPI")) is not None:
            causes += _downward(part, f"{place}.downwardAPI")
        if (token := projection.get("serviceAccountToken")) is not None:
            causes += _token(token, f"{place}.serviceAccountToken")
        for path in _paths(projection):
            if path in paths:
                causes.append(shaping.invalid(place, path, "conflicting duplicate paths"))
            paths.add(path)
    return causes


def _token(token: Object, where: str) -> list[Cause]:
    causes = [] if token["path"] else [shaping.required(f"{where}.path")]
    seconds = token.get("expirationSeconds", 3600)
    if seconds < 600:
        causes.append(shaping.invalid(f"{where}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"))
    if seconds > 2**32:
        causes.append(shaping.invalid(f"{where}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds"))
    return causes + phrases.check_file_name(token["path"], f"{where}.path")


def _paths(projection: Object) -> list[str]:
    found = [item["path"] for kind in ("secret", "configMap", "downwardAPI") for item in (projection.get(kind) or {}).get("items") or ()]
    token = projection.get("serviceAccountToken")
    return [*found, token["path"]] if token is not None else found


_SOURCES: Final[Mapping[str, Callable[[Object, str], list[Cause]]]] = {
    "secret": _secret,
    "configMap": _named,
    "persistentVolumeClaim": _claim,
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "downwardAPI": _downward,
    "projected": _projected,
}
