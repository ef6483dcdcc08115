"""Decoded objects into the shape of their schema: defaults in, nulls and unknown fields out; then the fast schema check.

A :class:`Shape` is made once a kind. ``normalise`` changes the given object in place and returns the paths of unknown fields (for
Warning headers or a strict refusal); it leaves values of a wrong type alone, for ``check`` to name them. ``check`` runs the compiled
schema (jsonschema-rs) and turns each error into the cause that a kube-apiserver would give.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import jsonschema_rs
import orjson

from lattice.api import quantity
from lattice.api.errors import Cause


class Shape:
    """How one node of an object looks."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.properties = {name: Shape(child) for name, child in schema.get("properties", {}).items()}
        self.items = Shape(schema["items"]) if schema.get("items") else None
        self.values = Shape(schema["additionalProperties"]) if isinstance(schema.get("additionalProperties"), Mapping) else None
        self.open = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
        self.default = schema.get("default")
        self.quantity = schema.get("pattern") == quantity.PATTERN
        self.defaults = {name: child.default for name, child in self.properties.items() if child.default is not None}
        self.trivial = not (self.properties or self.items or self.values or self.quantity)
        """Nothing below this node has to be looked at."""

    def normalise(self, value: Any) -> list[str]:
        """Bring ``value`` into shape, in place, and return the paths of the unknown fields that were removed."""
        unknown: list[str] = []
        self._walk(value, "", unknown)
        return unknown

    def _walk(self, value: Any, path: str, unknown: list[str]) -> None:
        if isinstance(value, dict):
            if self.properties:
                self._walk_fields(value, path, unknown)
            elif self.values is not None:
                for name in [name for name, child in value.items() if child is None]:
                    del value[name]
                self._walk_values(value, self.values, path, unknown)
        elif isinstance(value, list) and self.items is not None and not self.items.trivial:
            for index, child in enumerate(value):
                if self.items.quantity:
                    value[index] = quantity_text(child)
                else:
                    self.items._walk(child, f"{path}[{index}]", unknown)

    def _walk_fields(self, value: dict[str, Any], path: str, unknown: list[str]) -> None:
        doomed: list[str] | None = None
        for name, child in value.items():
            shape = self.properties.get(name)
            if shape is None:
                if not self.open:
                    unknown.append(f"{path}.{name}" if path else name)
                    doomed = [*(doomed or ()), name]
            elif child is None:
                doomed = [*(doomed or ()), name]
            elif shape.quantity:
                value[name] = quantity_text(child)
            elif not shape.trivial:
                shape._walk(child, f"{path}.{name}" if path else name, unknown)
        for name in doomed or ():
            del value[name]
        for name, default in self.defaults.items():
            if name not in value:
                value[name] = copy.deepcopy(default)

    @staticmethod
    def _walk_values(value: dict[str, Any], shape: Shape, path: str, unknown: list[str]) -> None:
        if shape.quantity:
            for name, child in value.items():
                value[name] = quantity_text(child)
        elif not shape.trivial:
            for name, child in value.items():
                shape._walk(child, f"{path}.{name}" if path else name, unknown)


def quantity_text(value: Any) -> Any:
    """Return a quantity that was written as a number as text, as Kubernetes stores it."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value) if isinstance(value, int) or not value.is_integer() else str(int(value))
    return value


class Checker:
    """The compiled schema of one kind."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)

    def check(self, value: Mapping[str, Any]) -> list[Cause]:
        """Return what is wrong with ``value``, one cause a field."""
        if self._validator.is_valid(value):
            return []
        return list(self._causes(value))

    def _causes(self, value: Mapping[str, Any]) -> Iterator[Cause]:
        seen = set()
        for error in self._validator.iter_errors(value):
            cause = _cause(error)
            if (cause.field, cause.message) not in seen:
                seen.add((cause.field, cause.message))
                yield cause


def field_path(parts: Sequence[str | int]) -> str:
    """Return ``spec.ports[1].name``."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


_TYPE_NAMES: Final = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
_SHOWN: Final = 256
"""Longer values are cut in messages: a message is for a person, and nobody's megabyte is echoed."""


def shown(value: Any) -> str:
    """Return a value as error messages show it: JSON, cut where it is long."""
    text = orjson.dumps(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def invalid(field: str, value: Any, message: str) -> Cause:
    """Return the cause for a wrong value."""
    return Cause("FieldValueInvalid", f"Invalid value: {shown(value)}: {message}", field)


def required(field: str, message: str = "") -> Cause:
    """Return the cause for a missing value."""
    return Cause("FieldValueRequired", f"Required value: {message}" if message else "Required value", field)


def forbidden(field: str, message: str) -> Cause:
    """Return the cause for a value that may not be set here."""
    return Cause("FieldValueForbidden", f"Forbidden: {message}", field)


def unsupported(field: str, value: Any, options: Sequence[Any]) -> Cause:
    """Return the cause for a value that is not one of ``options``."""
    listed = ", ".join(shown(option) for option in options)
    return Cause("FieldValueNotSupported", f"Unsupported value: {shown(value)}: supported values: {listed}", field)


def duplicate(field: str, value: Any) -> Cause:
    """Return the cause for a value that occurs twice."""
    return Cause("FieldValueDuplicate", f"Duplicate value: {shown(value)}", field)


def _cause(error: jsonschema_rs.ValidationError) -> Cause:
    kind: Any = error.kind
    path = field_path(error.instance_path)
    value = error.instance
    where = f"{path} in body" if path else "body"
    match kind.name:
        case "required":
            return required(field_path([*error.instance_path, kind.property]))
        case "enum":
            return unsupported(path, value, kind.options)
        case "type" | "anyOf":
            wanted = _wanted_type(kind)
            actual = _TYPE_NAMES.get(type(value), "null")
            message = f'Invalid value: "{actual}": {where} must be of type {wanted}: "{actual}"'
            return Cause("FieldValueTypeInvalid", message, path)
        case "minimum":
            return invalid(path, value, f"{where} should be greater than or equal to {kind.limit}")
        case "maximum":
            return invalid(path, value, f"{where} should be less than or equal to {kind.limit}")
        case "minLength":
            return invalid(path, value, f"{where} should be at least {kind.limit} chars long")
        case "maxLength":
            return Cause("FieldValueTooLong", f"Too long: may not be more than {kind.limit} bytes", path)
        case "minItems":
            return invalid(path, value, f"{where} should have at least {kind.limit} items")
        case "pattern":
            return invalid(path, value, f"{where} should match '{kind.pattern}'")
        case "format":
            return invalid(path, value, f"{where} must be of type {kind.format}: {shown(value)}")
        case _:
            return invalid(path, value, f"{where} does not fit the schema ({kind.name})")


def _wanted_type(kind: Any) -> str:
    if kind.name == "anyOf":
        return "integer,string"
    types = kind.types
    return types if isinstance(types, str) else ",".join(types)
