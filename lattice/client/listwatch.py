"""Feeds an informer from a client: the ``ListWatch`` that ``lattice.machinery.reflector`` asks for, by shape.

Used wherever an informer is started outside of the API server's process, and inside of it over the in-process transport. (The machinery
and the client are independent layers, so neither imports the other: the protocol is met structurally.)
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
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


def without_content(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what there is to know of who owns whom: some of an object's metadata."""
    metadata = obj.get("metadata") or {}
    return {"metadata": {name: metadata[name] for name in _KEPT if name in metadata}}


class SlimListWatch(ListWatch):
    """The same for those who need only a part of each object: what ``slim`` leaves of it is all that a cache gets to keep.

    A cache of whole objects that nobody reads would cost as much memory as the server's own.

    Args:
        client: asks the server.
        kind: what to watch.
        slim: returns what is kept of an object; ``metadata`` with name, namespace, uid and resourceVersion must be in it.
    """

    def __init__(
        self,
        client: Client,
        kind: type[meta.Object],
        slim: Callable[[Mapping[str, Any]], Mapping[str, Any]] = without_content,
    ) -> None:
        super().__init__(client, kind)
        self._slim_down = slim

    async def list(self) -> base.RawList:
        """Return everything at one revision."""
        body = await self._client.send("GET", collection_path(self._kind))
        data = orjson.loads(body)
        items = tuple(self._slim(item) for item in data.get("items") or ())
        return base.RawList(items=items, resource_version=str(data.get("metadata", {}).get("resourceVersion", "")))

    async def watch(self, resource_version: str, /) -> AsyncGenerator[base.RawEvent]:
        """Stream what changed after ``resource_version``; close the generator to stop."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_TIMEOUT_S),
            "resourceVersion": resource_version,
        }
        request = base.Request("GET", collection_path(self._kind), query=query, headers={"accept": "application/json"}, timeout_s=None)
        lines = self._client.transport.stream(request)
        async with contextlib.aclosing(lines):
            async for line in lines:
                event = orjson.loads(line)
                if event["type"] == "ERROR":
                    raise errors.from_status(event["object"])
                yield base.RawEvent(event["type"], self._slim(event["object"]))

    def _slim(self, obj: Mapping[str, Any]) -> bytes:
        return orjson.dumps({"apiVersion": self._kind.group_version(), "kind": self._kind.KIND, **self._slim_down(obj)})
