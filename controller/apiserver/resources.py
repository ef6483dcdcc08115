"""The table of resources: which paths are served, with which verbs, from which store. Everything else is generic.

Made from ``lattice.api.scheme.KINDS`` plus what the wire needs and the Python types do not say: short names, subresources, categories,
store and time to live. ``discovery.py`` prints this table; ``registry.py`` is driven by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from lattice.api import event, meta, scheme

StoreName = Literal["main", "ephemeral"]

PREFIX: Final = "/lattice/v1/"
META_CLUSTER: Final = "/lattice/v1/_meta/cluster"
ALL_VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
READ_ONLY: Final = ("get", "list", "watch")
_STATUS_VERBS: Final = ("get", "patch", "update")


@dataclass(frozen=True, slots=True)
class Subresource:
    """A part of an object with its own path. ``kind`` empty: the object's own kind."""

    name: str
    verbs: tuple[str, ...] = _STATUS_VERBS
    group: str = ""
    version: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One kind as it is served. Compared by identity: there is one per path."""

    type: type[meta.Object]
    singular: str
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: Mapping[str, Subresource] = field(default_factory=dict)
    store: StoreName = "main"
    ttl_s: int | None = None
    selectable: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Field selectors besides metadata.name and metadata.namespace: label to path in the object."""

    @property
    def group(self) -> str:
        """API group, empty for core."""
        return self.type.GROUP

    @property
    def version(self) -> str:
        """API version."""
        return self.type.VERSION

    @property
    def kind(self) -> str:
        """Kind."""
        return self.type.KIND

    @property
    def plural(self) -> str:
        """Path segment."""
        return self.type.PLURAL

    @property
    def namespaced(self) -> bool:
        """Whether objects live in namespaces."""
        return self.type.NAMESPACED

    @property
    def group_version(self) -> str:
        """``apiVersion`` of its objects."""
        return self.type.group_version()

    @property
    def qualified(self) -> str:
        """Plural with the group, as error messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def has_status(self) -> bool:
        """Whether ``status`` is written through its own subresource only."""
        return "status" in self.subresources

    def prefix(self, namespace: str = "") -> str:
        """Return what all keys of this resource, or of one namespace of it, begin with."""
        root = f"{PREFIX}{self.group or 'core'}/{self.plural}/"
        return f"{root}{namespace}/" if namespace else root

    def key(self, namespace: str, name: str) -> str:
        """Return the store key of an object."""
        return f"{PREFIX}{self.group or 'core'}/{self.plural}/{namespace if self.namespaced else '_'}/{name}"

    def details(self, name: str = "", **more: Any) -> dict[str, Any]:
        """Return ``details`` of a Status about an object, as most errors carry it."""
        details: dict[str, Any] = {"name": name} if name else {}
        if self.group:
            details["group"] = self.group
        return {**details, "kind": self.plural, **more}


def _subresources(*extra: Subresource) -> dict[str, Subresource]:
    return {sub.name: sub for sub in (Subresource("status"), *extra)}


_EVENT_FIELDS: Final = {
    **{
        f"involvedObject.{name}": ("involvedObject", name)
        for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    },
    "reason": ("reason",),
    "reportingComponent": ("reportingComponent",),
    "source": ("source", "component"),
    "type": ("type",),
}
_POD_FIELDS: Final = {
    path: tuple(path.split("."))
    for path in ("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "status.phase", "status.podIP")
}
_SCALE: Final = Subresource("scale", group="autoscaling", version="v1", kind="Scale")

_EXTRAS: Final[dict[str, dict[str, Any]]] = {
    "Namespace": {
        "short_names": ("ns",),
        "subresources": _subresources(Subresource("finalize", ("update",))),
        "selectable": {"status.phase": ("status", "phase")},
        "verbs": tuple(verb for verb in ALL_VERBS if verb != "deletecollection"),
    },
    "Node": {
        "short_names": ("no",),
        "subresources": _subresources(Subresource("desired", ("get",), "lattice.dev", "v1", "NodeDesired")),
        "selectable": {"spec.unschedulable": ("spec", "unschedulable")},
    },
    "Pod": {
        "short_names": ("po",),
        "categories": ("all",),
        "subresources": _subresources(Subresource("binding", ("create",), "", "v1", "Binding")),
        "selectable": _POD_FIELDS,
    },
    "Secret": {"selectable": {"type": ("type",)}},
    "ConfigMap": {"short_names": ("cm",)},
    "Event": {"short_names": ("ev",), "store": "ephemeral", "ttl_s": event.EVENT_TTL_S, "selectable": _EVENT_FIELDS},
    "PersistentVolumeClaim": {"short_names": ("pvc",), "subresources": _subresources()},
    "PersistentVolume": {"short_names": ("pv",), "subresources": _subresources()},
    "StorageClass": {"short_names": ("sc",), "verbs": READ_ONLY},
    "Lease": {"store": "ephemeral"},
    "Workload": {"short_names": ("wl",), "categories": ("all", "lattice"), "subresources": _subresources(_SCALE)},
    "Tombstone": {
        "categories": ("lattice",),
        "verbs": ("delete", "get", "list", "watch"),
        "selectable": {"spec.nodeName": ("spec", "nodeName")},
    },
}


class ResourceTable:
    """All resources, by path and by Python type."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self.all = tuple(resources)
        self._by_path = {(r.group, r.version, r.plural): r for r in self.all}
        self._by_kind = {r.kind: r for r in self.all}

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """Return the resource at a path, or ``None``."""
        return self._by_path.get((group, version, plural))

    def of(self, kind: type[meta.Object]) -> Resource:
        """Return the resource of one of our own kinds."""
        return self._by_kind[kind.KIND]

    def groups(self) -> dict[str, dict[str, list[Resource]]]:
        """Return group to version to resources, core first."""
        found: dict[str, dict[str, list[Resource]]] = {}
        for resource in sorted(self.all, key=lambda r: (r.group, r.plural)):
            found.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)
        return found


def build_table() -> ResourceTable:
    """Return the table of the built-in kinds."""
    return ResourceTable(Resource(type=kind, singular=kind.KIND.lower(), **_EXTRAS.get(kind.KIND, {})) for kind in scheme.KINDS)
