"""Objects as plain JSON through the API, for tests whose subject is the wire or a kind that has no Python type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from lattice.api import errors
from lattice.client.client import JSON_PATCH, MERGE_PATCH, Client
from lattice.testing.polling import eventually

Object = dict[str, Any]


class Collection:
    """The objects of one kind, in one namespace or cluster-wide.

    Args:
        client: carries the requests; it stays open.
        path: such as ``/api/v1/namespaces/default/configmaps``.
    """

    def __init__(self, client: Client, path: str) -> None:
        self._client = client
        self.path = path

    async def create(self, obj: Mapping[str, Any]) -> Object:
        """Store a new object."""
        return await self._send("POST", self.path, obj)

    async def get(self, name: str) -> Object:
        """Return an object."""
        return await self._send("GET", f"{self.path}/{name}")

    async def list(self, **query: str) -> list[Object]:
        """Return all objects; ``query`` as on the wire (``labelSelector``)."""
        found: list[Object] = orjson.loads(await self._client.send("GET", self.path, query=query))["items"]
        return found

    async def patch(self, name: str, patch: Mapping[str, Any] | Sequence[Any], *, subresource: str = "") -> Object:
        """Change an object: a mapping is a merge patch, a sequence a JSON patch."""
        path = f"{self.path}/{name}/{subresource}" if subresource else f"{self.path}/{name}"
        return await self._send("PATCH", path, patch, content_type=MERGE_PATCH if isinstance(patch, Mapping) else JSON_PATCH)

    async def delete(self, name: str) -> None:
        """Ask for an object's end."""
        await self._client.send("DELETE", f"{self.path}/{name}")

    async def gone(self, name: str, *, deadline_s: float = 20.0) -> None:
        """Wait until an object has left the store."""

        async def absent() -> bool:
            try:
                found = await self.get(name)
            except errors.NotFoundError:
                return True
            raise AssertionError(found["metadata"])

        await eventually(absent, deadline_s, f"{self.path}/{name} to be gone")

    async def _send(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> Object:
        data = orjson.dumps(body) if body is not None else b""
        answer: Object = orjson.loads(await self._client.send(method, path, body=data, content_type=content_type))
        return answer
