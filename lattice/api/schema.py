"""Structural OpenAPI v3 schemas from the pydantic kinds: the one source of what the server accepts and of ``crds/*.yaml``.

pydantic's JSON schema is turned into what ``apiextensions.k8s.io/v1`` calls structural: references inlined, titles gone, optional
fields of the plain type (absent means unset; null is dropped by the server), int-or-string marked, defaults kept only where they say
something, descriptions kept. Pure; the result is shared, so callers must not change it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from lattice.api import meta

_LIST_KEYS: Final = {
    "containers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "conditions": ("type",),
    "ownerReferences": ("uid",),
}
"""Lists that are maps by these keys, by field name: one entry a key."""
_KEPT: Final = (
    "type", "format", "description", "enum", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern",
    "x-kubernetes-int-or-string", "x-kubernetes-validations",
)  # fmt: skip


@cache
def object_schema(kind: type[meta.Object]) -> dict[str, Any]:
    """Return the schema of a kind, with the full schema of ``metadata``."""
    source = kind.model_json_schema(by_alias=True)
    schema = _convert(source, source.get("$defs", {}))
    schema["properties"].pop("apiVersion"), schema["properties"].pop("kind")
    head = {
        "apiVersion": {"type": "string", "description": "Group and version of this representation of the object."},
        "kind": {"type": "string", "description": "Kind of the object."},
    }
    schema["properties"] = {**head, **schema["properties"]}
    return schema


def _convert(node: Mapping[str, Any], definitions: Mapping[str, Any], field_name: str = "") -> dict[str, Any]:
    if "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", 1)[-1]]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    if "anyOf" in node and not node.get("x-kubernetes-int-or-string"):
        node = _without_null(node, definitions)
        if "$ref" in node:
            return _convert(node, definitions, field_name)
    out: dict[str, Any] = {key: node[key] for key in _KEPT if key in node}
    if node.get("x-kubernetes-int-or-string"):
        out.pop("type", None)
        out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if "const" in node:
        out["enum"] = [node["const"]]
        out["type"] = "string"
    if "exclusiveMinimum" in node:
        out["minimum"] = node["exclusiveMinimum"] + 1
    if node.get("type") == "array":
        out["items"] = _convert(node.get("items", {}), definitions)
        if field_name in _LIST_KEYS and "properties" in out["items"]:
            out["x-kubernetes-list-type"] = "map"
            out["x-kubernetes-list-map-keys"] = list(_LIST_KEYS[field_name])
    elif node.get("type") == "object":
        if "properties" in node:
            out["properties"] = {name: _convert(child, definitions, name) for name, child in node["properties"].items()}
            if node.get("required"):
                out["required"] = list(node["required"])
        elif isinstance(node.get("additionalProperties"), Mapping):
            out["additionalProperties"] = _convert(node["additionalProperties"], definitions)
        else:
            out["x-kubernetes-preserve-unknown-fields"] = True
    if node.get("default"):
        out["default"] = node["default"]
    return out


def _without_null(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``X | None`` as ``X``."""
    options = [option for option in node["anyOf"] if option.get("type") != "null"]
    if len(options) != 1:
        raise ValueError(f"a union of several types has no structural schema: {node['anyOf']}")
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    return {**options[0], **rest}
