"""The identity that travels through the machinery: namespace and name, nothing else.

Queues, caches and reconcilers speak of objects by key only. A key carries no state, so a reconcile can never act on the
stale half of an event; what the object is now is looked up in a cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class ObjectKey(NamedTuple):
    """Names one object of a kind that the context knows. ``namespace`` is empty for kinds without namespaces."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> ObjectKey:
        """Return the key of a decoded object.

        Raises:
            KeyError: there is no ``metadata.name``.
        """
        metadata = document["metadata"]
        return cls(metadata.get("namespace") or "", metadata["name"])

    @classmethod
    def parse(cls, text: str) -> ObjectKey:
        """Parse what ``str`` gives: ``namespace/name`` or ``name``."""
        namespace, _, name = text.rpartition("/")
        return cls(namespace, name)
