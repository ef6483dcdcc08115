"""The agent's Kubernetes Events: one recorder for its Node and its Pods, which says nothing to a server that is not believed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lattice.api import errors
from lattice.api.event import Event
from lattice.machinery.events import EventSink


class BelievedSink:
    """Passes Events on while the server is believed; else they wait, as if it were away.

    Args:
        sink: stores Events.
        unheard: why nothing is sent now, empty if it is.
    """

    def __init__(self, sink: EventSink, unheard: Callable[[], str]) -> None:
        self._sink = sink
        self._unheard = unheard

    async def create(self, event: Event, /) -> object:
        """See ``EventSink``."""
        self._check()
        return await self._sink.create(event)

    async def patch(self, name: str, namespace: str, patch: Mapping[str, Any], /) -> object:
        """See ``EventSink``."""
        self._check()
        return await self._sink.patch(name, namespace, patch)

    def _check(self) -> None:
        if reason := self._unheard():
            raise errors.UnavailableError(reason)
