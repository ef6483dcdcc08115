"""How the control plane's controllers tell users what happened: the protocol that they need, and references to objects.

``controller/controllers.py`` passes the machinery's event recorder, tests pass a list. Telling is best effort and never waits: an event
that is lost changes nothing.
"""

from __future__ import annotations

from typing import Protocol

from lattice.api import event, meta
from lattice.machinery.events import EventType


class Recorder(Protocol):
    """Takes events."""

    def event(self, obj: meta.Object | event.ObjectReference, event_type: EventType, reason: str, message: str) -> None:
        """Take an event, without waiting until it is stored.

        Args:
            obj: what it happened to.
            event_type: ``Normal`` or ``Warning``.
            reason: CamelCase, for machines.
            message: a sentence; the same as long as the cause is the same, so that repetitions are counted and not listed.
        """
        ...


def reference(kind: type[meta.Object], namespace: str, name: str, uid: str) -> event.ObjectReference:
    """Return the reference to an object that an event carries."""
    return event.ObjectReference(
        api_version=kind.group_version(), kind=kind.KIND, namespace=namespace or None, name=name, uid=meta.Uid(uid)
    )
