"""One object as a cache keeps it: its encoded bytes and a small typed projection.

A :class:`Decoder` makes entries from what a list or a watch delivers; the reflector calls it once for each object. Full
pydantic objects are made on demand by :meth:`Entry.decode` and not kept: 5,000 Pods are 13 MB as bytes and 137 MB as
models.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

import orjson
import pydantic

from lattice.api.errors import LatticeError
from lattice.machinery.keys import ObjectKey

logger = logging.getLogger(__name__)

P = TypeVar("P")
M = TypeVar("M", bound=pydantic.BaseModel)

Document: TypeAlias = Mapping[str, Any]
"""A decoded object: the JSON as dicts and lists."""

IndexFn: TypeAlias = Callable[[Document], Iterable[str]]
"""Returns the values under which an object is found in an index: none, one or several."""


class MalformedObjectError(LatticeError):
    """What the server delivered is not an object with a name, a uid and a resourceVersion."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[P]):
    """An immutable version of an object."""

    key: ObjectKey
    uid: str
    """Tells a re-created object from the one that had its name before."""
    resource_version: str
    """Opaque: equal means the same version of this object; nothing else can be concluded."""
    raw: bytes = field(repr=False)
    """The object as JSON, as delivered."""
    projection: P
    """What ``project`` made of it; ``None`` without a ``project``."""
    indexed: tuple[tuple[str, ...], ...] = field(default=(), repr=False)
    """Values for each index of the cache, in the order of its indexes."""

    def same_version(self, other: Entry[Any]) -> bool:
        """Whether both are the same version of the same incarnation."""
        return self.uid == other.uid and self.resource_version == other.resource_version

    def document(self) -> dict[str, Any]:
        """Decode to plain dicts, a fresh copy at each call."""
        decoded: dict[str, Any] = orjson.loads(self.raw)
        return decoded

    def decode(self, kind: type[M]) -> M:
        """Make the typed object, a fresh one at each call.

        Raises:
            pydantic.ValidationError: the stored object is not valid for ``kind``.
        """
        return kind.model_validate_json(self.raw)


class Decoder(Generic[P]):
    """Makes entries of one kind.

    Args:
        project: what to keep decoded of each object; cheap, pure, and must not keep a reference into its argument's
            large parts.
        index_by: named indexes.
    """

    def __init__(self, project: Callable[[Document], P], index_by: Mapping[str, IndexFn] | None = None) -> None:
        self._project = project
        self._index_fns = dict(index_by or {})

    @property
    def index_names(self) -> tuple[str, ...]:
        """Names of the indexes, in the order of ``Entry.indexed``."""
        return tuple(self._index_fns)

    def metadata(self, raw: bytes) -> tuple[Document, ObjectKey, str, str]:
        """Decode far enough to know which version of which object this is: document, key, uid, resourceVersion.

        Raises:
            MalformedObjectError: it does not say.
        """
        try:
            document = orjson.loads(raw)
            metadata = document["metadata"]
            return document, ObjectKey.of(document), metadata["uid"], metadata["resourceVersion"]
        except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError) as error:
            raise MalformedObjectError(
                f"the server delivered {len(raw)} bytes that are no object with name, uid and resourceVersion"
            ) from error

    def entry(self, raw: bytes) -> tuple[ObjectKey, Entry[P] | None]:
        """Decode one object. The entry is ``None`` if ``project`` or an index function failed on it, which is logged.

        Such an object stays in the cache as it was before: one strange object must not hide all the others, and must
        not look deleted.

        Raises:
            MalformedObjectError: not even its name can be read.
        """
        document, key, uid, resource_version = self.metadata(raw)
        try:
            projection = self._project(document)
            indexed = tuple(tuple(dict.fromkeys(index_fn(document))) for index_fn in self._index_fns.values())
        except Exception:  # the functions are the caller's; what they choke on is one object
            logger.exception("cannot project object, keeping its last version", extra={"key": str(key)})
            return key, None
        return key, Entry(key, uid, resource_version, raw, projection, indexed)


def no_projection(document: Document) -> None:
    """Project to nothing: the cache keeps the bytes only."""
