"""What a definition's schema must fulfil: it is structural, says nothing that is not supported, its list types make sense.

Structural means: the shape of objects (types, properties, items) stands outside of ``allOf``, ``anyOf``, ``oneOf`` and ``not``, which
only restrict values. Rules and texts are those of ``apiextensions.k8s.io``. ``schematypes.py`` has passed the schema before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from controller.apiserver import shaping
from controller.apiserver.structural import patterns
from controller.apiserver.structural.complaints import shaped
from lattice.api.errors import Cause

Schema = Mapping[str, Any]
_TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
_INT_OR_STRING: Final = [{"type": "integer"}, {"type": "string"}]
_UNSUPPORTED: Final = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_SHAPING: Final[Mapping[str, str]] = {
    "type": "must be empty to be structural",
    "additionalProperties": "must be undefined to be structural",
    "default": "must be undefined to be structural",
    "title": "must be empty to be structural",
    "description": "must be empty to be structural",
    "nullable": "must be false to be structural",
    "externalDocs": "must be undefined to be structural",
    "x-kubernetes-preserve-unknown-fields": "must be false to be structural",
    "x-kubernetes-embedded-resource": "must be false to be structural",
    "x-kubernetes-int-or-string": "must be false to be structural",
    "x-kubernetes-list-map-keys": "must be empty to be structural",
    "x-kubernetes-list-type": "must be undefined to be structural",
    "x-kubernetes-map-type": "must be undefined to be structural",
    "x-kubernetes-validations": "must be empty to be structural",
}
_STATUS_ROOT: Final = frozenset({
    "description", "type", "format", "title", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength", "minLength",
    "pattern",    "maxItems", "minItems", "uniqueItems", "multipleOf", "required", "items", "properties", "externalDocs", "example",
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations",
})  # fmt: skip


class _Spine(NamedTuple):
    """A place of the schema outside of all combinations."""

    schema: Any
    path: str


def check(schema: Schema, path: str, *, has_status: bool) -> list[Cause]:
    """Return what is wrong with the schema of one version, sorted."""
    causes = list(_check_root(schema, path, has_status=has_status))
    causes += _check_place(schema, path, level="root")
    return sorted(causes, key=lambda cause: (cause.field, cause.message))


def _check_root(schema: Schema, path: str, *, has_status: bool) -> Iterator[Cause]:
    if has_status:
        extra = [keyword for keyword in schema if keyword not in _STATUS_ROOT and schema[keyword]]
        if extra:
            names = " ".join(sorted(_STATUS_ROOT))
            message = f"only [{names}] fields are allowed at the root of the schema if the status subresource is enabled"
            yield shaped(path, {keyword: schema[keyword] for keyword in extra}, message)
    if schema.get("nullable"):
        yield shaping.forbidden(f"{path}.nullable", "nullable cannot be true at the root")
    kind = schema.get("type")
    if kind and kind != "object":
        yield shaped(f"{path}.type", kind, "must be object at the root")
    if schema.get("additionalProperties") is not None:
        yield shaping.forbidden(f"{path}.additionalProperties", "must not be used at the root")
    for name in ("apiVersion", "kind", "metadata"):
        head = (schema.get("properties") or {}).get(name) or {}
        if "default" in head:
            yield shaping.forbidden(f"{path}.properties[{name}].default", f"must not be set in top-level {name}")
    metadata = (schema.get("properties") or {}).get("metadata")
    if metadata is not None:
        others = set(metadata.get("properties") or {}) - {"name", "generateName"}
        shape = {"type", "properties", "description"}
        if others or set(metadata) - shape:
            message = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            yield shaping.forbidden(f"{path}.properties[metadata]", message)


def _check_place(schema: Schema, path: str, level: str) -> Iterator[Cause]:
    yield from _check_type(schema, path, level)
    yield from _check_keywords(schema, path)
    yield from _check_extensions(schema, path)
    yield from _check_lists(schema, path)
    skip_any_of = schema.get("anyOf") == _INT_OR_STRING
    first = (schema.get("allOf") or [{}])[0]
    skip_first = first.get("anyOf") == _INT_OR_STRING
    yield from _check_values(schema, path, _Spine(schema, path), skip_any_of=skip_any_of, skip_first=skip_first)
    for name, child in (schema.get("properties") or {}).items():
        yield from _check_place(child, f"{path}.properties[{name}]", "field")
    for keyword, below in (("items", "item"), ("additionalProperties", "field")):
        if isinstance(schema.get(keyword), Mapping):
            yield from _check_place(schema[keyword], f"{path}.{keyword}", below)


def _check_type(schema: Schema, path: str, level: str) -> Iterator[Cause]:
    kind = schema.get("type") or ""
    embedded = schema.get("x-kubernetes-embedded-resource")
    if kind == "null":
        yield shaping.forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
    elif kind and kind not in _TYPES:
        yield shaping.unsupported(f"{path}.type", kind, _TYPES)
    if kind == "array" and not schema.get("items"):
        yield shaping.required(f"{path}.items", "must be specified")
    if embedded and kind != "object":
        message = "must be object if x-kubernetes-embedded-resource is true"
        yield shaped(f"{path}.type", kind, message) if kind else shaping.required(f"{path}.type", message)
    elif not kind and not schema.get("x-kubernetes-int-or-string") and not schema.get("x-kubernetes-preserve-unknown-fields"):
        what = {"root": "at the root", "item": "for specified array items", "field": "for specified object fields"}[level]
        yield shaping.required(f"{path}.type", f"must not be empty {what}")
    if embedded and not schema.get("x-kubernetes-preserve-unknown-fields") and not schema.get("properties"):
        message = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        yield shaping.required(f"{path}.properties", message)
    if embedded and schema.get("additionalProperties") is not None:
        yield shaping.forbidden(f"{path}.additionalProperties", "must not be used if x-kubernetes-embedded-resource is set")


def _check_keywords(schema: Schema, path: str) -> Iterator[Cause]:
    for keyword in _UNSUPPORTED:
        if schema.get(keyword):
            yield shaping.forbidden(f"{path}.{keyword}", f"{keyword} is not supported")
    if schema.get("uniqueItems"):
        message = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield shaping.forbidden(f"{path}.uniqueItems", message)
    more = schema.get("additionalProperties")
    if schema.get("properties") and more is not None and more is not True:
        yield shaping.forbidden(f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive")
    if isinstance(schema.get("items"), list):
        yield shaping.forbidden(f"{path}.items", "items must be a schema object and not an array")


def _check_extensions(schema: Schema, path: str) -> Iterator[Cause]:
    preserve = schema.get("x-kubernetes-preserve-unknown-fields")
    if preserve is False:
        yield shaped(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")
    if schema.get("x-kubernetes-int-or-string"):
        for keyword in ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"):
            if schema.get(keyword):
                yield shaped(f"{path}.{keyword}", True, "must be false if x-kubernetes-int-or-string is true")
    kind, map_type = schema.get("type") or "", schema.get("x-kubernetes-map-type")
    if map_type is not None:
        if kind != "object":
            message = "must be object if x-kubernetes-map-type is specified"
            yield shaped(f"{path}.type", kind, message) if kind else shaping.required(f"{path}.type", message)
        if map_type not in {"atomic", "granular"}:
            yield shaping.unsupported(f"{path}.x-kubernetes-map-type", map_type, ["atomic", "granular"])


def _check_lists(schema: Schema, path: str) -> Iterator[Cause]:
    kind, list_type = schema.get("type") or "", schema.get("x-kubernetes-list-type")
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    items = schema.get("items")
    items = items if isinstance(items, Mapping) else {}
    if list_type is not None and kind != "array":
        message = "must be array if x-kubernetes-list-type is specified"
        yield shaped(f"{path}.type", kind, message) if kind else shaping.required(f"{path}.type", message)
    elif list_type == "set":
        yield from _check_set_items(items, path)
    if list_type not in {None, "atomic", "set", "map"}:
        yield shaping.unsupported(f"{path}.x-kubernetes-list-type", list_type, ["atomic", "set", "map"])
    if keys and list_type != "map":
        message = "must be map if x-kubernetes-list-map-keys is non-empty"
        field = f"{path}.x-kubernetes-list-type"
        yield shaping.required(field, message) if list_type is None else shaped(field, list_type, message)
    if list_type in {"set", "map"} and items.get("nullable"):
        yield shaping.forbidden(f"{path}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {list_type}")
    if list_type == "map":
        yield from _check_map_keys(list(keys), items, path)


def _check_set_items(items: Schema, path: str) -> Iterator[Cause]:
    message = "must be atomic as item of a list with x-kubernetes-list-type=set"
    if items.get("type") == "array" and items.get("x-kubernetes-list-type") not in {None, "atomic"}:
        yield shaped(f"{path}.items.x-kubernetes-list-type", items["x-kubernetes-list-type"], message)
    if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        yield shaped(f"{path}.items.x-kubernetes-map-type", items.get("x-kubernetes-map-type"), message)


def _check_map_keys(keys: list[str], items: Schema, path: str) -> Iterator[Cause]:
    if not keys:
        yield shaping.required(f"{path}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
    if not items:
        yield shaping.required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map")
        return
    if items.get("type") != "object":
        yield shaped(f"{path}.items.type", items.get("type") or "", "must be object if parent array's x-kubernetes-list-type is map")
        return
    properties = items.get("properties") or {}
    for index, key in enumerate(keys):
        if key in keys[:index]:
            yield shaped(f"{path}.x-kubernetes-list-map-keys", keys, "must not contain duplicate entries")
        child = properties.get(key)
        if child is None:
            yield shaped(f"{path}.x-kubernetes-list-map-keys", keys, "entries must all be names of item properties")
            continue
        where = f"{path}.items.properties[{key}]"
        if child.get("type") in {"array", "object"}:
            yield shaped(f"{where}.type", items["type"], "must be a scalar type if parent array's x-kubernetes-list-type is map")
        if key not in (items.get("required") or ()) and child.get("default") is None:
            message = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            yield shaping.required(f"{where}.default", message)
        if child.get("nullable"):
            yield shaping.forbidden(f"{where}.nullable", "this property is in x-kubernetes-list-map-keys, so it cannot be nullable")


def _check_values(schema: Schema, path: str, spine: _Spine, *, skip_any_of: bool = False, skip_first: bool = False) -> Iterator[Cause]:
    for keyword in ("allOf", "anyOf", "oneOf"):
        if keyword == "anyOf" and skip_any_of:
            continue
        for index, child in enumerate(schema.get(keyword) or ()):
            first = keyword == "allOf" and index == 0 and skip_first
            yield from _check_nested(child, f"{path}.{keyword}[{index}]", spine, skip_any_of=first)
    if schema.get("not") is not None:
        yield from _check_nested(schema["not"], f"{path}.not", spine)
    if pattern := schema.get("pattern"):
        try:
            patterns.compile_pattern(pattern)
        except ValueError as error:
            yield shaped(f"{path}.pattern", pattern, f"must be a valid regular expression, but isn't: {error}")


def _check_nested(schema: Schema, path: str, spine: _Spine, *, skip_any_of: bool = False) -> Iterator[Cause]:
    """Check what stands inside of a combination, which may only speak of places that the schema outside of it has."""
    yield from _check_values(schema, path, spine, skip_any_of=skip_any_of)
    for keyword, message in _SHAPING.items():
        value = schema.get(keyword)
        if value or (keyword == "default" and value is not None):
            yield shaping.forbidden(f"{path}.{keyword}", message)
    for name, child in (schema.get("properties") or {}).items():
        where = f"{path}.properties[{name}]"
        if name == "metadata":
            yield shaping.forbidden(where, "must not be specified in a nested context")
        below = _Spine((spine.schema.get("properties") or {}).get(name), f"{spine.path}.properties[{name}]")
        if below.schema is None:
            yield shaping.required(below.path, f"because it is defined in {where}")
        else:
            yield from _check_nested(child, where, below)
    if isinstance(schema.get("items"), Mapping):
        below = _Spine(spine.schema.get("items"), f"{spine.path}.items")
        if not isinstance(below.schema, Mapping):
            yield shaping.required(below.path, f"because it is defined in {path}.items")
        else:
            yield from _check_nested(schema["items"], f"{path}.items", below)
