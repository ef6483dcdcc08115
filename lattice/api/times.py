"""Times on the wire: RFC 3339 with any offset and precision comes in, one form is stored.

A Kubernetes server decodes a built-in kind into its type, and so writes every time back in UTC: ``metav1.Time`` in whole seconds,
``metav1.MicroTime`` in microseconds. Which of the two a field is stands in the schema (``MARKER``, put there by ``meta.Time`` and
``meta.MicroTime``; it never leaves the server). :class:`TimeFields` is made once a kind and changes objects in place; text that is no
time is left alone, for the schema check to name. Times of custom resources are text like any other and are not touched. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

MARKER: Final = "x-lattice-time"
SECONDS: Final = "seconds"
MICROSECONDS: Final = "microseconds"

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_STORED: Final = {SECONDS: re.compile(r".{10}T.{8}Z", re.ASCII), MICROSECONDS: re.compile(r".{10}T.{8}\..{6}Z", re.ASCII)}


def normalise_time(text: str, precision: str) -> str:
    """Return a time in UTC, cut to ``precision``; text that is no RFC 3339 time as it is."""
    if _STORED[precision].fullmatch(text) or _RFC_3339.fullmatch(text) is None:
        return text
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return text
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def is_stored(text: str, precision: str) -> bool:
    """Return whether a text is a time as it is stored."""
    try:
        return _STORED[precision].fullmatch(text) is not None and datetime.fromisoformat(text) is not None
    except ValueError:
        return False


class TimeFields:
    """The times of one kind's objects: the parts of its schema that lead to one."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._precision = schema.get(MARKER)
        fields = {name: TimeFields(child) for name, child in schema.get("properties", {}).items()}
        self._fields = {name: child for name, child in fields.items() if child}
        values = schema.get("additionalProperties")
        self._values = _or_none(TimeFields(values)) if isinstance(values, Mapping) else None
        self._items = _or_none(TimeFields(schema["items"])) if schema.get("items") else None

    def __bool__(self) -> bool:
        """Whether there is a time here or below."""
        return bool(self._precision or self._fields or self._values or self._items)

    def normalise(self, value: Any) -> Any:
        """Return ``value`` with all times in their stored form; maps and lists are changed in place."""
        if self._precision is not None:
            return normalise_time(value, self._precision) if isinstance(value, str) else value
        if isinstance(value, dict):
            for name, child in self._fields.items():
                if name in value:
                    value[name] = child.normalise(value[name])
            if self._values is not None:
                for name in value:
                    value[name] = self._values.normalise(value[name])
        elif isinstance(value, list) and self._items is not None:
            value[:] = [self._items.normalise(item) for item in value]
        return value

    def wrong(self, value: Any, path: str = "") -> Iterator[tuple[str, str]]:
        """Yield path and text of each time that has no stored form: no time, or none between the years 1 and 9999 in UTC."""
        if self._precision is not None:
            if isinstance(value, str) and not is_stored(value, self._precision):
                yield path, value
        elif isinstance(value, dict):
            for name, child in self._fields.items():
                if name in value:
                    yield from child.wrong(value[name], f"{path}.{name}" if path else name)
            if self._values is not None:
                for name in value:
                    yield from self._values.wrong(value[name], f"{path}[{name}]")
        elif isinstance(value, list) and self._items is not None:
            for index, item in enumerate(value):
                yield from self._items.wrong(item, f"{path}[{index}]")


def _or_none(fields: TimeFields) -> TimeFields | None:
    return fields or None
