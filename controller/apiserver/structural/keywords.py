"""The keywords of ``openAPIV3Schema``: what is none is pruned from a definition, as unknown fields are from every object.

A schema nests without end, so the definition's own schema keeps it as an open map, and ``strategy.py`` calls :func:`prune_definition` after
that has been applied. Values of a wrong type are left alone: ``schematypes.py`` names them. Pure but for the object it is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from controller.apiserver.structural.schematypes import MAX_DEPTH

Object = dict[str, Any]
_MAPS: Final = frozenset({"properties", "patternProperties", "definitions", "dependencies"})
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf"})
_SCHEMAS: Final = frozenset({"items", "not", "additionalProperties", "additionalItems"})
_RULES: Final = "x-kubernetes-validations"
_KNOWN: Final = _MAPS | _LISTS | _SCHEMAS | {
    "id", "$schema", "$ref", "description", "type", "format", "title", "default", "maximum", "exclusiveMaximum", "minimum",
    "exclusiveMinimum", "maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "multipleOf", "enum", "maxProperties",
    "minProperties", "required", "externalDocs", "example", "nullable", "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string", "x-kubernetes-list-map-keys", "x-kubernetes-list-type",
    "x-kubernetes-map-type", _RULES,
}  # fmt: skip
_KNOWN_OF: Final = {
    _RULES: frozenset({"rule", "message", "messageExpression", "reason", "fieldPath", "optionalOldSelf"}),
    "externalDocs": frozenset({"description", "url"}),
}


def prune_definition(definition: Object) -> list[str]:
    """Remove what is no keyword, and keywords with null, from the schemas of a definition, in place. Returns the paths of the former."""
    spec = definition.get("spec")
    versions = spec.get("versions") if isinstance(spec, dict) else None
    unknown: list[str] = []
    for index, version in enumerate(versions if isinstance(versions, list) else ()):
        holder = version.get("schema") if isinstance(version, dict) else None
        if isinstance(holder, dict):
            unknown += _prune(holder.get("openAPIV3Schema"), f"spec.versions[{index}].schema.openAPIV3Schema", 0)
    return unknown


def _prune(schema: Any, path: str, depth: int) -> Iterator[str]:
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return
    yield from _keep(schema, _KNOWN, path)
    for keyword, value in schema.items():
        where = f"{path}.{keyword}"
        if keyword in _MAPS and isinstance(value, dict):
            for name, child in value.items():
                yield from _prune(child, f"{where}.{name}", depth + 1)
        elif keyword in _SCHEMAS and isinstance(value, dict):
            yield from _prune(value, where, depth + 1)
        elif isinstance(value, list) and (keyword in _LISTS or keyword in _SCHEMAS):
            for index, child in enumerate(value):
                yield from _prune(child, f"{where}[{index}]", depth + 1)
        elif keyword in _KNOWN_OF:
            for index, item in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(item, dict):
                    yield from _keep(item, _KNOWN_OF[keyword], f"{where}[{index}]" if isinstance(value, list) else where)


def _keep(value: Object, known: frozenset[str], path: str) -> Iterator[str]:
    for name in [name for name, child in value.items() if child is None or name not in known]:
        del value[name]
        if name not in known:
            yield f"{path}.{name}"
