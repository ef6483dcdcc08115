"""Feeds an informer from a client: the ``ListWatch`` that ``lattice.machinery.reflector`` asks for, by shape.

Used wherever an informer is started outside of the API server's process, and inside of it over the in-process transport. (The machinery
and the client are independent layers, so neither imports the other: the protocol is met structurally.)
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Final

import orjson

from lattice.api import errors, meta
from lattice.client import base
from lattice.client.client import Client, collection_path

WATCH_TIMEOUT_S = 3600
"""The server is asked to end a watch after an hour, so that no stream lives for ever on a path that has silently gone bad."""
_KEPT: Final = ("name", "namespace", "uid", "resourceVersion", "deletionTimestamp", "finalizers", "ownerReferences", "labels")


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


class MetadataListWatch(ListWatch):
    """The same for those who only need to know who owns whom: items carry these parts of their metadata, and nothing else.

    A cache of whole objects of a kind that nobody reads would cost as much memory as the server's own.
    """

    async def list(self) -> base.RawList:
        """Return everything at one revision."""
        body = await self._client.send("GET", collection_path(self._kind, self._namespace), query=self._query())
        data = orjson.loads(body)
        items = tuple(self._slim(item) for item in data.get("items") or ())
        return base.RawList(items=items, resource_version=str(data.get("metadata", {}).get("resourceVersion", "")))

    async def watch(self, resource_version: str, /) -> AsyncGenerator[base.RawEvent]:
        """Stream what changed after ``resource_version``; close the generator to stop."""
        query = {
            **self._query(),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(WATCH_TIMEOUT_S),
        }
        path = collection_path(self._kind, self._namespace)
        request = base.Request("GET", path, query=query, headers={"accept": "application/json"}, timeout_s=None)
        lines = self._client.transport.stream(request)
        async with contextlib.aclosing(lines):
            async for line in lines:
                event = orjson.loads(line)
                if event["type"] == "ERROR":
                    raise errors.from_status(event["object"])
                yield base.RawEvent(event["type"], self._slim(event["object"]))

    def _query(self) -> dict[str, str]:
        selectors = (("labelSelector", self._label_selector), ("fieldSelector", self._field_selector))
        return {name: value for name, value in selectors if value}

    def _slim(self, obj: Mapping[str, Any]) -> bytes:
        metadata = obj.get("metadata") or {}
        kept = {name: metadata[name] for name in _KEPT if name in metadata}
        return orjson.dumps({"apiVersion": self._kind.group_version(), "kind": self._kind.KIND, "metadata": kept})
