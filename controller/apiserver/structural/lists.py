"""Uniqueness in lists: elements of list-type ``set``, keys of list-type ``map``. Checked after defaulting, so defaulted keys count.

Only the parts of a schema that hold such lists are walked; most objects are done in a few lookups. Lists of built-in types are exempt.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final

from controller.apiserver.structural import complaints, correlation, gotext
from lattice.api.errors import Cause

_MAX_CAUSES: Final = 500
"""Causes of one list; more serve nobody."""


class Lists:
    """The lists with unique elements below one place of a schema."""

    __slots__ = ("_fields", "_items", "_keys", "_kind", "_values", "present")

    def __init__(self, schema: Mapping[str, Any]) -> None:
        kind = schema.get("x-kubernetes-list-type")
        # A list with a patch strategy belongs to a built-in type, metadata's included. Kubernetes stores those with duplicates, unless
        # the kind's own rules refuse them (`strategy.py`): a Pod may name a variable twice, a Node have two addresses of a type.
        built_in = "x-kubernetes-patch-strategy" in schema
        self._kind = kind if kind in {"set", "map"} and not built_in else ""
        self._keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
        children = {name: Lists(child) for name, child in (schema.get("properties") or {}).items()}
        self._fields = {name: child for name, child in children.items() if child.present}
        self._items = self._child(schema.get("items"))
        self._values = self._child(schema.get("additionalProperties"))
        self.present: bool = bool(self._kind or self._fields or self._items or self._values)

    @staticmethod
    def _child(schema: Any) -> Lists | None:
        child = Lists(schema) if isinstance(schema, Mapping) else None
        return child if child is not None and child.present else None

    def check(self, value: Any, where: str = "") -> list[Cause]:
        """Return a cause for the second occurrence of each element, and for items of a map that are no objects."""
        causes: list[Cause] = []
        if isinstance(value, dict):
            for name, child in self._fields.items():
                if name in value:
                    causes += child.check(value[name], f"{where}.{name}" if where else name)
            if self._values is not None:
                for name, item in value.items():
                    causes += self._values.check(item, f"{where}[{name}]")
        elif isinstance(value, list):
            if self._kind == "map":
                causes += self._check_map(value, where)
            elif self._kind == "set":
                causes += self._check_set(value, where)
            if self._items is not None:
                for index, item in enumerate(value):
                    causes += self._items.check(item, f"{where}[{index}]")
        return causes

    def _check_map(self, value: list[Any], where: str) -> list[Cause]:
        for index, item in enumerate(value):
            if item is not None and not isinstance(item, dict):
                return [complaints.shaped(f"{where}[{index}]", item, "must be an object for an array of list-type map")]
        if len(value) < 2 or _plainly_distinct(value, self._keys):
            return []
        return _repeated([_key(item, self._keys) for item in value], where, lambda index: correlation.item_key(value[index], self._keys))

    @staticmethod
    def _check_set(value: list[Any], where: str) -> list[Cause]:
        if len(value) < 2:
            return []
        return _repeated([_mark(item) for item in value], where, lambda index: gotext.canonical(value[index]))


def _plainly_distinct(items: list[Any], keys: tuple[str, ...]) -> bool:
    """Return whether Python tells all keys apart, which takes more for equal than JSON does (1 and true). ``False``: look closely."""
    try:
        return len({tuple(map(item.get, keys)) for item in items}) == len(items)
    except (TypeError, AttributeError):  # a key that is no scalar, or an item that is no object
        return False


def _mark(value: Any) -> Hashable:
    """Return what is the same for equal JSON values only; texts, the rule, stand for themselves."""
    return value if value.__class__ is str else gotext.canonical(value)


def _key(item: Any, keys: tuple[str, ...]) -> Hashable:
    if item is not None and len(keys) == 1 and keys[0] in item:
        return _mark(item[keys[0]])
    return keys, correlation.item_key(item, keys)


def _repeated(marks: Sequence[Hashable], where: str, show: Callable[[int], bytes]) -> list[Cause]:
    if len(set(marks)) == len(marks):
        return []
    seen: dict[Hashable, int] = {}
    causes: list[Cause] = []
    for index, mark in enumerate(marks):
        seen[mark] = seen.get(mark, 0) + 1
        if seen[mark] == 2 and len(causes) < _MAX_CAUSES:
            causes.append(complaints.duplicate(f"{where}[{index}]", show(index).decode()))
    return causes
