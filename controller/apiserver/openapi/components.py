"""The schemas of a document: those of its kinds, and those that they refer to. Pure.

Names are Kubernetes' own (``io.k8s.api.core.v1.Pod``, ``io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta``, ``dev.example.v1.Specimen``):
kubectl prints their last part. The kinds that come with Lattice refer to a schema for each of their types; a custom kind has
everything in one, as its definition has, but for the metadata.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

import orjson

from controller.apiserver.resources import Resource
from lattice.api import meta, quantity, schema, times

Schema = dict[str, Any]

META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
STATUS: Final = f"{META}Status"
PATCH: Final = f"{META}Patch"
DELETE_OPTIONS: Final = f"{META}DeleteOptions"
WATCH_EVENT: Final = f"{META}WatchEvent"
SCALE: Final = "io.k8s.api.autoscaling.v1.Scale"

_PREFIX: Final = "#/components/schemas/"
_QUANTITY: Final = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_INT_OR_STRING: Final = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_TIMES: Final = {times.SECONDS: f"{META}Time", times.MICROSECONDS: f"{META}MicroTime"}
_GROUP_KINDS: Final = {DELETE_OPTIONS: "DeleteOptions", STATUS: "Status", WATCH_EVENT: "WatchEvent"}
_RENAMED: Final = {
    "CSIVolumeSource": "CSIPersistentVolumeSource",
    "ClaimVolumeSource": "PersistentVolumeClaimVolumeSource",
    "FieldSelector": "ObjectFieldSelector",
    "NodeSelectorTerms": "NodeSelector",
    "VolumeResources": "VolumeResourceRequirements",
}
"""Python types of the API that Kubernetes calls otherwise."""
_OF_CORE: Final = frozenset({"EventSource", "ObjectReference"})
"""Types of the core group that others use too."""
_CONVENTIONS: Final = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"


@cache
def shared() -> Mapping[str, Mapping[str, Any]]:
    """Return the parameters and schemas that all kinds share: ``{"parameters": ..., "schemas": ...}``."""
    text = importlib.resources.files(__package__).joinpath("meta_v1.json").read_bytes()
    data: dict[str, Mapping[str, Any]] = orjson.loads(text)
    return data


def package_of(group: str, version: str, *, custom: bool) -> str:
    """Return what the names of a group's schemas begin with."""
    if custom:
        return ".".join([*reversed(group.split(".")), version, ""])
    if group == "apiextensions.k8s.io":
        return f"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{version}."
    return f"io.k8s.api.{group.removesuffix('.k8s.io').split('.')[0] or 'core'}.{version}."


def group_version_kind(group: str, version: str, kind: str) -> dict[str, str]:
    """Return a kind as the extension ``x-kubernetes-group-version-kind`` names it."""
    return {"group": group, "version": version, "kind": kind}


