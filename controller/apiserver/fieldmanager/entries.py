"""``metadata.managedFields`` on the wire and as a table: one entry a manager, operation, version and subresource.

Decoding checks what a client may write and brings it into the canonical form (what is stored came through here, so the entries of a
live object are taken as they are); encoding sorts as Kubernetes does. :func:`cap` keeps the number of updaters bounded.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from controller.apiserver.fieldmanager import fieldset
from controller.apiserver.fieldmanager.elements import json_text
from controller.apiserver.fieldmanager.fieldset import FieldSet

APPLY: Final = "Apply"
UPDATE: Final = "Update"
MAX_UPDATERS: Final = 10
"""Update entries that one object keeps; the oldest beyond that are squeezed into one."""
ANCIENT: Final = "ancient-changes"
"""Manager of the entry that the oldest updates are squeezed into."""


class EntriesError(ValueError):
    """A list of managedFields cannot be read."""


class Ident(NamedTuple):
    """Who an entry belongs to. ``version`` is empty for appliers, who have one entry whatever version they last applied."""

    manager: str
    operation: str
    version: str
    subresource: str

    def sort_key(self) -> str:
        """Return the text that Kubernetes sorts managers by."""
        parts = {"manager": self.manager, "operation": self.operation, "apiVersion": self.version, "subresource": self.subresource}
        return "{" + ",".join(f'"{name}":{json_text(value)}' for name, value in parts.items() if value) + "}"


@dataclass(frozen=True, slots=True)
class Entry:
    """What one manager owns. ``time``: RFC 3339 in UTC, ``""`` for none."""

    version: str
    time: str
    fields: FieldSet


Entries = dict[Ident, Entry]


def time_text(now: datetime) -> str:
    """Return a time as an entry has it."""
    return f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def applier(manager: str, subresource: str) -> Ident:
    """Return whose entry an apply is."""
    return Ident(manager or "unknown", APPLY, "", subresource)


def updater(manager: str, version: str, subresource: str) -> Ident:
    """Return whose entry any other write is."""
    return Ident(manager or "unknown", UPDATE, version, subresource)


def decode(wire: Any, *, stored: Sequence[Any] = (), versions: Container[str] | None = None) -> Entries:
    """Return the table of a list of managedFields.

    Args:
        wire: the list.
        stored: entries that are known to be canonical.
        versions: the versions that exist; entries of others are left out. ``None``: not known.

    Raises:
        EntriesError: it is not such a list.
    """
    if not isinstance(wire, list):
        raise EntriesError("managedFields is not a list")
    table: Entries = {}
    trusted = wire is stored
    known = {} if trusted else _by_ident(stored)
    for index, item in enumerate(wire):
        ident, version = _read_ident(index, item)
        if versions is not None and version not in versions:
            continue
        if trusted or known.get(ident) == item:
            entry = Entry(version, item.get("time") or "", item.get("fieldsV1") or {})
        else:
            try:
                entry = Entry(version, _read_time(item.get("time")), fieldset.parse(item.get("fieldsV1")))
            except ValueError as error:
                raise EntriesError(f"managedFields[{index}]: {error}") from error
        table[ident] = entry
    return table


def _by_ident(stored: Sequence[Any]) -> dict[Ident, Any]:
    return {_read_ident(index, item)[0]: item for index, item in enumerate(stored)}


def _read_ident(index: int, item: Any) -> tuple[Ident, str]:
    if not isinstance(item, dict):
        raise EntriesError(f"managedFields[{index}] is not an object")
    manager, operation, subresource = item.get("manager") or "", item.get("operation"), item.get("subresource") or ""
    version = item.get("apiVersion")
    if operation != APPLY and operation != UPDATE:
        raise EntriesError("operation must be `Apply` or `Update`")
    if not isinstance(version, str) or not version:
        raise EntriesError("apiVersion must not be empty")
    if item.get("fieldsType") != "FieldsV1":
        raise EntriesError(f"invalid fieldsType in managed fields entry {index}")
    if not isinstance(manager, str) or not isinstance(subresource, str):
        raise EntriesError(f"managedFields[{index}]: manager and subresource must be strings")
    return Ident(manager, operation, version if operation == UPDATE else "", subresource), version


def _read_time(value: Any) -> str:
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        raise EntriesError("time must be a string")
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise EntriesError("time has no zone")
        return time_text(moment)
    except (ValueError, OverflowError) as error:
        raise EntriesError(f"time: {error}") from error


def encode(table: Mapping[Ident, Entry]) -> list[dict[str, Any]] | None:
    """Return the list that says what ``table`` says, ``None`` where there is nothing to say."""
    order = sorted(table, key=lambda ident: (ident.operation, table[ident].time, ident.manager, table[ident].version, ident.subresource))
    return [_encode(ident, table[ident]) for ident in order] or None


def _encode(ident: Ident, entry: Entry) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "apiVersion": entry.version,
        "fieldsType": "FieldsV1",
        "fieldsV1": entry.fields,
        "manager": ident.manager,
        "operation": ident.operation,
    }
    if ident.subresource:
        wire["subresource"] = ident.subresource
    if entry.time:
        wire["time"] = entry.time
    return wire


def cap(table: Entries) -> Entries:
    """Return the table with at most :data:`MAX_UPDATERS` updaters: the oldest of each version become one entry."""
    updaters = [ident for ident in table if ident.operation == UPDATE]
    surplus = len(updaters) - MAX_UPDATERS
    if surplus <= 0:
        return table
    updaters.sort(key=lambda ident: (table[ident].time, ident.sort_key()))
    result = dict(table)
    first: dict[str, Ident] = {}
    for ident in updaters:
        if surplus <= 0:
            break
        entry = table[ident]
        if entry.version not in first:
            first[entry.version] = ident
            continue
        bucket = updater(ANCIENT, entry.version, "")
        if bucket not in result:
            result[bucket] = result.pop(first[entry.version])
        merged = fieldset.union(entry.fields, result[bucket].fields)
        if ident != bucket:
            result.pop(ident)
        result[bucket] = replace(entry, fields=merged)
        surplus -= 1
    return result
