"""Tables: what ``kubectl get`` prints, as ``meta.k8s.io/v1 Table``. Columns are data, a cell is a pure function of the object.

Used where the client's Accept asks for ``as=Table``; kinds without an entry show name and age.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from controller.apiserver.resources import Resource
from lattice.api import errors

Object = Mapping[str, Any]
_NONE: Final = "<none>"


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``wide``: shown with ``-o wide`` only."""

    name: str
    cell: Callable[[Object], Any]
    type: str = "string"
    wide: bool = False


def path(*parts: str, default: Any = "") -> Callable[[Object], Any]:
    """Return a cell that shows a field."""

    def cell(obj: Object) -> Any:
        value: Any = obj
        for part in parts:
            value = value.get(part) if isinstance(value, Mapping) else None
        return default if value is None or value == "" else value

    return cell


def _count(*fields: str) -> Callable[[Object], int]:
    return lambda obj: sum(len(obj.get(field) or {}) for field in fields)


def _statuses(obj: Object) -> list[Any]:
    return list((obj.get("status") or {}).get("containerStatuses") or ())


def _pod_ready(obj: Object) -> str:
    total = len((obj.get("spec") or {}).get("containers") or ())
    return f"{sum(bool(status.get('ready')) for status in _statuses(obj))}/{total}"


def _pod_status(obj: Object) -> str:
    """Return what the Pod is doing: the reason of a container that does not run says more than the phase."""
    status = obj.get("status") or {}
    text = str(status.get("reason") or status.get("phase") or "Unknown")
    for container in _statuses(obj):
        state = container.get("state") or {}
        for part in ("waiting", "terminated"):
            if reason := (state.get(part) or {}).get("reason"):
                text = str(reason)
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return text


def _node_status(obj: Object) -> str:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    ready = next((condition.get("status") for condition in conditions if condition.get("type") == "Ready"), None)
    text = {"True": "Ready", "False": "NotReady"}.get(str(ready), "Unknown" if ready is None else "NotReady")
    return f"{text},SchedulingDisabled" if (obj.get("spec") or {}).get("unschedulable") else text


def _address(obj: Object) -> str:
    addresses = (obj.get("status") or {}).get("addresses") or ()
    return next((str(address.get("address")) for address in addresses if address.get("type") == "InternalIP"), _NONE)


_MODES: Final = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(obj: Object) -> str:
    return ",".join(_MODES.get(mode, mode) for mode in (obj.get("spec") or {}).get("accessModes") or ())


def _claim(obj: Object) -> str:
    reference = (obj.get("spec") or {}).get("claimRef") or {}
    return f"{reference.get('namespace', '')}/{reference['name']}" if reference.get("name") else ""


def _involved(obj: Object) -> str:
    about = obj.get("involvedObject") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _seen(obj: Object) -> str | None:
    times = (obj.get("lastTimestamp"), (obj.get("series") or {}).get("lastObservedTime"), obj.get("eventTime"))
    return next((str(time) for time in times if time), obj["metadata"].get("creationTimestamp"))


_AGE: Final = Column("Age", path("metadata", "creationTimestamp", default=None), "date")
_COLUMNS: Final[Mapping[str, tuple[Column, ...]]] = {
    "Pod": (
        Column("Ready", _pod_ready),
        Column("Status", _pod_status),
        Column("Restarts", lambda obj: sum(int(status.get("restartCount", 0)) for status in _statuses(obj)), "integer"),
        _AGE,
        Column("IP", path("status", "podIP", default=_NONE), wide=True),
        Column("Node", path("spec", "nodeName", default=_NONE), wide=True),
    ),
    "Node": (
        Column("Status", _node_status),
        Column("Roles", lambda _obj: _NONE),
        _AGE,
        Column("Version", path("status", "nodeInfo", "kubeletVersion")),
        Column("Internal-IP", _address, wide=True),
        Column("OS-Image", path("status", "nodeInfo", "osImage", default="<unknown>"), wide=True),
        Column("Kernel-Version", path("status", "nodeInfo", "kernelVersion", default="<unknown>"), wide=True),
        Column("Container-Runtime", path("status", "nodeInfo", "containerRuntimeVersion", default="<unknown>"), wide=True),
    ),
    "Namespace": (Column("Status", path("status", "phase")), _AGE),
    "Secret": (Column("Type", path("type")), Column("Data", _count("data"), "integer"), _AGE),
    "ConfigMap": (Column("Data", _count("data", "binaryData"), "integer"), _AGE),
    "Event": (
        Column("Last Seen", _seen, "date"),
        Column("Type", path("type")),
        Column("Reason", path("reason")),
        Column("Object", _involved),
        Column("Message", lambda obj: str(obj.get("message") or "").strip()),
    ),
    "PersistentVolumeClaim": (
        Column("Status", path("status", "phase")),
        Column("Volume", path("spec", "volumeName")),
        Column("Capacity", path("status", "capacity", "storage")),
        Column("Access Modes", _modes),
        Column("StorageClass", path("spec", "storageClassName")),
        _AGE,
    ),
    "PersistentVolume": (
        Column("Capacity", path("spec", "capacity", "storage")),
        Column("Access Modes", _modes),
        Column("Reclaim Policy", path("spec", "persistentVolumeReclaimPolicy")),
        Column("Status", path("status", "phase")),
        Column("Claim", _claim),
        Column("StorageClass", path("spec", "storageClassName")),
        _AGE,
    ),
    "StorageClass": (
        Column("Provisioner", path("provisioner")),
        Column("ReclaimPolicy", path("reclaimPolicy")),
        Column("VolumeBindingMode", path("volumeBindingMode")),
        _AGE,
    ),
    "Lease": (Column("Holder", path("spec", "holderIdentity")), _AGE),
    "Workload": (
        Column("Phase", path("status", "phase")),
        Column("Ready", path("status", "readyReplicas", default=0), "integer"),
        Column("Replicas", path("spec", "replicas", default=1), "integer"),
        _AGE,
        Column("Preset", path("spec", "preset", "name", default=_NONE), wide=True),
        Column("Image", path("spec", "image", default=_NONE), wide=True),
    ),
    "Tombstone": (
        Column("Node", path("spec", "nodeName")),
        Column("Namespace", path("spec", "podNamespace")),
        Column("Pod", path("spec", "podName")),
        _AGE,
    ),
}


