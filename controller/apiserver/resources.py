"""The table of resources: which paths are served, with which verbs, from which store. Everything else is generic.

A :class:`Resource` is one kind in one served version. The built-in rows are made from ``lattice.api.scheme.KINDS`` plus what the wire
needs and the Python types do not say (short names, subresources, store, time to live); the ``lattice.dev`` rows from the same generated
CustomResourceDefinitions that are in ``crds/``; all others come and go with the CustomResourceDefinition objects (``definitions.py``).
``discovery.py`` and ``openapi/`` print this table; ``registry.py`` is driven by it. Whoever keeps something made from the table compares
``generation``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from controller.apiserver.renaming import EVENTS, Renaming
from lattice.api import event, eventsv1, meta, names, schema, scheme

StoreName = Literal["main", "ephemeral"]

PREFIX: Final = "/lattice/v1/"
META_CLUSTER: Final = "/lattice/v1/_meta/cluster"
ALL_VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
CUSTOM_VERBS: Final = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
"""The order in which kube-apiserver lists the verbs of custom resources."""
READ_ONLY: Final = ("get", "list", "watch")
_STATUS_VERBS: Final = ("get", "patch", "update")
DEFINITIONS: Final = "customresourcedefinitions"


@dataclass(frozen=True, slots=True)
class Subresource:
    """A part of an object with its own path. ``kind`` empty: the object's own kind."""

    name: str
    verbs: tuple[str, ...] = _STATUS_VERBS
    group: str = ""
    version: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where the fields of a Scale are in an object: paths without the leading dot, split at the dots."""

    spec_replicas: tuple[str, ...]
    status_replicas: tuple[str, ...]
    selector: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True, kw_only=True)
class Resource:
    """One kind in one version as it is served. Compared by identity: there is one per path and definition."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    schema: Mapping[str, Any] = field(repr=False)
    """Full structural OpenAPI v3 schema of the object, with apiVersion, kind and metadata. Shared: never changed."""
    list_kind: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: Mapping[str, Subresource] = field(default_factory=dict)
    store: StoreName = "main"
    ttl_s: int | None = None
    selectable: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Field selectors besides metadata.name and metadata.namespace: label to path in the object."""
    custom: bool = False
    """Served from a CustomResourceDefinition, with the manners of custom resources."""
    virtual: bool = False
    """Nothing is stored: a create computes its answer (reviews)."""
    storage_version: str = ""
    """Version in which objects are stored; all versions of a kind share one cache."""
    stored_as: Renaming | None = None
    """The kind of another group as which objects are stored: this one shares its cache too."""
    columns: tuple[Mapping[str, Any], ...] | None = None
    """``additionalPrinterColumns`` of the definition."""
    scale: ScalePaths | None = None
    counts_generations: bool = False
    """Whether metadata.generation is kept."""
    terminating: bool = False
    """The definition is being deleted: nothing new is created."""
    deprecation: str = ""
    """Warning that each answer of this version carries, empty for none."""
    type: type[meta.Object] | None = None
    """Python type of the kinds that come with Lattice."""
    memo: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    """What others have made from this row (``compiled.py``): here, so that it goes when the row goes, though it refers to it."""

    @property
    def group_version(self) -> str:
        """``apiVersion`` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def stored_group_version(self) -> str:
        """``apiVersion`` of its objects as they are stored."""
        group = self.stored_as.group if self.stored_as is not None else self.group
        version = self.storage_version or self.version
        return f"{group}/{version}" if group else version

    @property
    def converted(self) -> bool:
        """Whether objects are stored in another version or group than this."""
        return self.stored_as is not None or (bool(self.storage_version) and self.storage_version != self.version)

    @property
    def native(self) -> str:
        """Kind, for the rules of the kinds that come with Lattice; empty for everybody else's, however they are called."""
        return self.kind if self.type is not None else ""

    @property
    def brought(self) -> bool:
        """Whether it comes with Lattice: no definition can take its place."""
        return self.type is not None or self.virtual

    @property
    def qualified(self) -> str:
        """Plural with the group, as error messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def has_status(self) -> bool:
        """Whether ``status`` is written through its own subresource only."""
        return "status" in self.subresources

    @property
    def root(self) -> str:
        """``group/plural`` as in keys: what all versions of a kind share."""
        group = self.stored_as.group if self.stored_as is not None else self.group
        return f"{group or 'core'}/{self.plural}"

    def prefix(self, namespace: str = "") -> str:
        """Return what all keys of this resource, or of one namespace of it, begin with."""
        root = f"{PREFIX}{self.root}/"
        return f"{root}{namespace}/" if namespace else root

    def key(self, namespace: str, name: str) -> str:
        """Return the store key of an object."""
        return f"{PREFIX}{self.root}/{namespace if self.namespaced else '_'}/{name}"

    def details(self, name: str = "", **more: Any) -> dict[str, Any]:
        """Return ``details`` of a Status about an object, as most errors carry it."""
        details: dict[str, Any] = {"name": name} if name else {}
        if self.group:
            details["group"] = self.group
        return {**details, "kind": self.plural, **more}


def _subresources(*extra: Subresource) -> dict[str, Subresource]:
    return {sub.name: sub for sub in (Subresource("status"), *extra)}


_REFERENCE: Final = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_EVENT_FIELDS: Final = {
    **{f"involvedObject.{name}": ("involvedObject", name) for name in _REFERENCE},
    "reason": ("reason",),
    "reportingComponent": ("reportingComponent",),
    "source": ("source", "component"),
    "type": ("type",),
}
_POD_FIELDS: Final = {
    path: tuple(path.split("."))
    for path in ("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "status.phase", "status.podIP")
}
SCALE: Final = Subresource("scale", group="autoscaling", version="v1", kind="Scale")
_GENERATIONS: Final = frozenset({"Pod", "CustomResourceDefinition"})
"""Built-in kinds whose metadata.generation is kept, as in Kubernetes."""

_EXTRAS: Final[dict[str, dict[str, Any]]] = {
    "Namespace": {
        "short_names": ("ns",),
        "subresources": _subresources(Subresource("finalize", ("update",))),
        "selectable": {"status.phase": ("status", "phase")},
        "verbs": tuple(verb for verb in ALL_VERBS if verb != "deletecollection"),
    },
    "Node": {
        "short_names": ("no",),
        "subresources": _subresources(
            Subresource("desired", ("get",), "lattice.dev", "v1", "NodeDesired"),
            Subresource("line", ("get",), "lattice.dev", "v1", "NodeLine"),
            Subresource("streams", ("get",), "lattice.dev", "v1", "NodeStream"),
        ),
        "selectable": {"spec.unschedulable": ("spec", "unschedulable")},
    },
    "Pod": {
        "short_names": ("po",),
        "categories": ("all",),
        "subresources": _subresources(
            Subresource("attach", ("create", "get"), "", "v1", "PodAttachOptions"),
            Subresource("binding", ("create",), "", "v1", "Binding"),
            Subresource("ephemeralcontainers"),
            Subresource("eviction", ("create",), "policy", "v1", "Eviction"),
            Subresource("exec", ("create", "get"), "", "v1", "PodExecOptions"),
            Subresource("log", ("get",), "", "v1", "Pod"),
            Subresource("failures", ("get",), "lattice.dev", "v1", "PodFailures"),
            Subresource("portforward", ("create", "get"), "", "v1", "PodPortForwardOptions"),
        ),
        "selectable": _POD_FIELDS,
    },
    "Secret": {"selectable": {"type": ("type",)}},
    "ConfigMap": {"short_names": ("cm",)},
    "Event": {"short_names": ("ev",), "store": "ephemeral", "ttl_s": event.EVENT_TTL_S, "selectable": _EVENT_FIELDS},
    "ServiceAccount": {"short_names": ("sa",)},
    "PersistentVolumeClaim": {"short_names": ("pvc",), "subresources": _subresources()},
    "PersistentVolume": {"short_names": ("pv",), "subresources": _subresources()},
    "StorageClass": {"short_names": ("sc",), "verbs": READ_ONLY},
    "Lease": {"store": "ephemeral"},
    "CustomResourceDefinition": {"short_names": ("crd", "crds"), "categories": ("api-extensions",), "subresources": _subresources()},
}


class ResourceTable:
    """All resources, by path and by Python type. Custom ones come and go; every change raises ``generation``."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self.generation = 0
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        self._by_type: dict[type[meta.Object], Resource] = {}
        for resource in resources:
            self._add(resource)

    def _add(self, resource: Resource) -> None:
        self._by_path[resource.group, resource.version, resource.plural] = resource
        if resource.type is not None:
            self._by_type[resource.type] = resource

    @property
    def all(self) -> tuple[Resource, ...]:
        """Every row."""
        return tuple(self._by_path.values())

    @property
    def stored(self) -> tuple[Resource, ...]:
        """One row for each kind whose objects are stored: the one of the storage version."""
        return tuple(row for row in self._by_path.values() if not row.virtual and not row.converted)

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """Return the resource at a path, or ``None``."""
        return self._by_path.get((group, version, plural))

    def of(self, kind: type[meta.Object]) -> Resource:
        """Return the resource of one of our own kinds."""
        return self._by_type[kind]

    def replace(self, group: str, plural: str, rows: Iterable[Resource]) -> None:
        """Serve ``rows`` as the versions of ``plural`` in ``group``, in place of those that are served; none: stop serving it."""
        for path in [path for path in self._by_path if path[0] == group and path[2] == plural]:
            del self._by_path[path]
        for row in rows:
            self._add(row)
        self.generation += 1

    def groups(self) -> dict[str, dict[str, list[Resource]]]:
        """Return group to version to resources, core first; versions in Kubernetes' order of preference."""
        found: dict[str, dict[str, list[Resource]]] = {}
        for resource in sorted(self.all, key=lambda r: (r.group, version_rank(r.version), r.plural)):
            found.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)
        return found


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Return a sort key that puts the most stable and newest version first: v2, v1, v2beta1, v1beta2, v1alpha1, others by name.

    Source: k8s.io/apimachinery ``pkg/version`` CompareKubeAwareVersionStrings.
    """
    digits = itertools.takewhile(str.isdigit, version[1:])
    major = "".join(digits)
    rest = version[1 + len(major) :]
    stage, number = next(((s, rest[len(s) :]) for s in ("alpha", "beta") if rest.startswith(s)), ("", rest))
    known = version[:1] == "v" and major.isascii() and major[:1] not in {"", "0"} and len(major) < 10
    if known and not rest:
        return 0, -int(major), 0, ""
    if known and stage and number.isascii() and number.isdigit() and number[0] != "0" and len(number) < 10:
        return (1 if stage == "beta" else 2), -int(major), -int(number), ""
    return 3, 0, 0, version


def build_table(extra: Iterable[Resource] = ()) -> ResourceTable:
    """Return the table of the kinds that come with Lattice, and ``extra`` (virtual ones)."""
    from controller.apiserver import definitions

    kinds: tuple[type[meta.Object], ...] = (*scheme.KINDS, eventsv1.Event)
    builtin = [
        Resource(
            group=kind.GROUP,
            version=kind.VERSION,
            kind=kind.KIND,
            list_kind=f"{kind.KIND}List",
            plural=kind.PLURAL,
            singular=kind.KIND.lower(),
            namespaced=kind.NAMESPACED,
            schema=schema.object_schema(kind),
            counts_generations=kind.KIND in _GENERATIONS,
            type=kind,
            **_EXTRAS.get(kind.KIND, {}),
        )
        for kind in kinds
        if kind.GROUP != names.GROUP
    ]
    builtin = [_as_core_event(row) if row.type is eventsv1.Event else row for row in builtin]
    return ResourceTable([*builtin, *definitions.own_rows(), *extra])


def _as_core_event(row: Resource) -> Resource:
    """Return the row of ``events.k8s.io`` Events: a second view of the core ones."""
    fields = ("reason", "type", "reportingController", *(f"regarding.{name}" for name in _REFERENCE))
    return replace(row, stored_as=EVENTS, selectable={name: tuple(name.split(".")) for name in fields})
