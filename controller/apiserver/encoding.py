"""Objects to bytes and back: the stored form (without resourceVersion), the served form (with it). Request bodies: ``bodies.py``.

The stored form always begins with the same text for a resource, so the served form is made by a splice, without parsing:
``{"apiVersion":"v1","kind":"Pod","metadata":{`` + ``"resourceVersion":"7",`` + the rest.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

import orjson

from controller.apiserver.resources import Resource

_SHAPED: Final = 1024
"""How many values a codec remembers to be in shape: more than are on their way to the store and back at one time."""


class Codec:
    """Encodes and decodes the objects of one resource.

    Args:
        resource: in the version that is served; the stored form is in ``resource.storage_version``. Conversion is ``None``, where the
            apiVersion changes and nothing else, or renames fields (``resource.stored_as``).
        normalise: brings a decoded object into the shape of the present schema, for kinds whose schema may have changed since the object
            was stored; ``None`` where it cannot.
    """

    def __init__(self, resource: Resource, normalise: Callable[[dict[str, Any]], object] | None = None) -> None:
        self.resource = resource
        self._normalise = normalise
        self._renaming = resource.stored_as
        self._stored_head = {"apiVersion": resource.stored_group_version, "kind": resource.kind}
        self._head = {"apiVersion": resource.group_version, "kind": resource.kind}
        self._stored_prefix = orjson.dumps({**self._stored_head, "metadata": {}})[:-2]
        self._prefix = orjson.dumps({**self._head, "metadata": {}})[:-2]
        self._cut = len(self._stored_prefix)
        self._head_size = len(orjson.dumps(self._head))
        self._shaped: dict[int, None] = {}
        """Hashes of values that are known to be in the present shape, because they were encoded here: they come back from the store."""

    def encode(self, obj: dict[str, Any]) -> bytes:
        """Return the stored form of ``obj``, which must be in the present shape and have metadata with a name."""
        if self._renaming is not None:
            obj = self._renaming.to_stored(obj)
        metadata = obj["metadata"]
        if "resourceVersion" in metadata:
            metadata = {key: value for key, value in metadata.items() if key != "resourceVersion"}
        head = {**self._stored_head, "metadata": metadata}
        value = orjson.dumps({**head, **{key: value for key, value in obj.items() if key not in head}})
        if self._normalise is not None and not self.resource.converted:
            self._shaped[hash(value)] = None
            if len(self._shaped) > _SHAPED:
                del self._shaped[next(iter(self._shaped))]
        return value

    def served(self, value: bytes, revision: int) -> bytes:
        """Return the served form of a value that this codec encoded."""
        if not self.resource.converted and value.startswith(self._stored_prefix):
            return b'%b"resourceVersion":"%d",%b' % (self._prefix, revision, value[self._cut :])
        return orjson.dumps(self.decode(value, revision))

    def read(self, value: bytes) -> tuple[dict[str, Any], bytes]:
        """Return a value from the store, written by whomever and whenever, as an object and in the stored form of the present schema."""
        obj: dict[str, Any] = orjson.loads(value)
        if self._normalise is not None and hash(value) not in self._shaped:
            self._normalise(obj)
            value = self.encode(obj)
        return obj, value

    def decode(self, value: bytes, revision: int, *, present: bool = False) -> dict[str, Any]:
        """Return a stored value as an object of this version with its resourceVersion. ``present``: it is in the present shape."""
        obj = self._renamed(orjson.loads(value))
        obj.update(self._head)
        if self._normalise is not None and (not present or self.resource.converted):
            self._normalise(obj)
        obj["metadata"]["resourceVersion"] = str(revision)
        return obj

    def view(self, raw: bytes) -> bytes:
        """Return an object in the served form of the storage version in the served form of this one."""
        if not self.resource.converted:
            return raw
        obj = self._renamed(orjson.loads(raw))
        obj.update(self._head)
        if self._normalise is not None:
            self._normalise(obj)
        return orjson.dumps(obj)

    def _renamed(self, stored: dict[str, Any]) -> dict[str, Any]:
        return stored if self._renaming is None else self._renaming.from_stored(stored)

    def without_head(self, raw: bytes) -> bytes:
        """Return an object in the served form without its apiVersion and kind."""
        return b"{" + raw[self._head_size :] if raw.startswith(self._prefix) else raw

    async def view_lines(self, batches: AsyncGenerator[list[bytes]]) -> AsyncGenerator[list[bytes]]:
        """Yield a watch's lines with each object in this version."""
        async with aclosing(batches):
            async for lines in batches:
                yield [self._view_line(line) for line in lines]

    def _view_line(self, line: bytes) -> bytes:
        event = orjson.loads(line)
        if event["type"] == "ERROR":
            return line
        obj = event["object"] = self._renamed(event["object"])
        obj.update(self._head)
        if self._normalise is not None and event["type"] != "BOOKMARK":
            self._normalise(obj)
        return orjson.dumps(event) + b"\n"


def media_type(headers_content_type: str) -> str:
    """Return a Content-Type without its parameters."""
    return headers_content_type.partition(";")[0].strip().lower()
