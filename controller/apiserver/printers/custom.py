"""Columns of custom resources: ``additionalPrinterColumns`` of a definition, compiled once a definition."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import orjson

from controller.apiserver import jsonpath
from controller.apiserver.printers.base import CREATED_TEXT, NAME, UNKNOWN, Column, Object, Printer, human_age, name_of

logger = logging.getLogger(__name__)

_AGE: Final = {"name": "Age", "type": "date", "description": CREATED_TEXT, "jsonPath": ".metadata.creationTimestamp"}


def printer_of(columns: Iterable[Mapping[str, Any]] | None) -> Printer:
    """Return the printer of a definition's columns; none at all means the age. A path that does not parse shows nothing."""
    given = list(columns or ()) or [_AGE]
    paths = [(_compiled(str(column.get("jsonPath", ""))), str(column.get("type", ""))) for column in given]

    def cells(obj: Object, now: datetime) -> list[Any]:
        return [name_of(obj), *(None if path is None else _cell(path.find(obj), kind, now) for path, kind in paths)]

    return Printer((NAME, *(_definition(column) for column in given)), cells)


def _compiled(text: str) -> jsonpath.Path | None:
    try:
        return jsonpath.Path(text)
    except ValueError:
        logger.warning("the JSONPath of a printer column cannot be parsed, its cells stay empty", extra={"path": text[:256]})
        return None


def _definition(column: Mapping[str, Any]) -> Column:
    path = column.get("jsonPath", "")
    description = column.get("description") or f"Custom resource definition column (in JSONPath format): {path}"
    return Column(str(column["name"]), str(column["type"]), str(column.get("format", "")), description, int(column.get("priority", 0)))


def _cell(found: list[Any], kind: str, now: datetime) -> Any:
    """Return the first value as the column's type shows it, ``None`` where there is none or it is of another type."""
    if not found:
        return None
    value = found[0]
    match kind:
        case "string":
            return _text(value)
        case "integer" if _is_number(value):
            return int(value)
        case "number" if _is_number(value):
            return value
        case "boolean" if isinstance(value, bool):
            return value
        case "date" if isinstance(value, str):
            return _date(value, now)
        case _:
            return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (Mapping, list)):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<no value>" if value is None else str(value)


def _date(value: str, now: datetime) -> str:
    if value in {"", "null"}:
        return UNKNOWN
    age = human_age(value, now)
    return "<invalid>" if age == UNKNOWN else age


SCALE: Final = printer_of(
    (
        {"name": "Desired", "type": "integer", "description": "Number of desired replicas", "jsonPath": ".spec.replicas"},
        {"name": "Available", "type": "integer", "description": "Number of actual replicas", "jsonPath": ".status.replicas"},
        _AGE,
    )
)
"""Prints the Scale of an object."""
