"""Tables: the columns of each kind, and how values are shown to a person. Pure but for the rich console."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

import click
from rich.console import Console
from rich.table import Table

Json: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``wide``: only with ``-o wide``."""

    title: str
    value: Callable[[Json], str]
    wide: bool = False


def at(*path: str, default: str = "") -> Callable[[Json], str]:
    """Return a function that reads a field as text."""

    def read(obj: Json) -> str:
        value: Any = obj
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return default if value is None else str(value)

    return read


def _condition(obj: Json, kind: str) -> Json:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each.get("type") == kind), {})


def _pod_ready(obj: Json) -> str:
    statuses = (obj.get("status") or {}).get("containerStatuses") or ()
    return f"{sum(bool(each.get('ready')) for each in statuses)}/{len((obj.get('spec') or {}).get('containers') or ())}"


def _pod_status(obj: Json) -> str:
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    status = obj.get("status") or {}
    for each in status.get("containerStatuses") or ():
        for state in ("waiting", "terminated"):
            if reason := ((each.get("state") or {}).get(state) or {}).get("reason"):
                return str(reason)
    return str(status.get("reason") or status.get("phase") or "Pending")


def _restarts(obj: Json) -> str:
    return str(sum(each.get("restartCount") or 0 for each in (obj.get("status") or {}).get("containerStatuses") or ()))


def _node_status(obj: Json) -> str:
    words = {"True": "Ready", "False": "NotReady"}
    text = words.get(_condition(obj, "Ready").get("status", ""), "Unknown")
    return f"{text},SchedulingDisabled" if (obj.get("spec") or {}).get("unschedulable") else text


def _runs(obj: Json) -> str:
    spec = obj.get("spec") or {}
    preset = spec.get("preset") or {}
    return f"{preset.get('name')} {preset.get('version')}" if preset else str(spec.get("image", ""))


def _endpoints(obj: Json) -> str:
    found = (obj.get("status") or {}).get("endpoints") or ()
    return ",".join(f"{each.get('hostIP')}:{each.get('hostPort')}" for each in found) or "-"


def _workload_ready(obj: Json) -> str:
    return f"{at('status', 'readyReplicas', default='0')(obj)}/{at('spec', 'replicas', default='1')(obj)}"


def _regarding(obj: Json) -> str:
    regarding = obj.get("involvedObject") or {}
    return f"{str(regarding.get('kind', '')).lower()}/{regarding.get('name', '')}"


_NAME = Column("NAME", at("metadata", "name"))
COLUMNS: Final[Mapping[str, tuple[Column, ...]]] = {
    "Workload": (_NAME, Column("RUNS", _runs), Column("PHASE", at("status", "phase", default="Pending")), Column("READY", _workload_ready),
                 Column("ENDPOINTS", _endpoints), Column("SECRET", at("status", "credentialsSecret"), wide=True)),
    "Pod": (_NAME, Column("READY", _pod_ready), Column("STATUS", _pod_status), Column("RESTARTS", _restarts),
            Column("NODE", at("spec", "nodeName", default="-"), wide=True), Column("IP", at("status", "podIP", default="-"), wide=True)),
    "Node": (_NAME, Column("STATUS", _node_status), Column("CPU", at("status", "allocatable", "cpu")),
             Column("MEMORY", at("status", "allocatable", "memory")), Column("PODS", at("status", "allocatable", "pods")),
             Column("VERSION", at("status", "nodeInfo", "kubeletVersion"), wide=True),
             Column("ENGINE", at("status", "nodeInfo", "containerRuntimeVersion"), wide=True)),
    "Namespace": (_NAME, Column("STATUS", at("status", "phase"))),
    "Secret": (_NAME, Column("TYPE", at("type")), Column("DATA", lambda obj: str(len(obj.get("data") or {})))),
    "ConfigMap": (_NAME, Column("DATA", lambda obj: str(len(obj.get("data") or {}) + len(obj.get("binaryData") or {})))),
    "PersistentVolumeClaim": (_NAME, Column("STATUS", at("status", "phase")), Column("VOLUME", at("spec", "volumeName", default="-")),
                              Column("SIZE", at("spec", "resources", "requests", "storage"))),
    "PersistentVolume": (_NAME, Column("STATUS", at("status", "phase")), Column("SIZE", at("spec", "capacity", "storage")),
                         Column("POLICY", at("spec", "persistentVolumeReclaimPolicy")), Column("CLAIM", at("spec", "claimRef", "name"))),
    "Lease": (_NAME, Column("HOLDER", at("spec", "holderIdentity", default="-"))),
    "Event": (Column("LAST SEEN", at("lastTimestamp")), Column("TYPE", at("type")), Column("REASON", at("reason")),
              Column("OBJECT", _regarding), Column("MESSAGE", at("message"))),
}  # fmt: skip


def age(created: str, now: datetime) -> str:
    """Return how long ago ``created`` was, in its largest unit."""
    try:
        seconds = max(0, int((now - datetime.fromisoformat(created)).total_seconds()))
    except (ValueError, TypeError):
        return "-"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size or (unit == "m" and seconds >= 120):
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def safe(text: str) -> str:
    """Return text without control characters: what a server sends must not drive the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def rows(kind: str, objects: Sequence[Json], *, now: datetime, wide: bool, namespaces: bool) -> tuple[list[str], list[list[str]]]:
    """Return titles and rows."""
    columns = [column for column in COLUMNS.get(kind, (_NAME,)) if wide or not column.wide]
    titles = [*(["NAMESPACE"] if namespaces else []), *(column.title for column in columns)]
    body = []
    for obj in objects:
        lead = [at("metadata", "namespace")(obj)] if namespaces else []
        tail = [] if kind == "Event" else [age(at("metadata", "creationTimestamp")(obj), now)]
        body.append([safe(cell) for cell in (*lead, *(column.value(obj) for column in columns), *tail)])
    return [*titles, *([] if kind == "Event" else ["AGE"])], body


def print_table(titles: Sequence[str], body: Sequence[Sequence[str]]) -> None:
    """Print a table: with rich on a terminal, in plain columns into a pipe (nothing is cut there)."""
    console = Console()
    if console.is_terminal:
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for title in titles:
            table.add_column(title, overflow="fold")
        for row in body:
            table.add_row(*(_markup_off(cell) for cell in row))
        console.print(table)
        return
    widths = [max(map(len, column)) for column in zip(titles, *body, strict=True)]
    for row in (titles, *body):
        click.echo("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _markup_off(cell: str) -> str:
    return cell.replace("[", "\\[")
