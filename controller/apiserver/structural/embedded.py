"""Whole API objects inside an object (``x-kubernetes-embedded-resource``): they need an apiVersion, a kind and well-formed metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.apiserver import shaping
from lattice.api import validation
from lattice.api.errors import Cause


class Embedded:
    """The embedded objects below one place of a schema."""

    __slots__ = ("_fields", "_here", "_items", "_values", "present")

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._here = bool(schema.get("x-kubernetes-embedded-resource"))
        children = {name: Embedded(child) for name, child in (schema.get("properties") or {}).items()}
        self._fields = {name: child for name, child in children.items() if child.present}
        self._items = self._child(schema.get("items"))
        self._values = self._child(schema.get("additionalProperties"))
        self.present: bool = bool(self._here or self._fields or self._items or self._values)

    @staticmethod
    def _child(schema: Any) -> Embedded | None:
        child = Embedded(schema) if isinstance(schema, Mapping) else None
        return child if child is not None and child.present else None

    def check(self, value: Any, where: str = "") -> list[Cause]:
        """Return what is wrong with the embedded objects in ``value``."""
        causes: list[Cause] = []
        if isinstance(value, dict):
            if self._here:
                causes += _check_head(value, where)
            for name, child in self._fields.items():
                if name in value:
                    causes += child.check(value[name], f"{where}.{name}" if where else name)
            if self._values is not None:
                for name, item in value.items():
                    causes += self._values.check(item, f"{where}[{name}]")
        elif isinstance(value, list) and self._items is not None:
            for index, item in enumerate(value):
                causes += self._items.check(item, f"{where}[{index}]")
        return causes


def _check_head(value: Mapping[str, Any], where: str) -> list[Cause]:
    causes = []
    version, kind = value.get("apiVersion"), value.get("kind")
    if not version:
        causes.append(shaping.required(f"{where}.apiVersion", "must not be empty"))
    elif isinstance(version, str) and version.count("/") > 1:
        causes.append(shaping.invalid(f"{where}.apiVersion", version, f"unexpected GroupVersion string: {version}"))
    if not kind:
        causes.append(shaping.required(f"{where}.kind", "must not be empty"))
    metadata = value.get("metadata")
    if not isinstance(metadata, Mapping):
        return causes
    for name, text in (metadata.get("labels") or {}).items() if isinstance(metadata.get("labels"), Mapping) else ():
        if problem := validation.check_qualified_name(name):
            causes.append(shaping.invalid(f"{where}.metadata.labels", name, problem))
        if isinstance(text, str) and (problem := validation.check_label_value(text)):
            causes.append(shaping.invalid(f"{where}.metadata.labels", text, problem))
    return causes