def wants_table(accept: str) -> bool:
    """Return whether the first acceptable form is a Table."""
    for option in accept.split(","):
        parts = {part.strip() for part in option.split(";")}
        if {"as=Table", "g=meta.k8s.io", "v=v1"} <= parts:
            return True
        if option.strip() in {"application/json", "*/*"}:
            return False
    return False


class TableMaker:
    """Makes tables of one resource at one moment.

    Args:
        resource: whose columns.
        include: ``includeObject`` of the request: Metadata (default), Object or None.
        now: to show ages.
    """

    def __init__(self, resource: Resource, include: str, now: datetime) -> None:
        if include not in {"", "Metadata", "Object", "None"}:
            raise errors.BadRequestError(f"includeObject: unsupported value {include[:64]!r}: use None, Metadata or Object")
        self._columns = _COLUMNS.get(resource.kind, (_AGE,))
        if resource.kind != "Event":
            self._columns = (Column("Name", path("metadata", "name")), *self._columns)
        self._include = include or "Metadata"
        self._now = now

    def render(self, objects: Iterable[bytes], metadata: Mapping[str, Any]) -> bytes:
        """Return the Table of some objects."""
        return orjson.dumps(self._table([orjson.loads(raw) for raw in objects], metadata))

    def _table(self, objects: Iterable[Object], metadata: Mapping[str, Any]) -> dict[str, Any]:
        definitions = [
            {
                "name": column.name,
                "type": column.type,
                "format": "name" if column.name == "Name" else "",
                "description": "",
                "priority": int(column.wide),
            }
            for column in self._columns
        ]
        rows = [{"cells": [self._cell(column, obj) for column in self._columns], "object": self._object(obj)} for obj in objects]
        head = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
        return {**head, "columnDefinitions": definitions, "rows": rows}

    def _cell(self, column: Column, obj: Object) -> Any:
        value = column.cell(obj)
        if column.type != "date":
            return value
        return human_age(value, self._now) if isinstance(value, str) else "<unknown>"

    def _object(self, obj: Object) -> Any:
        if self._include == "None":
            return None
        if self._include == "Object":
            return obj
        return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}

    async def convert(self, batches: AsyncGenerator[list[bytes]]) -> AsyncGenerator[list[bytes]]:
        """Yield a watch's lines with each object as a Table of one row."""
        async with aclosing(batches):
            async for lines in batches:
                yield [self._line(line) for line in lines]

    def _line(self, line: bytes) -> bytes:
        event = orjson.loads(line)
        if event["type"] == "ERROR":
            return line
        obj = event["object"]
        rows = [] if event["type"] == "BOOKMARK" else [obj]
        version = obj["metadata"].get("resourceVersion", "")
        return orjson.dumps({"type": event["type"], "object": self._table(rows, {"resourceVersion": version})}) + b"\n"


def human_age(text: str, now: datetime) -> str:
    """Return the time since ``text`` in kubectl's short form: two units at most, fewer as it grows."""
    try:
        seconds = int((now - datetime.fromisoformat(text)).total_seconds())
    except (ValueError, TypeError):
        return "<unknown>"
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
