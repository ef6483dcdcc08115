"""The field manager of one served version of a kind: what each write does to ``metadata.managedFields``.

Called by the write path (``writing``/``registry``) for every write, and pure: the time comes with the call, arguments are never
changed, results share what did not change with them. It leaves to the caller: which resource and manager it is, the defaults and
validation of the merged object, and what of ``status`` and ``spec`` this (sub)resource may write at all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from controller.apiserver.fieldmanager import blanks, checking, clientside, comparing, conflicts, entries, fieldset, merging, nodes
from controller.apiserver.fieldmanager.entries import Entries, Entry, Ident
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
_METADATA: Final = "f:metadata"
STATUS: Final = "status"
SCALE: Final = "scale"
BEFORE_FIRST_APPLY: Final = "before-first-apply"
"""Owner of what an object had when nobody kept record of owners."""


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

    def apply(self, live: Object | None, applied: Object, *, manager: str, force: bool, now: datetime, subresource: str = "") -> Object:
        """Return the live object with an applied configuration merged into it, and its new managedFields.

        Where that changes nothing but perhaps who owns what, the rest of the result equals ``live`` and no time is touched.

        Args:
            live: the present object, ``None`` where the apply creates it.
            applied: the configuration as the client sent it, without defaults; its name and kind are checked by the caller.
            manager: the fieldManager option.
            force: take fields from others instead of failing.
            now: the time of the write.
            subresource: through which the write came.

        Raises:
            errors.ConflictError: others own fields that would change, and ``force`` is not set.
            errors.BadRequestError: the configuration does not fit the schema, or has managedFields.
        """
        try:
            return self._apply(live, applied, manager, force, now, subresource)
        except RecursionError as error:
            raise _too_deep() from error

    def _apply(self, live: Object | None, applied: Object, manager: str, force: bool, now: datetime, subresource: str) -> Object:
        if _managed_fields(applied) is not None:
            raise errors.BadRequestError("metadata.managedFields must be nil")
        if problem := checking.check(self._root, applied):
            raise errors.BadRequestError(f"failed to create typed patch object ({_described(applied)}): {problem}")
        table = self._table(_managed_fields(live), {}, subresource) if live is not None else {}
        if live is not None and not table:
            table = self._first_table(live, now, subresource)
        present = _unmanaged(live) if live is not None else {}
        ident = entries.applier(manager, subresource)
        own = merging.set_of(self._root, self._view(applied, {}, subresource))
        if not own.get(_METADATA, True):
            own = {step: below for step, below in own.items() if step != _METADATA}
        last = table.get(ident)
        table[ident] = Entry(self._group_version, last.time if last else "", own)
        merged = merging.merge(self._root, present, self._writable(applied, subresource))
        if last is not None:
            owned: FieldSet = {_METADATA: {"f:name": {}}}
            for entry in table.values():
                owned = fieldset.union(owned, entry.fields)
            merged = merging.prune(self._root, merged, last.fields, owned)
        changed, removed = self._compare(live, merged, subresource)
        found = [] if force else conflicts.find(table, ident, changed)
        if found and manager == clientside.MANAGER and live is not None:
            found = clientside.unexcused(self._root, live, self._group_version, found)
        if found:
            raise conflicts.error_of(found)
        result = self._transferred(table, ident, changed, removed)
        if ident in result and subresource != SCALE and not comparing.same(self._root, present, merged):
            result[ident] = replace(result[ident], time=entries.time_text(now))
        if manager == clientside.MANAGER:
            merged = clientside.with_annotation(merged, applied)
        return _with_managed_fields(merged, entries.encode(result))

    @staticmethod
    def _transferred(table: Entries, own: Ident, changed: FieldSet, removed: FieldSet) -> Entries:
        """Return the table after an apply: others lose what it changed, nobody has what it removed."""
        result: Entries = {}
        for ident, entry in table.items():
            fields = entry.fields
            if ident != own:
                fields = fieldset.difference(fieldset.difference(fields, changed), removed)
            if fields:
                result[ident] = entry if fields is entry.fields else Entry(entry.version, entry.time, fields)
        return result

    def _first_table(self, live: Object, now: datetime, subresource: str) -> Entries:
        """Return the entries of an object that nobody's fields are known of: all it has was there before the first apply."""
        changed, _ = self._compare(None, live, subresource)
        if not changed:
            return {}
        ident = entries.updater(BEFORE_FIRST_APPLY, self._group_version, subresource)
        return {ident: Entry(self._group_version, entries.time_text(now), changed)}

    def _writable(self, applied: Object, subresource: str) -> Object:
        """Return what of an applied object may be written through a (sub)resource."""
        if subresource == STATUS:
            return {name: value for name, value in applied.items() if name == STATUS}
        if self._has_status and STATUS in applied:
            return {name: value for name, value in applied.items() if name != STATUS}
        return applied

    def _table(self, stored: Any, new: Object, subresource: str) -> Entries:
        """Return the entries to start from: the client's where they can be read, else the stored ones."""
        sent = stored if subresource else _managed_fields(new)
        if sent is not None and sent is not stored and sent != stored:
            if sent in ([], [{}]):
                return {}
            table = self._decoded(sent, stored or ())
            if table:
                return table
        return self._decoded(stored, stored) if stored else {}

    def _decoded(self, wire: Any, stored: Any) -> Entries:
        try:
            table = entries.decode(wire, stored=stored, versions=self._versions)
        except entries.EntriesError:
            return {}
        for ident, entry in table.items():
            fields = merging.collapsed(self._root, entry.fields)
            if fields is not entry.fields:
                table[ident] = replace(entry, fields=fields)
        return table

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


def _unmanaged(obj: Object) -> Object:
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {name: value for name, value in metadata.items() if name != "managedFields"}}


def _with_managed_fields(obj: Object, managed: list[dict[str, Any]] | None) -> Object:
    metadata = dict(obj.get("metadata") or {})
    if managed:
        metadata["managedFields"] = managed
    return {**obj, "metadata": metadata}


def _described(obj: Object) -> str:
    """Return which object an error is about, as Kubernetes writes it: ``default/web; example.dev/v1, Kind=Specimen``."""
    metadata = obj.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    version = str(obj.get("apiVersion") or "")
    shown = version if "/" in version else f"/{version}"
    return f"{metadata.get('namespace') or ''}/{metadata.get('name') or ''}; {shown}, Kind={obj.get('kind') or ''}"


def _too_deep() -> errors.BadRequestError:
    return errors.BadRequestError("the object is nested too deeply; flatten it")
