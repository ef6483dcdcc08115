"""What all kinds share: the base model, object metadata, owner references, conditions, the kind's own coordinates.

Every kind derives from :class:`Object`; the wire form is camelCase, made by one alias generator. Models are frozen: a cached object is
never mutated; ``changed(obj, field=...)`` makes an altered, validated copy. Unknown fields are kept out by the API server (pruning), and
ignored here, so that an older client can read a newer server's objects.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, Generic, Literal, NewType, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from lattice.api import times

E = TypeVar("E")

ATOMIC: Final[dict[str, Any]] = {"x-kubernetes-map-type": "atomic"}
"""``json_schema_extra`` of a model that is one value for server-side apply: a reference, a selector."""
ATOMIC_MAP: Final = Field(json_schema_extra=ATOMIC)
"""The same for one field."""
GRANULAR_MAP: Final = Field(json_schema_extra={"x-kubernetes-map-type": "granular"})
"""For a field whose model is atomic elsewhere: here each of its fields has its own manager."""
ATOMIC_LIST: Final = Field(json_schema_extra={"x-kubernetes-list-type": "atomic"})
"""A list that is one value: whoever writes it replaces it."""
SET_LIST: Final = Field(json_schema_extra={"x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge"})
"""A list of scalars, each at most once; a strategic patch adds to it."""


def list_map(*keys: str, merge_key: str | None = None, retain_keys: bool = False) -> Any:
    """Return the annotation of a list that is a map by ``keys``, for server-side apply and for strategic merge patches.

    Args:
        keys: wire names of the key fields; together they occur once in the list.
        merge_key: what a strategic merge patch goes by: it knows one key only. ``None``: the first of ``keys``.
        retain_keys: a strategic patch of an item may name the fields that stay (the item is a union of sources).
    """
    return Field(
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": list(keys),
            "x-kubernetes-patch-merge-key": merge_key or keys[0],
            "x-kubernetes-patch-strategy": "merge,retainKeys" if retain_keys else "merge",
        }
    )


AtomicList = Annotated[tuple[E, ...], ATOMIC_LIST]
"""The usual list."""

Uid = NewType("Uid", str)
NodeName = NewType("NodeName", str)


def _wire_name(name: str) -> str:
    """Return the camelCase name with Kubernetes' spelling of abbreviations (``podIP``, ``hostIP``, ``clusterID``)."""
    camel = to_camel(name)
    for ending in ("Ip", "Id"):
        if camel.endswith(ending):
            return camel[: -len(ending)] + ending.upper()
    return camel.replace("podIps", "podIPs")


class Model(BaseModel):
    """Base of every value on the wire."""

    model_config = ConfigDict(
        alias_generator=_wire_name,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        defer_build=True,
        ser_json_timedelta="float",
    )

    def to_dict(self) -> dict[str, Any]:
        """Return the wire form: camelCase, only what was set, without nulls."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)

    def to_json(self) -> bytes:
        """Return the wire form as JSON text."""
        return self.model_dump_json(by_alias=True, exclude_none=True, exclude_unset=True).encode()


M = TypeVar("M", bound=Model)


def changed(value: M, **fields: Any) -> M:
    """Return a validated copy of ``value`` with ``fields`` (Python names) replaced. ``model_copy(update=...)`` would not validate.

    Raises:
        pydantic.ValidationError: the new values do not fit.
    """
    data = {name: getattr(value, name) for name in value.model_fields_set}
    data.update(fields)
    return type(value).model_validate(data)


def _parse_time(value: Any) -> Any:
    """Accept RFC 3339 with any offset; Kubernetes stores UTC."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value


Time = Annotated[
    datetime,
    BeforeValidator(_parse_time),
    PlainSerializer(lambda t: t.strftime("%Y-%m-%dT%H:%M:%SZ"), return_type=str, when_used="json"),
    Field(json_schema_extra={"type": "string", "format": "date-time", times.MARKER: times.SECONDS}),
]
"""A time in whole seconds, as ``metav1.Time``."""

MicroTime = Annotated[
    datetime,
    BeforeValidator(_parse_time),
    PlainSerializer(lambda t: t.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), return_type=str, when_used="json"),
    Field(json_schema_extra={"type": "string", "format": "date-time", times.MARKER: times.MICROSECONDS}),
]
"""A time in microseconds, as ``metav1.MicroTime``."""


class OwnerReference(Model):
    """An object that owns this one, in the same namespace or cluster-scoped. When all owners are gone, this object is deleted."""

    model_config = ConfigDict(json_schema_extra=ATOMIC)

    api_version: str
    """API group and version of the owner, such as ``lattice.dev/v1``."""
    kind: str
    """Kind of the owner."""
    name: str
    """Name of the owner."""
    uid: Uid
    """Uid of the owner; a new object of the same name is another owner."""
    controller: bool | None = None
    """Whether this owner manages the object. At most one owner does."""
    block_owner_deletion: bool | None = None
    """Whether a foreground deletion of the owner waits for this object."""


