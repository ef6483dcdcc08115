"""Event: something happened to an object. Kept for an hour, in the ephemeral store."""

from __future__ import annotations

from typing import ClassVar, Final

from pydantic import ConfigDict, Field

from lattice.api import meta

EVENT_TTL_S: Final = 3600
"""How long an Event is kept after its last change, in seconds (kube-apiserver's default)."""


class ObjectReference(meta.Model):
    """A reference to an object of any kind."""

    model_config = ConfigDict(json_schema_extra=meta.ATOMIC)

    api_version: str | None = None
    """Group and version."""
    kind: str | None = None
    """Kind."""
    namespace: str | None = None
    """Namespace, absent for cluster-scoped objects."""
    name: str | None = None
    """Name."""
    uid: meta.Uid | None = None
    """Uid."""
    resource_version: str | None = None
    """Version it had."""
    field_path: str | None = None
    """The part that is meant, such as ``spec.containers{main}``."""


class EventSource(meta.Model):
    """Who reports."""

    component: str | None = None
    """Component, such as ``scheduler``."""
    host: str | None = None
    """Node it runs on."""


class EventSeries(meta.Model):
    """How often the event was repeated."""

    count: int | None = None
    """Number of occurrences."""
    last_observed_time: meta.MicroTime | None = None
    """Time of the last one."""


class Event(meta.Object):
    """Something that happened to an object."""

    KIND: ClassVar[str] = "Event"
    PLURAL: ClassVar[str] = "events"

    involved_object: ObjectReference = Field(default_factory=ObjectReference)
    """What it happened to."""
    reason: str | None = None
    """What happened, CamelCase."""
    message: str | None = None
    """What happened, a sentence."""
    source: EventSource = Field(default_factory=EventSource)
    """Who reports."""
    first_timestamp: meta.Time | None = None
    """First occurrence."""
    last_timestamp: meta.Time | None = None
    """Last occurrence."""
    count: int | None = None
    """Number of occurrences."""
    type: str | None = None
    """``Normal`` or ``Warning``."""
    event_time: meta.MicroTime | None = None
    """When it was first observed."""
    series: EventSeries | None = None
    """Repetition."""
    action: str | None = None
    """What was done about the object."""
    related: ObjectReference | None = None
    """A second object that takes part."""
    reporting_component: str = ""
    """Name of the controller that reports."""
    reporting_instance: str = ""
    """Instance of it."""
