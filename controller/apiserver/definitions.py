"""CustomResourceDefinitions: from a definition to rows of the resource table, at once and while the server runs.

:func:`rows_of` is pure: a stored definition in, the row of each served version out. :class:`Definitions` listens to the feed: when a
definition is established, changed or gone, the rows, the cache and with them discovery, OpenAPI and validation change before the feed
takes the next event. It also is the naming controller: a new definition gets its ``NamesAccepted`` and ``Established`` conditions before
its creation is answered, so a kind can be used as soon as ``kubectl apply`` of its definition returns.

The ``lattice.dev`` kinds are made by the same code from the generated definitions; those cannot be deleted or changed (``admission.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from controller.apiserver import metadata
from controller.apiserver.aside import aside
from controller.apiserver.compiled import codec_of
from controller.apiserver.feed import Feed
from controller.apiserver.resources import CUSTOM_VERBS, SCALE, Resource, ResourceTable, ScalePaths, Subresource
from controller.apiserver.watchcache import Change, Entry
from lattice.api import crds, meta, names, namespace, schema, scheme, tombstone

logger = logging.getLogger(__name__)

Object = dict[str, Any]

FINALIZER: Final = "customresourcecleanup.apiextensions.k8s.io"
KIND: Final = "CustomResourceDefinition"
_OPEN: Final[Mapping[str, Any]] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_OWN_VERBS: Final[Mapping[type[meta.Object], tuple[str, ...]]] = {tombstone.Tombstone: ("delete", "get", "list", "watch")}


@dataclass(frozen=True, slots=True)
class Rows:
    """What a definition serves. ``stored`` describes the objects in the store; its version need not be served."""

    stored: Resource
    served: tuple[Resource, ...]

    def forget(self) -> None:
        """Drop what was compiled from rows that are served no longer: parts of it refer to their row, and would stay until all is swept."""
        for row in (self.stored, *self.served):
            row.memo.clear()


def rows_of(definition: Mapping[str, Any]) -> Rows:
    """Return the rows of a valid definition."""
    spec = definition["spec"]
    storage = next(version["name"] for version in spec["versions"] if version.get("storage"))
    terminating = bool(definition["metadata"].get("deletionTimestamp"))
    rows = {version["name"]: _row(spec, version, storage, terminating=terminating) for version in spec["versions"]}
    served = tuple(rows[version["name"]] for version in spec["versions"] if version.get("served"))
    return Rows(rows[storage], served)


def _row(spec: Mapping[str, Any], version: Mapping[str, Any], storage: str, *, terminating: bool) -> Resource:
    given = spec["names"]
    subresources: dict[str, Subresource] = {}
    parts = version.get("subresources") or {}
    if parts.get("status") is not None:
        subresources["status"] = Subresource("status")
    scale = parts.get("scale")
    if scale is not None:
        subresources["scale"] = SCALE
    deprecation = ""
    if version.get("deprecated"):
        deprecation = version.get("deprecationWarning") or f"{spec['group']}/{version['name']} {given['kind']} is deprecated"
    columns = version.get("additionalPrinterColumns")
    return Resource(
        group=spec["group"],
        version=version["name"],
        kind=given["kind"],
        list_kind=given.get("listKind") or f"{given['kind']}List",
        plural=given["plural"],
        singular=given.get("singular") or given["kind"].lower(),
        namespaced=spec["scope"] == "Namespaced",
        schema=complete_schema((version.get("schema") or {}).get("openAPIV3Schema") or _OPEN),
        short_names=tuple(given.get("shortNames") or ()),
        categories=tuple(given.get("categories") or ()),
        verbs=CUSTOM_VERBS,
        subresources=subresources,
        selectable={
            item["jsonPath"].removeprefix("."): tuple(item["jsonPath"].removeprefix(".").split("."))
            for item in version.get("selectableFields") or ()
        },
        custom=True,
        storage_version=storage,
        columns=None if not columns else tuple(columns),
        scale=None
        if scale is None
        else ScalePaths(_path(scale["specReplicasPath"]), _path(scale["statusReplicasPath"]), _path(scale.get("labelSelectorPath"))),
        counts_generations=True,
        terminating=terminating,
        deprecation=deprecation,
    )


def _path(text: str | None) -> tuple[str, ...]:
    return tuple(text.removeprefix(".").split(".")) if text else ()


def complete_schema(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a whole object: ``given`` with the full apiVersion, kind and metadata."""
    full = schema.object_schema(namespace.Namespace)["properties"]
    properties = dict(given.get("properties") or {})
    restricted = (properties.get("metadata") or {}).get("properties") or {}
    whole = full["metadata"]
    if restricted:
        merged = {name: {**whole["properties"].get(name, {}), **rules} for name, rules in restricted.items()}
        whole = {**whole, "properties": {**whole["properties"], **merged}}
    head = {"apiVersion": full["apiVersion"], "kind": full["kind"], "metadata": whole}
    return {**given, "type": "object", "properties": {**properties, **head}}


def own_rows() -> list[Resource]:
    """Return the rows of the ``lattice.dev`` kinds."""
    rows = []
    for kind in scheme.KINDS:
        if kind.GROUP == names.GROUP:
            (row,) = rows_of(crds.build_definition(kind)).served
            rows.append(replace(row, type=kind, verbs=_OWN_VERBS.get(kind, row.verbs)))
    return rows


def own_definitions() -> list[Object]:
    """Return the definitions of the ``lattice.dev`` kinds as they are stored, without metadata that a server sets."""
    return [
        {**definition, "spec": {"conversion": {"strategy": "None"}, **definition["spec"]}}
        for definition in (crds.build_definition(kind) for kind in scheme.KINDS if kind.GROUP == names.GROUP)
    ]