class ManagedFieldsEntry(Model):
    """The fields that one manager wrote with one operation."""

    manager: str | None = None
    """Name of the manager: a tool, a controller, a person's choice."""
    operation: str | None = None
    """``Apply`` (the manager removes a field by no longer applying it) or ``Update``."""
    api_version: str | None = None
    """Group and version in which the fields are named."""
    time: Time | None = None
    """When the manager last added, changed or removed one of the fields."""
    fields_type: str | None = None
    """How the fields are written down; only ``FieldsV1``."""
    fields_v1: dict[str, Any] | None = None
    """The fields as a tree: ``f:<name>`` a field, ``k:<keys>`` a list item by its keys, ``v:<value>`` one by its value, ``.`` the node."""
    subresource: str | None = None
    """The subresource that was written through; empty for the object itself."""


class ObjectMeta(Model):
    """Metadata that every stored object has. The server writes uid, resourceVersion, generation and the two times."""

    name: str = ""
    """Name, unique in its namespace and kind: a DNS-1123 subdomain of at most 253 characters. Cannot be changed."""
    generate_name: str | None = None
    """Prefix of a generated name, used when ``name`` is empty."""
    namespace: str | None = None
    """Namespace of a namespaced object. Cannot be changed."""
    self_link: str | None = None
    """Deprecated: accepted and never filled in."""
    uid: Uid | None = None
    """Unique in time and space. Written by the server."""
    resource_version: str | None = None
    """Opaque version of this object, for conflict checks and watches. Written by the server."""
    generation: int | None = None
    """Counts changes of the desired state. Written by the server."""
    creation_timestamp: Time | None = None
    """When the server created the object."""
    deletion_timestamp: Time | None = None
    """When the object is to be gone. Written by the server on a graceful deletion; cannot be unset."""
    deletion_grace_period_seconds: int | None = None
    """Seconds allowed for a graceful end. Written by the server."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Key-value pairs to select objects by."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Key-value pairs for tools, not for selection; at most 256 KiB in all."""
    owner_references: Annotated[tuple[OwnerReference, ...], list_map("uid")] = ()
    """Objects that this one depends on."""
    finalizers: Annotated[tuple[str, ...], SET_LIST] = ()
    """Names of parties that must agree before the object leaves the store."""
    managed_fields: AtomicList[ManagedFieldsEntry] | None = None
    """Who wrote which field. Written by the server."""


class Object(Model):
    """Base of every kind. Subclasses set the class variables; the table of resources reads them.

    ``GROUP`` is empty for the core group; ``PLURAL`` is the path segment.
    """

    GROUP: ClassVar[str] = ""
    VERSION: ClassVar[str] = "v1"
    KIND: ClassVar[str] = ""
    PLURAL: ClassVar[str] = ""
    NAMESPACED: ClassVar[bool] = True

    api_version: str = ""
    """``group/version``, or only the version for the core group."""
    kind: str = ""
    """Kind of the object."""
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    """Standard object metadata."""

    def model_post_init(self, _context: Any, /) -> None:
        """Fill in apiVersion and kind where a list item or a constructor left them out."""
        if not self.api_version:
            object.__setattr__(self, "api_version", self.group_version())
            self.__pydantic_fields_set__.add("api_version")
        if not self.kind:
            object.__setattr__(self, "kind", type(self).KIND)
            self.__pydantic_fields_set__.add("kind")

    @classmethod
    def group_version(cls) -> str:
        """Return ``group/version`` as in ``apiVersion``."""
        return f"{cls.GROUP}/{cls.VERSION}" if cls.GROUP else cls.VERSION

    @property
    def name(self) -> str:
        """The object's name."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """The object's namespace, empty for a cluster-scoped object."""
        return self.metadata.namespace or ""

    @property
    def uid(self) -> Uid:
        """The object's uid, empty before it is stored."""
        return self.metadata.uid or Uid("")

    def owner_reference(self, *, controller: bool = True) -> OwnerReference:
        """Return a reference to this object for its children."""
        return OwnerReference(
            api_version=self.api_version,
            kind=self.kind,
            name=self.name,
            uid=self.uid,
            controller=controller,
            block_owner_deletion=True,
        )


T = TypeVar("T", bound=Object)


class ObjectList(Model, Generic[T]):
    """Objects of one kind at one revision."""

    items: tuple[T, ...] = ()
    resource_version: str = ""
    """Revision of the whole list: watch from here."""
    continue_token: str = ""
    """Token of the next page, empty on the last one."""


ConditionStatus = Literal["True", "False", "Unknown"]


class Condition(Model):
    """One observed aspect of an object, for a person and for ``kubectl wait``."""

    type: str
    """Name of the aspect, CamelCase."""
    status: ConditionStatus
    """Whether it holds."""
    reason: str = ""
    """Why, CamelCase, for machines."""
    message: str = ""
    """Why, a sentence for a person; the same as long as the cause is the same."""
    last_transition_time: Time | None = None
    """When ``status`` last changed."""
    observed_generation: int | None = None
    """The generation this was computed from."""
