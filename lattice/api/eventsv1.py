"""Event of ``events.k8s.io``: the core Event under newer names, as newer clients report it. Not stored as such: see ``event.py``."""

from __future__ import annotations

from typing import ClassVar, Final

from pydantic import Field

from lattice.api import event, meta

STORED_NAMES: Final = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
"""Fields of this kind and what they are called in the core Event; all others are called the same."""


class Event(meta.Object):
    """Something that happened to an object."""

    GROUP: ClassVar[str] = "events.k8s.io"
    KIND: ClassVar[str] = "Event"
    PLURAL: ClassVar[str] = "events"

    event_time: meta.MicroTime | None = None
    """When it was first observed; required of new events."""
    series: event.EventSeries | None = None
    """Repetition."""
    reporting_controller: str | None = None
    """Name of the controller that reports, such as ``kubernetes.io/kubelet``; required of new events."""
    reporting_instance: str | None = None
    """Instance of it; required of new events, 128 characters at most."""
    action: str | None = None
    """What was done about the object; required of new events, 128 characters at most."""
    reason: str | None = None
    """Why it was done; required of new events, 128 characters at most."""
    regarding: event.ObjectReference = Field(default_factory=event.ObjectReference)
    """What it happened to."""
    related: event.ObjectReference | None = None
    """A second object that takes part."""
    note: str | None = None
    """What happened, a sentence of 1,024 characters at most."""
    type: str | None = None
    """``Normal`` or ``Warning``."""
    deprecated_source: event.EventSource = Field(default_factory=event.EventSource)
    """Who reports, in the core Event."""
    deprecated_first_timestamp: meta.Time | None = None
    """First occurrence, in the core Event."""
    deprecated_last_timestamp: meta.Time | None = None
    """Last occurrence, in the core Event."""
    deprecated_count: int | None = None
    """Number of occurrences, in the core Event."""
