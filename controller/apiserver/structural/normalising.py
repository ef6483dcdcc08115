"""Decoded objects into the shape of their schema: unknown fields and nulls out, defaults in, quantities as text.

A :class:`Node` is compiled once for each place of a schema. Rules, as a kube-apiserver has them:

* A field that no schema names is removed and reported, unless the place preserves unknown fields; below such a place the fields that
  a schema does name are still pruned by it.
* ``null`` stays where the schema says ``nullable``; for a field with a default it means the default; elsewhere the key is dropped. In
  a list it stays, for validation to name.
* Defaults are filled in at every depth that exists, in list items and map values too, and are themselves pruned and completed.
* Whole API objects inside an object (``x-kubernetes-embedded-resource``) always know apiVersion, kind and metadata.

Values of a wrong type are left alone: validation names them.
"""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Mapping
from typing import Any, Final

import orjson

from lattice.api import errors, namespace, quantity, schema

_MAX_DEPTH: Final = 120
"""Deeper schemas do not pass a definition's check; the recursion here relies on it."""
MAX_REPORTED: Final = 100
"""Unknown fields that are named, as Kubernetes names so many. A path for each of a million would be the square of a body."""
_MAX_PATH: Final = 1_000
"""Characters of a path that are told."""
MAX_FILLED_BYTES: Final = 8 * 1024 * 1024
"""Defaults, as JSON, that one object may be given: more than any store takes. A default of a list's items could else multiply a body by
its own size."""
_CONTAINERS: Final = frozenset({dict, list})
_NONE: Final[list[str]] = []
"""No removed fields: the common answer, shared and never changed."""


class _Budget(threading.local):
    """What the object that this thread is busy with may still be given. ``strict``: it is refused when that is not enough."""

    left_bytes = MAX_FILLED_BYTES
    strict = False


_budget: Final = _Budget()


