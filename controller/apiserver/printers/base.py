"""What all printers are made of: columns, the two that every table has, and ages in kubectl's words.

A :class:`Printer` turns one object into one row. Cells must be total: a bookmark is printed too, and it has neither name nor spec.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

Object: TypeAlias = Mapping[str, Any]

NONE: Final = "<none>"
UNKNOWN: Final = "<unknown>"
UNSET: Final = "<unset>"


@dataclass(frozen=True, slots=True)
class Column:
    """One column, as ``columnDefinitions`` says it. ``priority`` above 0: shown with ``-o wide`` only."""

    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the wire form."""
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }


@dataclass(frozen=True, slots=True)
class Printer:
    """The columns of a kind and how its cells are made.

    ``cells`` gets the object and the present time. ``conditions``: what is said about a row as a whole.
    """

    columns: Sequence[Column]
    cells: Callable[[Object, datetime], list[Any]]
    conditions: Callable[[Object], list[dict[str, str]]] | None = None


NAME_TEXT: Final = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a "
    "client to request the generation of an appropriate name automatically. Name is primarily intended for creation "
    "idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)
CREATED_TEXT: Final = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to "
    "be set in happens-before order across separate operations. Clients may not set this value. It is represented in "
    "RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)
NAME: Final = Column("Name", "string", "name", NAME_TEXT)
AGE: Final = Column("Age", description=CREATED_TEXT)


def part(obj: Any, *path: str) -> Any:
    """Return a field, ``None`` where the way to it is not there."""
    for name in path:
        obj = obj.get(name) if isinstance(obj, Mapping) else None
    return obj


def text(obj: Any, *path: str, default: str = "") -> str:
    """Return a field as text, ``default`` where it is absent or empty."""
    value = part(obj, *path)
    return default if value is None or value == "" else str(value)


def items(obj: Any, *path: str) -> list[Any]:
    """Return the mappings in a list, none where it is absent."""
    value = part(obj, *path)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def name_of(obj: Object) -> str:
    """Return an object's name, empty for a bookmark."""
    return text(obj, "metadata", "name")


def age_of(obj: Object, now: datetime) -> str:
    """Return how long an object has existed."""
    return since(part(obj, "metadata", "creationTimestamp"), now)


def since(moment: Any, now: datetime) -> str:
    """Return the time since a timestamp, ``<unknown>`` where there is none."""
    return human_age(moment, now) if isinstance(moment, str) and moment else UNKNOWN


def human_age(moment: str, now: datetime) -> str:
    """Return the time since ``moment`` in kubectl's short form: two units at most, fewer as it grows."""
    try:
        seconds = int((now - datetime.fromisoformat(moment)).total_seconds())
    except (ValueError, TypeError):
        return UNKNOWN
    if seconds < 0:
        return "<invalid>" if seconds < -1 else "0s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    return f"{days // 365}y{days % 365}d" if days < 2920 and days % 365 else f"{days // 365}y"
