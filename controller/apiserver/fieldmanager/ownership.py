"""The field manager of one served version of a kind: what each write does to ``metadata.managedFields``.

Called by the write path (``writing``/``registry``) for every write, and pure: the time comes with the call, arguments are never
changed, results share what did not change with them. It leaves to the caller: which resource and manager it is, the defaults and
validation of the merged object, and what of ``status`` and ``spec`` this (sub)resource may write at all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from controller.apiserver.fieldmanager import blanks, comparing, entries, fieldset, nodes
from controller.apiserver.fieldmanager.entries import Entries, Entry
from controller.apiserver.fieldmanager.fieldset import FieldSet
from lattice.api import errors

Object = dict[str, Any]

_SERVER_METADATA: Final = frozenset(
    {
        "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "selfLink", "clusterName",
        "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields",
    }
)  # fmt: skip
"""Metadata that identifies the object or is the server's: nobody owns it."""
_HEAD: Final = frozenset({"apiVersion", "kind"})
STATUS: Final = "status"
SCALE: Final = "scale"


class FieldManager:
    """See the module's docstring.

    Args:
        schema: the full structural schema of the object, metadata included.
        group_version: of the objects that this manager is given.
        has_status: the resource has a status subresource, so the main resource does not write ``status``.
        versions: every version in which the kind exists; entries of others are dropped. Empty: not known, all are kept.
    """

    def __init__(self, schema: Mapping[str, Any], *, group_version: str, has_status: bool = True, versions: Collection[str] = ()) -> None:
        self._root = nodes.compile_schema(schema)
        self._group_version = group_version
        self._has_status = has_status
        self._versions = frozenset(versions) or None

    def update(
        self, live: Object | None, new: Object, *, manager: str, now: datetime, subresource: str = ""
    ) -> list[dict[str, Any]] | None:
        """Return the managedFields of ``new``, which a write other than an apply is about to store.

        Args:
            live: the present object, ``None`` for a creation.
            new: the object to store; its managedFields are what the client sent, or those of ``live``.
            manager: the fieldManager option, or what stands for it.
            now: the time of the write.
            subresource: through which the write came; it may change managedFields only through the main resource.

        Raises:
            errors.BadRequestError: the object is nested too deeply to be looked at.
        """
        try:
            return self._update(live, new, manager, now, subresource)
        except RecursionError as error:
            raise _too_deep() from error

    def _update(self, live: Object | None, new: Object, manager: str, now: datetime, subresource: str) -> list[dict[str, Any]] | None:
        stored = _managed_fields(live) if live is not None else None
        table = self._table(stored, new, subresource)
        if live is not None and not table:
            return None  # not tracked: the object was there before anybody's fields were, or somebody cleared them
        changed, removed = self._compare(live, new, subresource)
        result: Entries = {}
        for ident, entry in table.items():
            fields = fieldset.difference(fieldset.difference(entry.fields, changed), removed)
            if fields:
                result[ident] = entry if fields is entry.fields else Entry(entry.version, entry.time, fields)
        own = fieldset.difference(changed, removed)
        if own:
            ident = entries.updater(manager, self._group_version, subresource)
            known = result.get(ident)
            time = "" if subresource == SCALE else entries.time_text(now)
            result[ident] = Entry(self._group_version, time, fieldset.union(own, known.fields) if known else own)
        return entries.encode(entries.cap(result))

    def _table(self, stored: Any, new: Object, subresource: str) -> Entries:
        """Return the entries to start from: the client's where they can be read, else the stored ones."""
        sent = stored if subresource else _managed_fields(new)
        if sent is not None and sent is not stored and sent != stored:
            if sent in ([], [{}]):
                return {}
            try:
                table = entries.decode(sent, stored=stored or (), versions=self._versions)
            except entries.EntriesError:
                table = {}
            if table:
                return table
        try:
            return entries.decode(stored, stored=stored, versions=self._versions) if stored else {}
        except entries.EntriesError:
            return {}

    def _compare(self, live: Object | None, new: Object, subresource: str) -> tuple[FieldSet, FieldSet]:
        blank = blanks.blank_of(new)
        before = self._view(blank if live is None else live, blank, subresource)
        after = self._view(new, blank, subresource)
        changed, removed = comparing.compare(self._root, before, after)
        if changed and subresource == SCALE:
            changed = fieldset.leaves(changed)
        return changed or {}, removed or {}

    def _view(self, obj: Mapping[str, Any], blank: Mapping[str, Any], subresource: str) -> Object:
        """Return the part of an object that may be owned through a (sub)resource."""
        if subresource == STATUS:
            status = obj.get(STATUS, blank.get(STATUS, nodes.ABSENT))
            return {} if status is nodes.ABSENT else {STATUS: status}
        view = {name: value for name, value in obj.items() if name not in _HEAD}
        for name, value in blank.items():
            view.setdefault(name, value)
        metadata = view.get("metadata")
        owned = metadata.items() if isinstance(metadata, dict) else ()
        view["metadata"] = {name: value for name, value in owned if name not in _SERVER_METADATA}
        if self._has_status:
            view.pop(STATUS, None)
        return view


def _managed_fields(obj: Mapping[str, Any]) -> Any:
    metadata = obj.get("metadata")
    return metadata.get("managedFields") if isinstance(metadata, dict) else None


def _too_deep() -> errors.BadRequestError:
    return errors.BadRequestError("the object is nested too deeply; flatten it")
