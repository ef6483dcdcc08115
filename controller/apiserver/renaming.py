"""The one conversion besides ``None``: a kind that is stored as another kind, whose fields have other names and the same values.

``events.k8s.io/v1`` Events are core/v1 Events under other names. A row of the resource table says so (``Resource.stored_as``); then both
share keys, cache and revisions, and ``encoding.py`` renames on the way in and out: the fields, and in managedFields who owns them, so that
a field has the same owners whichever way it is written. Renaming is one to one, so nothing is lost either way. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lattice.api import eventsv1

Object = dict[str, Any]


class Renaming:
    """How a kind is stored.

    Args:
        api_version: of the kind.
        stored: apiVersion of the stored kind; version, kind and plural are called the same in both.
        names: field of an object to its name in the stored one, for those at the top that differ.
    """

    __slots__ = ("_back", "_names", "_versions", "group")

    def __init__(self, api_version: str, stored: str, names: Mapping[str, str]) -> None:
        self.group = stored.rpartition("/")[0]
        self._versions = (api_version, stored)
        self._names = dict(names)
        self._back = {name: own for own, name in names.items()}

    def to_stored(self, obj: Mapping[str, Any]) -> Object:
        """Return an object with the names of the stored kind; apiVersion and kind stay what they are."""
        return _renamed(obj, self._names, *self._versions)

    def from_stored(self, obj: Mapping[str, Any]) -> Object:
        """Return a stored object with the names of this kind."""
        return _renamed(obj, self._back, *reversed(self._versions))

    def stored_path(self, path: str) -> str:
        """Return a dotted path as it is in the stored object."""
        first, dot, rest = path.partition(".")
        return f"{self._names.get(first, first)}{dot}{rest}"


def _renamed(obj: Mapping[str, Any], names: Mapping[str, str], before: str, after: str) -> Object:
    found = {names.get(name, name): value for name, value in obj.items()}
    metadata = obj.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("managedFields"), list):
        fields = [_owner(entry, names, before, after) for entry in metadata["managedFields"]]
        found["metadata"] = {**metadata, "managedFields": fields}
    return found


def _owner(entry: Any, names: Mapping[str, str], before: str, after: str) -> Any:
    """Return an entry of managedFields in the other kind's names."""
    if not isinstance(entry, dict) or entry.get("apiVersion") != before:
        return entry
    owned = entry.get("fieldsV1")
    if isinstance(owned, dict):
        owned = {f"f:{names.get(name[2:], name[2:])}" if name.startswith("f:") else name: value for name, value in owned.items()}
    return {**entry, "apiVersion": after, "fieldsV1": owned}


EVENTS: Final = Renaming(eventsv1.Event.group_version(), "v1", eventsv1.STORED_NAMES)
"""Events of ``events.k8s.io``, which are stored as those of the core group."""