class Node:
    """How one place of an object looks."""

    __slots__ = (
        "default",
        "defaulting",
        "fields",
        "filled",
        "has_default",
        "items",
        "nullable",
        "open",
        "quantity",
        "size_bytes",
        "values",
    )

    def __init__(self, source: Mapping[str, Any], depth: int = 0) -> None:
        if depth > _MAX_DEPTH:
            raise ValueError(f"the schema is nested more than {_MAX_DEPTH} levels deep")
        children = dict(source.get("properties") or {})
        if source.get("x-kubernetes-embedded-resource"):
            children = {
                **children,
                **{name: child for name, child in _resource_head().items() if name == "metadata" or name not in children},
            }
        self.fields = {name: Node(child, depth + 1) for name, child in children.items()}
        self.items = Node(source["items"], depth + 1) if isinstance(source.get("items"), Mapping) else None
        more = source.get("additionalProperties")
        self.values = Node(more, depth + 1) if isinstance(more, Mapping) else None
        self.open = bool(source.get("x-kubernetes-preserve-unknown-fields")) or more is True
        self.nullable = bool(source.get("nullable"))
        self.quantity = source.get("pattern") == quantity.PATTERN
        self.filled = {name: child for name, child in self.fields.items() if child.has_default}
        self.default = copy.deepcopy(source.get("default"))
        self.has_default: bool = self.default is not None
        self.size_bytes = 0
        if self.has_default:
            _budget.left_bytes, _budget.strict = MAX_FILLED_BYTES, False
            self.normalise(self.default)
            self.size_bytes = len(orjson.dumps(self.default))
        self.defaulting: bool = bool(self.filled) or any(
            child.defaulting or child.has_default for child in (*self.fields.values(), self.items, self.values) if child is not None
        )
        """Whether a default stands anywhere below."""

    def shape(self, value: Any, *, strict: bool = True) -> list[str]:
        """Bring a whole object into shape, in place. Returns the paths of removed fields, the first hundred, as ``.a[0].b``.

        ``strict``: it is refused where its defaults would make it larger than any store takes; else it gets no more of them.

        Raises:
            errors.InternalError: it is refused.
        """
        _budget.left_bytes, _budget.strict = MAX_FILLED_BYTES, strict
        return self.normalise(value)

    def complete(self, value: Any) -> None:
        """Fill in the defaults of a whole object that was stored under an older schema."""
        _budget.left_bytes, _budget.strict = MAX_FILLED_BYTES, False
        self.fill(value)

    def _may_fill(self) -> bool:
        """Whether the object that lacks this field is given its default."""
        _budget.left_bytes -= self.size_bytes
        if _budget.left_bytes < 0 and _budget.strict:
            raise errors.InternalError("etcdserver: request is too large", reason="")
        return _budget.left_bytes >= 0

    def _filling(self) -> Any:
        return copy.deepcopy(self.default) if self.default.__class__ in _CONTAINERS else self.default

    def normalise(self, value: Any) -> list[str]:
        """As :meth:`shape`, for a part of an object."""
        if value.__class__ is dict:
            return self._normalise_map(value)
        if value.__class__ is list:
            return self._normalise_list(value)
        return _NONE

    def _normalise_map(self, value: dict[str, Any]) -> list[str]:
        below: list[str] = []
        doomed: list[str] = []
        fields, values = self.fields, self.values
        for name, child in value.items():
            node = fields.get(name, values)
            if node is None:
                if not self.open:
                    doomed.append(name)
            elif child is None:
                if node.has_default and not node.nullable and node._may_fill():
                    value[name] = node._filling()
                elif not node.nullable:
                    doomed.append(name)
            elif child.__class__ is dict or child.__class__ is list:
                if (found := node.normalise(child)) and len(below) < MAX_REPORTED:
                    below += [f".{name}{path}"[:_MAX_PATH] for path in found]
            elif node.quantity:
                value[name] = quantity_text(child)
        if doomed:
            if values is None:
                below += [f".{name}"[:_MAX_PATH] for name in doomed[:MAX_REPORTED] if name not in fields]
            for name in doomed:
                del value[name]
        for name, node in self.filled.items():
            if name not in value and node._may_fill():
                value[name] = node._filling()
        return below[:MAX_REPORTED]

    def _normalise_list(self, value: list[Any]) -> list[str]:
        node = self.items
        if node is None:
            return _NONE if self.open else _empty(value)
        unknown: list[str] = []
        for index, child in enumerate(value):
            if child.__class__ is dict or child.__class__ is list:
                if (found := node.normalise(child)) and len(unknown) < MAX_REPORTED:
                    unknown += [f"[{index}]{path}"[:_MAX_PATH] for path in found]
            elif child is None:
                if node.has_default and not node.nullable and node._may_fill():
                    value[index] = node._filling()
            elif node.quantity:
                value[index] = quantity_text(child)
        return unknown[:MAX_REPORTED]

    def fill(self, value: Any) -> None:
        """Fill in defaults only: an object that was stored under an older schema, on its way out."""
        if not self.defaulting:
            return
        if value.__class__ is dict:
            for name, node in self.filled.items():
                if (name not in value or (value[name] is None and not node.nullable)) and node._may_fill():
                    value[name] = node._filling()
            for name, child in value.items():
                found = self.fields.get(name, self.values)
                if found is not None:
                    found.fill(child)
        elif value.__class__ is list and self.items is not None:
            for child in value:
                self.items.fill(child)


def quantity_text(value: Any) -> Any:
    """Return a quantity that was written as a number as text, as Kubernetes stores it."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value) if isinstance(value, int) or not value.is_integer() else str(int(value))
    return value


def _resource_head() -> dict[str, Any]:
    """Return the schemas of what every API object has: apiVersion, kind and full metadata."""
    properties = schema.object_schema(namespace.Namespace)["properties"]
    return {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": properties["metadata"]}


def _empty(value: list[Any]) -> list[str]:
    """Empty all maps in a list of which nothing is known, at any depth: without recursion, as nothing bounds the depth."""
    unknown: list[str] = []
    waiting: list[tuple[list[Any], str]] = [(value, "")]
    while waiting:
        items, path = waiting.pop()
        for index, child in enumerate(items):
            if child.__class__ is dict:
                unknown += [f"{path}[{index}].{name}"[:_MAX_PATH] for name in itertools.islice(child, MAX_REPORTED - len(unknown))]
                child.clear()
            elif child.__class__ is list:
                waiting.append((child, f"{path}[{index}]" if len(unknown) < MAX_REPORTED else ""))
    return unknown
