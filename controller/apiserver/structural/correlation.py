"""Which old value a new value has grown from: for rules over ``oldSelf`` and for tolerating what was invalid before and did not change.

Fields correlate by name, items of list-type ``map`` by their keys; items of other lists do not correlate at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controller.apiserver.structural import gotext


def same(left: Any, right: Any) -> bool:
    """Return whether two JSON values are equal and of the same types (``1`` is not ``true``)."""
    if left is right:
        return True
    try:
        return bool(left == right) and gotext.canonical(left) == gotext.canonical(right)
    except RecursionError:
        return False


def item_key(item: Any, keys: Sequence[str]) -> bytes:
    """Return what identifies an item of a list-type map; absent keys count as absent."""
    found = {key: item[key] for key in keys if key in item} if isinstance(item, dict) else {}
    return gotext.canonical(found)


@dataclass(frozen=True, slots=True)
class Old:
    """The old value at a place where old and new correlate."""

    value: Any

    def field(self, name: str) -> Old | None:
        """Return the old value of a field."""
        return Old(self.value[name]) if isinstance(self.value, dict) and name in self.value else None

    def items(self, schema: Mapping[str, Any]) -> OldItems:
        """Return the old items of a list."""
        keys = schema.get("x-kubernetes-list-map-keys") or ()
        if schema.get("x-kubernetes-list-type") != "map" or not keys or not isinstance(self.value, list):
            return OldItems((), {})
        found: dict[bytes, Any] = {}
        for item in self.value:
            found.setdefault(item_key(item, keys), item)
        return OldItems(tuple(keys), found)


@dataclass(frozen=True, slots=True)
class OldItems:
    """The old items of a list by key; empty where items do not correlate."""

    keys: tuple[str, ...]
    by_key: Mapping[bytes, Any]

    def of(self, item: Any) -> Old | None:
        """Return the old value of an item."""
        if not self.by_key:
            return None
        key = item_key(item, self.keys)
        return Old(self.by_key[key]) if key in self.by_key else None
