"""Stores recorded events through the typed client.

The composition roots give it to :class:`lattice.machinery.events.EventRecorder`, whose ``EventSink`` it is. No retries here: the recorder
owns them. A namespace that is going away refuses new events (403); the recorder drops those.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lattice.api.event import Event
from lattice.client.client import Client


class ClientEventSink:
    """Writes events to the API.

    Args:
        client: carries the requests.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def create(self, event: Event) -> None:
        """Store a new event."""
        await self._client.create(event)

    async def patch(self, name: str, namespace: str, patch: Mapping[str, Any]) -> None:
        """Apply a JSON merge patch to a stored event.

        Raises:
            errors.NotFoundError: it has expired.
        """
        await self._client.patch(Event, name, namespace, patch)