class Components:
    """Collects the schemas of one document. ``schemas`` has all that was referred to.

    Args:
        built_in: groups and versions of the built-in kinds: DeleteOptions, Status and WatchEvent belong to each of them.
    """

    def __init__(self, built_in: Iterable[tuple[str, str]]) -> None:
        self.schemas: dict[str, Schema] = {}
        self._built_in = tuple(built_in)

    def ref(self, name: str) -> Schema:
        """Return a reference to a schema that all kinds share."""
        if name not in self.schemas:
            found = shared()["schemas"][name]
            if kind := _GROUP_KINDS.get(name):
                versions = [("", "v1")] if name == STATUS else self._built_in
                found = {**found, "x-kubernetes-group-version-kind": [group_version_kind(*version, kind) for version in versions]}
            self.schemas[name] = found
            for other in _references(found):
                self.ref(other)
        return {"$ref": f"{_PREFIX}{name}"}

    def kind(self, resource: Resource) -> Schema:
        """Return a reference to the schema of a kind."""
        name = f"{package_of(resource.group, resource.version, custom=resource.custom)}{resource.kind}"
        if name not in self.schemas:
            own = self._custom(resource.schema) if resource.custom or resource.type is None else self._typed(resource.type)
            self.schemas[name] = {**own, **_extensions(resource, resource.kind)}
        return {"$ref": f"{_PREFIX}{name}"}

    def list(self, resource: Resource) -> Schema:
        """Return a reference to the schema of a list of a kind."""
        name = f"{package_of(resource.group, resource.version, custom=resource.custom)}{resource.list_kind}"
        if name not in self.schemas:
            self.schemas[name] = {
                "description": f"{resource.list_kind} is a list of {resource.kind}",
                "type": "object",
                "required": ["items"],
                "properties": {
                    **schema.HEAD,
                    "items": {
                        "description": f"List of {resource.plural}. More info: {_CONVENTIONS}",
                        "type": "array",
                        "items": self.kind(resource),
                    },
                    "metadata": {
                        "description": f"Standard list metadata. More info: {_CONVENTIONS}#types-kinds",
                        "allOf": [self.ref(f"{META}ListMeta")],
                    },
                },
                **_extensions(resource, resource.list_kind),
            }
        return {"$ref": f"{_PREFIX}{name}"}

    def other(self, group: str, version: str, kind: str, described: Mapping[str, Any] | None = None) -> Schema:
        """Return a reference to the schema of a kind that is no resource: the body of a subresource."""
        name = f"{package_of(group, version, custom='.' in group and not group.endswith('.k8s.io'))}{kind}"
        if name in shared()["schemas"]:
            return self.ref(name)
        if name not in self.schemas:
            own = self._custom(described or {"type": "object"})
            self.schemas[name] = {**own, "x-kubernetes-group-version-kind": [group_version_kind(group, version, kind)]}
        return {"$ref": f"{_PREFIX}{name}"}

    def _custom(self, given: Mapping[str, Any]) -> Schema:
        """Return a structural schema of an object in the form that is published."""
        properties = {name: self._publish(child) for name, child in given.get("properties", {}).items()}
        rest = {key: value for key, value in given.items() if key not in {"properties", times.MARKER}}
        return {**rest, "properties": {**properties, **schema.HEAD, "metadata": self._metadata()}}

    def _metadata(self) -> Schema:
        return {"description": schema.METADATA_DESCRIPTION, "allOf": [self.ref(f"{META}ObjectMeta")]}

    def _publish(self, node: Mapping[str, Any]) -> Schema:
        out = {key: value for key, value in node.items() if key != times.MARKER}
        if "properties" in node:
            out["properties"] = {name: self._publish(child) for name, child in node["properties"].items()}
        if isinstance(node.get("additionalProperties"), Mapping):
            out["additionalProperties"] = self._publish(node["additionalProperties"])
        if isinstance(node.get("items"), Mapping):
            out["items"] = self._publish(node["items"])
        if node.get("x-kubernetes-int-or-string") and "anyOf" not in node:
            out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
        if node.get("x-kubernetes-embedded-resource"):
            out["properties"] = {**out.get("properties", {}), **schema.HEAD, "metadata": self._metadata()}
            out["required"] = sorted({*out.get("required", ()), "apiVersion", "kind"})
        return out

    def _typed(self, kind: type[meta.Object]) -> Schema:
        """Return the schema of a Python kind, and add those of the types in it."""
        package = package_of(kind.GROUP, kind.VERSION, custom=False)
        whole: Schema = {}
        for name, definition in schema.definitions(kind).items():
            if name == kind.__name__:
                whole = self._linked(definition, package)
            elif f"{META}{name}" not in shared()["schemas"]:
                self.schemas[_named(name, package)] = self._linked(definition, package)
        return whole

    def _linked(self, node: Mapping[str, Any], package: str) -> Schema:
        """Return ``node`` with the full names of what it refers to, and references in place of times, amounts and numbers-or-names."""
        if "$ref" in node:
            name = _named(node["$ref"], package)
            return self.ref(name) if name in shared()["schemas"] else {"$ref": f"{_PREFIX}{name}"}
        common = _common_type(node)
        if common:
            described = {"description": node["description"]} if "description" in node else {}
            return {**described, "allOf": [self.ref(common)]} if described else self.ref(common)
        out = dict(node)
        if "properties" in node:
            out["properties"] = {name: self._linked(child, package) for name, child in node["properties"].items()}
        for key in ("additionalProperties", "items"):
            if isinstance(node.get(key), Mapping):
                out[key] = self._linked(node[key], package)
        if "allOf" in node:
            out["allOf"] = [self._linked(child, package) for child in node["allOf"]]
        return out


def _common_type(node: Mapping[str, Any]) -> str:
    if times.MARKER in node:
        return _TIMES[node[times.MARKER]]
    if node.get("pattern") == quantity.PATTERN:
        return _QUANTITY
    return _INT_OR_STRING if node.get("x-kubernetes-int-or-string") else ""


def _named(name: str, package: str) -> str:
    """Return the full name of a Python type of the API."""
    if hasattr(meta, name):
        return f"{META}{name}"
    return f"{package_of('', 'v1', custom=False) if name in _OF_CORE else package}{_RENAMED.get(name, name)}"


def _extensions(resource: Resource, kind: str) -> Schema:
    found: Schema = {"x-kubernetes-group-version-kind": [group_version_kind(resource.group, resource.version, kind)]}
    if resource.custom and resource.selectable:
        found["x-kubernetes-selectable-fields"] = [{"fieldPath": path} for path in resource.selectable]
    return found


def _references(node: Any) -> Iterable[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "$ref":
                yield value.removeprefix(_PREFIX)
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)
