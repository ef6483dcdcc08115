"""A local copy of all objects of one kind, with indexes.

Written by one reflector, read by everybody in the same process through :class:`CacheReader`. Entries are immutable,
so a reader may keep one as long as it likes; it is then a snapshot. All methods are synchronous: what a caller reads
between two ``await`` is one consistent state.

It may lag behind the server. Absence here is not absence in the world: before deleting something on absence, read live.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeAlias, TypeVar

from lattice.machinery.entry import Entry
from lattice.machinery.keys import ObjectKey

P = TypeVar("P")

Handler: TypeAlias = Callable[[Entry[P] | None, Entry[P] | None], None]
"""Told of each change as (old, new): (None, new) added, (old, new) changed, (old, None) removed with its last state."""


class CacheReader(Protocol[P]):
    """The read side."""

    def get(self, key: ObjectKey, /) -> Entry[P] | None:
        """Return the entry of ``key``, ``None`` if the cache has none."""
        ...

    def entries(self) -> Sequence[Entry[P]]:
        """Return all entries, in the order of their arrival."""
        ...

    def by_index(self, name: str, value: str) -> Sequence[Entry[P]]:
        """Return the entries under ``value`` in the index ``name``, in the order of their arrival there.

        Raises:
            KeyError: there is no such index.
        """
        ...

    def index_values(self, name: str) -> Sequence[str]:
        """Return the values that the index ``name`` has entries for."""
        ...

    def __len__(self) -> int: ...

    def __contains__(self, key: object) -> bool: ...


class Cache(Generic[P]):
    """See the module. Mutators return the change as (old, new), or ``None`` if there was none."""

    def __init__(self, index_names: Iterable[str] = ()) -> None:
        self._entries: dict[ObjectKey, Entry[P]] = {}
        self._index_names = tuple(index_names)
        self._indexes: dict[str, dict[str, dict[ObjectKey, None]]] = {name: {} for name in self._index_names}
        """index → value → keys. Holds exactly what the ``indexed`` of the present entries say; no empty dicts stay."""

    def get(self, key: ObjectKey) -> Entry[P] | None:
        """See :class:`CacheReader`."""
        return self._entries.get(key)

    def entries(self) -> Sequence[Entry[P]]:
        """See :class:`CacheReader`."""
        return tuple(self._entries.values())

    def keys(self) -> Sequence[ObjectKey]:
        """Return all keys, in the order of their arrival."""
        return tuple(self._entries)

    def by_index(self, name: str, value: str) -> Sequence[Entry[P]]:
        """See :class:`CacheReader`."""
        return tuple(self._entries[key] for key in self._indexes[name].get(value, ()))

    def index_values(self, name: str) -> Sequence[str]:
        """See :class:`CacheReader`."""
        return tuple(self._indexes[name])

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def put(self, entry: Entry[P]) -> Entry[P] | None:
        """Store ``entry`` in place of its predecessor, and return that."""
        old = self._entries.get(entry.key)
        if old is not None:
            self._unindex(old)
        self._entries[entry.key] = entry
        for name, value in self._postings(entry):
            self._indexes[name].setdefault(value, {})[entry.key] = None
        return old

    def remove(self, key: ObjectKey) -> Entry[P] | None:
        """Drop ``key`` and return its last entry."""
        old = self._entries.pop(key, None)
        if old is not None:
            self._unindex(old)
        return old

    def _unindex(self, entry: Entry[P]) -> None:
        for name, value in self._postings(entry):
            keys = self._indexes[name][value]
            del keys[entry.key]
            if not keys:
                del self._indexes[name][value]

    def _postings(self, entry: Entry[P]) -> Iterator[tuple[str, str]]:
        for name, values in zip(self._index_names, entry.indexed, strict=True):
            for value in values:
                yield name, value
