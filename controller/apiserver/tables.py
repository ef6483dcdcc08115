"""Tables: what ``kubectl get`` prints, as ``meta.k8s.io/v1 Table``. Columns are in ``printers``; here rows become answers.

A :class:`TableMaker` is made once a request by ``views.py``: for an object, a list, or a watch, where every event's object is a table of
one row and only the first one says what the columns are.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import orjson

from controller.apiserver.printers import custom, kinds
from controller.apiserver.printers.base import Object, Printer
from controller.apiserver.resources import Resource
from lattice.api import errors

_GROUP: Final = "meta.k8s.io"
_INCLUDE: Final = frozenset({"", "Metadata", "Object", "None"})
_printers: Final[weakref.WeakKeyDictionary[Resource, Printer]] = weakref.WeakKeyDictionary()


def printer_of(resource: Resource, subresource: str = "") -> Printer:
    """Return how objects of a resource are printed, or what one of its subresources answers."""
    if subresource == "scale":
        return custom.SCALE
    printer = _printers.get(resource)
    if printer is None:
        own = resource.custom or (resource.virtual and resource.columns is not None)
        printer = custom.printer_of(resource.columns) if own else kinds.PRINTERS.get(resource.kind, kinds.OTHER)
        _printers[resource] = printer
    return printer


class TableMaker:
    """Makes tables of one resource at one moment.

    Args:
        resource: whose columns.
        include: ``includeObject`` of the request: Metadata (default), Object or None.
        now: to show ages.
        version: of meta.k8s.io, as it was asked for.
        subresource: whose answers are shown.

    Raises:
        errors.BadRequestError: ``include`` is something else.
    """

    def __init__(self, resource: Resource, include: str, now: datetime, version: str = "v1", subresource: str = "") -> None:
        if include not in _INCLUDE:
            options = 'supported values: "Metadata", "None", "Object"'
            text = f'includeObject: Unsupported value: "{include[:64]}": {options}'
            raise errors.BadRequestError(f"Unable to convert to Table as requested: {text}")
        self._printer = printer_of(resource, subresource)
        self._columns = [column.to_dict() for column in self._printer.columns]
        self._include = include or "Metadata"
        self._now = now
        self._api_version = f"{_GROUP}/{version}"

    def object(self, raw: bytes) -> bytes:
        """Return the table of one object."""
        obj = orjson.loads(raw)
        return orjson.dumps(self._table([obj], _version_of(obj), self._columns))

    def head(self, metadata: Mapping[str, Any]) -> bytes:
        """Return what stands before the rows in the table of a list with that list's metadata."""
        return orjson.dumps(self._table([], {key: value for key, value in metadata.items() if value != ""}, self._columns))[:-2]

    def row(self, raw: bytes) -> bytes:
        """Return the row of one object of a list."""
        return orjson.dumps(self._row(orjson.loads(raw)))

    def event(self, obj: Object, now: datetime, *, first: bool) -> dict[str, Any]:
        """Return the table that stands for an object in a watch's event."""
        self._now = now
        return self._table([obj], _version_of(obj), self._columns if first else None)

    def _table(self, objects: Iterable[Object], metadata: Mapping[str, Any], columns: Any) -> dict[str, Any]:
        rows = [self._row(obj) for obj in objects]
        head = {"kind": "Table", "apiVersion": self._api_version, "metadata": metadata}
        return {**head, "columnDefinitions": columns, "rows": rows}

    def _row(self, obj: Object) -> dict[str, Any]:
        row: dict[str, Any] = {"cells": self._printer.cells(obj, self._now)}
        if self._printer.conditions is not None and (conditions := self._printer.conditions(obj)):
            row["conditions"] = conditions
        row["object"] = self._object(obj)
        return row

    def _object(self, obj: Object) -> Any:
        if self._include == "None":
            return None
        if self._include == "Object":
            return obj
        return {"kind": "PartialObjectMetadata", "apiVersion": self._api_version, "metadata": obj["metadata"]}


def _version_of(obj: Object) -> dict[str, str]:
    version = obj["metadata"].get("resourceVersion")
    return {"resourceVersion": version} if version else {}
