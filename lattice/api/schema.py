"""Structural OpenAPI v3 schemas from the pydantic kinds: the one source of what the server accepts and of ``crds/*.yaml``.

pydantic's JSON schema is turned into what ``apiextensions.k8s.io/v1`` calls structural: references inlined, titles gone, optional
fields of the plain type (absent means unset; null is dropped by the server), int-or-string marked, defaults kept only where they say
something, descriptions kept. List and map types, and for the built-in kinds patch strategies, come from the annotations at the fields
(``meta.list_map`` and its neighbours). Pure; the result is shared, so callers must not change it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from lattice.api import meta, names, times

_KEPT: Final = (
    "type", "format", "description", "enum", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern",
    "x-kubernetes-int-or-string", "x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
)  # fmt: skip
_BUILT_IN: Final = ("x-kubernetes-patch-strategy", "x-kubernetes-patch-merge-key", times.MARKER)
"""What only a built-in kind has: a custom resource takes no strategic merge patch, and its times stay as they were written."""
HEAD: Final = {
    "apiVersion": {
        "type": "string",
        "description": "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized "
        "schemas to the latest internal value, and may reject unrecognized values. More info: "
        "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources",
    },
    "kind": {
        "type": "string",
        "description": "Kind is a string value representing the REST resource this object represents. Servers may infer this from the "
        "endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: "
        "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
    },
}
"""The two fields of every object, with the words in which every Kubernetes server describes them."""
METADATA_DESCRIPTION: Final = (
    "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)


@cache
def object_schema(kind: type[meta.Object]) -> dict[str, Any]:
    """Return the schema of a kind, with the full schema of ``metadata``."""
    source = kind.model_json_schema(by_alias=True)
    schema = _Converter(source.get("$defs", {}), built_in=kind.GROUP != names.GROUP).convert(source)
    rest = {name: child for name, child in schema["properties"].items() if name not in HEAD}
    rest["metadata"] = {**rest["metadata"], "description": METADATA_DESCRIPTION}
    schema["properties"] = {**HEAD, **rest}
    return schema


@cache
def object_meta_schema() -> dict[str, Any]:
    """Return the schema of the ``metadata`` of any object, for custom resources."""
    source = meta.ObjectMeta.model_json_schema(by_alias=True)
    return _Converter(source.get("$defs", {}), built_in=True).convert(source)


@cache
def definitions(kind: type[meta.Object]) -> dict[str, dict[str, Any]]:
    """Return the schemas of a built-in kind and of all types in it, by the names of their classes, for documents with references.

    A reference is ``{"$ref": <class>}``, in an ``allOf`` where the field has more to say.
    """
    source = kind.model_json_schema(by_alias=True)
    converter = _Converter(source.get("$defs", {}), built_in=True, inline=False)
    found = {name: converter.convert(node) for name, node in source.get("$defs", {}).items()}
    whole = converter.convert(source)
    whole["properties"] = {**whole["properties"], **HEAD, "metadata": {**_OBJECT_META, "description": METADATA_DESCRIPTION}}
    return {**found, kind.__name__: whole}


_OBJECT_META: Final = {"allOf": [{"$ref": meta.ObjectMeta.__name__}]}


class _Converter:
    """One kind's JSON schema, as pydantic makes it, into a structural one."""

    def __init__(self, definitions: Mapping[str, Any], *, built_in: bool, inline: bool = True) -> None:
        self._definitions = definitions
        self._kept = (*_KEPT, *_BUILT_IN) if built_in else _KEPT
        self._inline = inline

    def convert(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``node`` without references (if inline), unions with null, and titles."""
        if "$ref" in node:
            name = node["$ref"].rsplit("/", 1)[-1]
            if not self._inline:
                more = {key: _plain(node[key]) if key == "description" else node[key] for key in self._kept if key in node}
                return {"allOf": [{"$ref": name}], **more} if more else {"$ref": name}
            target = self._definitions[name]
            node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
        if "anyOf" in node and not node.get("x-kubernetes-int-or-string"):
            node = _without_null(node)
            if "$ref" in node:
                return self.convert(node)
        out: dict[str, Any] = {key: node[key] for key in self._kept if key in node}
        if "description" in out:
            out["description"] = _plain(out["description"])
        if node.get("x-kubernetes-int-or-string"):
            out.pop("type", None)
            out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
        if "const" in node:
            out["enum"] = [node["const"]]
            out["type"] = "string"
        if "exclusiveMinimum" in node:
            out["minimum"] = node["exclusiveMinimum"] + 1
        if node.get("type") == "array":
            out["items"] = self.convert(node.get("items", {}))
        elif node.get("type") == "object":
            out |= self._fields(node)
        if node.get("default"):
            out["default"] = node["default"]
        return out

    def _fields(self, node: Mapping[str, Any]) -> dict[str, Any]:
        if "properties" in node:
            fields = {"properties": {name: self.convert(child) for name, child in node["properties"].items()}}
            return {**fields, "required": list(node["required"])} if node.get("required") else fields
        if isinstance(node.get("additionalProperties"), Mapping):
            return {"additionalProperties": self.convert(node["additionalProperties"])}
        return {"x-kubernetes-preserve-unknown-fields": True}


def _plain(text: str) -> str:
    return text.replace("``", "`")


def _without_null(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``X | None`` as ``X``."""
    options = [option for option in node["anyOf"] if option.get("type") != "null"]
    if len(options) != 1:
        raise ValueError(f"a union of several types has no structural schema: {node['anyOf']}")
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    return {**options[0], **rest}
