"""The store: what the API server needs of a key-value store, and nothing more.

Two back ends implement :class:`Store`: the embedded SQLite log (``sqlite.py``, the default on one machine) and etcd
(``etcd.py``). One contract suite (``tests/contract/test_store.py``) proves both. Only ``controller.apiserver`` imports this.

Guarantees of every implementation
----------------------------------
* **Revisions.** Every committed transaction that changes at least one key gets the next revision: unique, totally ordered, never
  reused, never going back (also across restarts). All keys of one transaction share its revision.
* **Durable before acknowledged.** ``txn`` returns only when the change survives ``kill -9`` and, with the default durability, a loss
  of power. A raised :class:`OutcomeUnknownError` means: it may have happened; read before you retry.
* **Compare-and-swap.** A transaction applies all of its operations or none. On a conflict it returns the present records, so that the
  caller needs no second read.
* **Watch without a gap.** ``watch(after=r)`` yields every event with a revision above ``r``, in order, each once, all events of one
  revision in one batch, with the previous record; for ever, over reconnects of the back end. If history after ``r`` has been compacted
  it raises :class:`CompactedError`: it never skips.
* **One reader's picture.** ``list`` answers at one revision, also page by page (pass the first page's ``revision``).

Keys are text (``/lattice/v1/<group>/<plural>/<namespace or _>/<name>``), ordered by their UTF-8 bytes; values are opaque bytes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import NewType, Protocol, TypeAlias

from lattice.api.errors import LatticeError

Revision = NewType("Revision", int)

NO_REVISION = Revision(0)
"""As an expectation: the key must be absent. As a position: before everything."""

MAX_VALUE_BYTES = 1_500_000
"""Largest value that every back end takes (etcd's default request limit is 1.5 MiB, with some room for the key and the envelope)."""


@dataclass(frozen=True, slots=True)
class Record:
    """One key as it stood at ``mod_revision``."""

    key: str
    value: bytes
    mod_revision: Revision
    create_revision: Revision


@dataclass(frozen=True, slots=True)
class Put:
    """Write a value.

    ``expected``: ``None`` writes whatever is there; ``NO_REVISION`` only if the key is absent; else only if its mod_revision is this.
    ``ttl_s``: the key is deleted by the store (as an ordinary event) not before so many seconds have passed and soon after.
    """

    key: str
    value: bytes
    expected: Revision | None = None
    ttl_s: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key. ``expected`` as for :class:`Put`; with ``None``, removing an absent key is a success that changes nothing."""

    key: str
    expected: Revision | None = None


Op: TypeAlias = Put | Delete


@dataclass(frozen=True, slots=True)
class TxnResult:
    """The answer to a transaction.

    ``committed``: whether all expectations held and all operations were applied.
    ``revision``: of the transaction, or, where nothing was changed, the store's revision at that moment.
    ``previous``: for each operation the record before the transaction (``None``: absent). On a conflict these are the present records.
    """

    committed: bool
    revision: Revision
    previous: tuple[Record | None, ...]


@dataclass(frozen=True, slots=True)
class ListResult:
    """Records in key order at one revision. ``more``: a further page exists; go on with ``start_after=records[-1].key``."""

    records: tuple[Record, ...]
    revision: Revision
    more: bool


@dataclass(frozen=True, slots=True)
class StoreEvent:
    """One change. ``record`` is ``None`` for a deletion; ``previous`` is ``None`` for a creation. Never both."""

    key: str
    revision: Revision
    record: Record | None
    previous: Record | None


@dataclass(frozen=True, slots=True)
class WatchBatch:
    """All events of one or more whole revisions, in order. The watcher has now seen everything up to ``revision``.

    ``events`` may be empty: the revision advanced by keys outside this store's prefix.
    """

    revision: Revision
    events: tuple[StoreEvent, ...]


class StoreError(LatticeError):
    """Base of the store's errors."""


class CompactedError(StoreError):
    """The revision asked for is older than ``compacted_revision``; history before it is gone. List again."""

    def __init__(self, compacted_revision: Revision) -> None:
        super().__init__(f"the required revision has been compacted; the oldest that is kept is {compacted_revision}")
        self.compacted_revision = compacted_revision


class FutureRevisionError(StoreError):
    """The revision asked for has not been written yet."""


class ValueTooLargeError(StoreError):
    """A value, or the whole transaction, is over the back end's limit. Nothing was written."""


class StoreFullError(StoreError):
    """No space is left (disk full, or etcd's quota: NOSPACE). Nothing was written; reads and deletions still work."""


class StoreUnavailableError(StoreError):
    """The back end cannot be reached. Nothing was written."""


class OutcomeUnknownError(StoreError):
    """The back end did not answer a write in time. It may have been applied or may still be: read before you retry."""


class StoreLockedError(StoreError):
    """Another process serves this data directory."""


class CorruptStoreError(StoreError):
    """The files of the store are damaged or of a newer format. Nothing was changed."""


class Store(Protocol):
    """See the module's docstring for the guarantees."""

    async def txn(self, ops: Sequence[Op]) -> TxnResult:
        """Apply all operations, or none. At most 100 operations, each key at most once.

        Raises:
            ValueTooLargeError: a value is over ``MAX_VALUE_BYTES``.
            StoreFullError: no space.
            StoreUnavailableError: not sent.
            OutcomeUnknownError: sent, no answer.
        """
        ...

    async def get(self, key: str) -> Record | None:
        """Return the present record (a consistent read), or ``None``."""
        ...

    async def list(
        self, prefix: str, *, limit: int | None = None, start_after: str | None = None, revision: Revision | None = None
    ) -> ListResult:
        """Return the records whose key starts with ``prefix``, in key order, at ``revision`` (default: the present one).

        Raises:
            CompactedError, FutureRevisionError: of ``revision``.
        """
        ...

    async def revision(self) -> Revision:
        """Return the store's present revision: at least that of every write acknowledged before this call (linearizable)."""
        ...

    def watch(self, after: Revision) -> AsyncGenerator[WatchBatch]:
        """Yield everything after ``after``, for ever. Close the generator (``aclose``) to stop. See the module's guarantees.

        Raises:
            CompactedError: history after ``after`` is not complete any more.
            FutureRevisionError: at the start, ``after`` is above the store's present revision: this is not the history it was read from.
            StoreUnavailableError: the back end cannot be asked at the start, or the store was closed.
        """
        ...

    async def advance(self, revision: Revision) -> bool:
        """Let the next write have a revision above ``revision``; history before it is gone. For a restore, before anything is watched.

        Never goes back. Return whether the present revision is ``revision`` or above now: etcd's revisions cannot be set by a client
        (its own restore does that: ``etcdutl snapshot restore --bump-revision``).
        """
        ...

    async def compact(self, revision: Revision) -> None:
        """Forget superseded records at or below ``revision``. Idempotent. Lists and watches from before it raise ``CompactedError``."""
        ...

    async def size_bytes(self) -> int:
        """Return what the store takes on disk, in bytes."""
        ...

    async def close(self) -> None:
        """Finish what was accepted, then release everything. Idempotent."""
        ...
