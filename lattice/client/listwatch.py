"""Feeds an informer from a client: the ``ListWatch`` that ``lattice.machinery.reflector`` asks for, by shape.

Used wherever an informer is started outside of the API server's process, and inside of it over the in-process transport. (The machinery
and the client are independent layers, so neither imports the other: the protocol is met structurally.)
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from lattice.api import meta
from lattice.client import base
from lattice.client.client import Client

WATCH_TIMEOUT_S = 3600
"""The server is asked to end a watch after an hour, so that no stream lives for ever on a path that has silently gone bad."""


class ListWatch:
    """Lists and watches one kind.

    Args:
        client: asks the server.
        kind: what to watch.
        namespace: of one namespace; ``None``: of all.
        label_selector: only objects with these labels.
        field_selector: only objects with these fields.
    """

    def __init__(
        self,
        client: Client,
        kind: type[meta.Object],
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> None:
        self._client = client
        self._kind = kind
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector

    async def list(self) -> base.RawList:
        """Return everything at one revision."""
        return await self._client.list_raw(
            self._kind, self._namespace, label_selector=self._label_selector, field_selector=self._field_selector
        )

    def watch(self, resource_version: str, /) -> AsyncIterator[base.RawEvent]:
        """Stream what changed after ``resource_version``; close the generator to stop."""
        return self._client.watch_raw(
            self._kind,
            self._namespace,
            resource_version=resource_version,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            timeout_s=WATCH_TIMEOUT_S,
        )