def is_condition(definition: Mapping[str, Any], kind: str) -> bool:
    """Return whether a condition of a definition holds."""
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return any(condition.get("type") == kind and condition.get("status") == "True" for condition in conditions)


def accept_names(definition: Object, others: Iterable[Resource], now: datetime) -> Object:
    """Return the status of a definition whose names are judged against those of the other kinds of its group.

    Texts and reasons as kube-apiserver's naming and establishing controllers.
    """
    wanted = definition["spec"]["names"]
    others = tuple(others)
    taken = {name for row in others for name in (row.plural, row.singular, *row.short_names)}
    kinds = {name for row in others for name in (row.kind, row.list_kind)}
    conflict = next(
        (
            (f"{label}Conflict", name)
            for label, name, used in (
                ("Plural", wanted["plural"], taken),
                ("Singular", wanted.get("singular", ""), taken),
                *(("ShortNames", name, taken) for name in wanted.get("shortNames") or ()),
                ("Kind", wanted["kind"], kinds),
                ("ListKind", wanted.get("listKind", ""), kinds),
            )
            if name in used
        ),
        None,
    )
    status = dict(definition.get("status") or {})
    conditions = [dict(condition) for condition in status.get("conditions") or ()]
    if conflict is None:
        status["acceptedNames"] = wanted
        _set_condition(conditions, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now)
        _set_condition(conditions, "Established", "True", "InitialNamesAccepted", "the initial names have been accepted", now)
    else:
        reason, name = conflict
        _set_condition(conditions, "NamesAccepted", "False", reason, f'"{name}" is already in use', now)
        if not is_condition(definition, "Established"):
            _set_condition(conditions, "Established", "False", "NotAccepted", "not all names are accepted", now)
    status["conditions"] = conditions
    return status


def mark_terminating(definition: Object, now: datetime) -> Object:
    """Return the status of a definition whose deletion begins."""
    status = dict(definition.get("status") or {})
    conditions = [dict(condition) for condition in status.get("conditions") or ()]
    message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    _set_condition(conditions, "Terminating", "True", "InstanceDeletionPending", message, now)
    return {**status, "conditions": conditions}


def _set_condition(conditions: list[Object], kind: str, value: str, reason: str, message: str, now: datetime) -> None:
    found = next((condition for condition in conditions if condition.get("type") == kind), None)
    if found is not None and found.get("status") == value:
        found.update(reason=reason, message=message)
        return
    new = {"type": kind, "status": value, "lastTransitionTime": metadata.timestamp(now), "reason": reason, "message": message}
    if found is None:
        conditions.append(new)
    else:
        found.clear()
        found.update(new)


class Definitions:
    """Keeps the resource table and the caches in step with the stored definitions. Single-threaded, driven by the feed."""

    def __init__(self, table: ResourceTable, feed: Feed, *, on_unjudged: Callable[[str], None]) -> None:
        """``on_unjudged`` is called with the name of a definition whose names nobody has judged yet."""
        self._table = table
        self._feed = feed
        self._served: dict[str, tuple[Mapping[str, Any], bool, Rows]] = {}
        self._on_unjudged = on_unjudged

    def reset(self, entries: Iterable[Entry]) -> None:
        """Take in the list of all definitions; the feed fills the caches afterwards."""
        present = {entry.name: entry.load() for entry in entries}
        for name in [name for name in self._served if name not in present]:
            self._stop(name)
        for name, definition in present.items():
            rows = self._update(name, definition)
            if rows is not None:
                self._feed.add_cache(rows.stored)

    async def on_change(self, change: Change) -> None:
        """Take in one event of a definition. The feed waits for the return before it goes on."""
        name = change.entry.name
        if change.type == "DELETED":
            self._stop(name)
            return
        rows = self._update(name, change.entry.load())
        if rows is not None:
            await aside(len(change.entry.raw), lambda: codec_of(rows.stored))  # compiles the schema
            await self._feed.open_cache(rows.stored, change.entry.revision)

    def _update(self, name: str, definition: Object) -> Rows | None:
        """Serve a definition as it is now. Return its rows, or ``None`` if cache and watches stay as they are."""
        if definition["spec"]["group"] == names.GROUP or self._is_brought(definition):
            return None
        if not is_condition(definition, "Established"):
            if not is_condition(definition, "NamesAccepted"):
                self._on_unjudged(name)
            return None
        terminating = bool(definition["metadata"].get("deletionTimestamp"))
        known = self._served.get(name)
        same_spec = known is not None and known[0] == definition["spec"]
        if known is not None and same_spec and known[1] == terminating:
            return None
        try:
            rows = rows_of(definition)
        except (KeyError, TypeError, StopIteration):
            logger.exception("a stored definition cannot be read and is not served", extra={"definition": name})
            return None
        if known is not None:
            known[2].forget()
        self._served[name] = (definition["spec"], terminating, rows)
        self._table.replace(rows.stored.group, rows.stored.plural, rows.served)
        return None if same_spec else rows  # the watches of a kind that begins to go see its objects go

    def _is_brought(self, definition: Object) -> bool:
        """Whether a kind of this name comes with Lattice. Whatever the conditions say, which anybody may have written: it stays."""
        group, plural = definition["spec"]["group"], definition["spec"]["names"]["plural"]
        return any(row.brought and row.group == group and row.plural == plural for row in self._table.all)

    def _stop(self, name: str) -> None:
        known = self._served.pop(name, None)
        if known is not None:
            stored = known[2].stored
            self._table.replace(stored.group, stored.plural, ())
            known[2].forget()
            self._feed.close_cache(stored.root)
