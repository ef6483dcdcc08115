"""Keeps a cache equal to the server: list once, then watch, for ever.

Run by :mod:`lattice.machinery.informer`, one for each kind. It knows no HTTP: it takes a :class:`ListWatch`, which the
client package implements.

Guarantees:

* ``run`` never returns and never raises but ``CancelledError``: a lost watch, an unreachable server, a malformed answer
  are logged and retried with jittered backoff.
* A watch resumes where the last one ended (last event or bookmark). If the server has forgotten that revision (410),
  a new list is compared with the cache, and the difference is told: objects that vanished meanwhile come as removals
  with their last known state, so nobody waits for an event that was missed.
* An event that was applied before (a replay after a reconnect) is dropped. resourceVersions are opaque, they have no
  order for us: inside one stream the server's order is trusted, and a replay is known by its pair of uid and
  resourceVersion, remembered for the last few thousand events.
* A silent stream is dropped: the server sends a bookmark at least every 60 s, so 150 s without a sign mean that two
  were missed, and that a middlebox holds a dead connection open.
* A listing that cannot be decoded changes nothing in the cache: an object is removed because the server left it out
  of a good list, never because we could not read it.

State is owned by the task in ``run``; others read the cache, ``resource_version`` and ``synced``.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import orjson

from lattice.api import errors
from lattice.machinery import backoff, tasks
from lattice.machinery.cache import Cache, Handler
from lattice.machinery.clock import Clock
from lattice.machinery.entry import Decoder, Entry, MalformedObjectError

logger = logging.getLogger(__name__)

P = TypeVar("P")


class Listing(Protocol):
    """All objects of a kind at one revision."""

    @property
    def items(self) -> Sequence[bytes]:
        """Each object as JSON."""
        ...

    @property
    def resource_version(self) -> str:
        """Where a watch goes on."""
        ...


class WatchEvent(Protocol):
    """One line of a watch."""

    @property
    def type(self) -> str:
        """ADDED, MODIFIED, DELETED, BOOKMARK or ERROR."""
        ...

    @property
    def raw(self) -> bytes:
        """The object as JSON; of a bookmark only its resourceVersion counts; of an error it is a Status."""
        ...


class ListWatch(Protocol):
    """What a reflector needs from a server. Both raise errors of ``lattice.api.errors``."""

    async def list(self) -> Listing:
        """Return everything, consistent at one revision."""
        ...

    def watch(self, resource_version: str, /) -> AsyncIterator[WatchEvent]:
        """Stream what changed after ``resource_version``. The stream may end at any time; that is no error.

        Raises:
            GoneError: the revision is compacted (also in the middle of the stream).
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReflectorSettings:
    """How a reflector behaves."""

    inactivity_timeout_s: float = 150.0
    """A watch without any event or bookmark for so long is dropped. Two missed bookmarks of 60 s, and half a minute."""

    list_timeout_s: float = 120.0
    """A list that takes longer is given up. A minute is a large list on a slow line; twice that is a dead
    connection."""

    healthy_after_s: float = 10.0
    """A watch that lived so long is resumed at once; one that ended sooner counts as a failure, so that a server that
    closes every stream is not hammered."""

    backoff: backoff.BackoffPolicy = field(default_factory=lambda: backoff.BackoffPolicy(cap_s=30.0))
    """Delays after failures. Capped at 30 s: a node whose line is back should be in touch within half a minute."""

    remembered_events: int = 4096
    """How many applied events are known again if they come twice. Ten times the events of one busy second."""


class Reflector(Generic[P]):
    """See the module.

    Args:
        name: of the kind, for logs.
        list_watch: the server.
        decoder: makes entries.
        cache: is written here and nowhere else.
        on_change: told of each change after it is in the cache; must not raise.
        clock: measures and waits.
        rng: for jitter.
        settings: see :class:`ReflectorSettings`.
    """

    def __init__(
        self,
        name: str,
        list_watch: ListWatch,
        *,
        decoder: Decoder[P],
        cache: Cache[P],
        on_change: Handler[P],
        clock: Clock,
        rng: random.Random,
        settings: ReflectorSettings | None = None,
    ) -> None:
        self.name = name
        self.synced = asyncio.Event()
        """Set when the first list is in the cache; stays set."""
        self.counters: Counter[str] = Counter()
        """``lists``, ``watches``, ``events``, ``replays``, ``failures``."""
        self._list_watch = list_watch
        self._decoder = decoder
        self._cache = cache
        self._on_change = on_change
        self._clock = clock
        self._settings = settings or ReflectorSettings()
        self._backoff = backoff.Backoff(self._settings.backoff, rng)
        self._resource_version = ""
        """Everything up to here is in the cache. Empty: list anew."""
        self._applied: dict[tuple[str, str], None] = {}
        """(uid, resourceVersion) of the last events that were applied, oldest first; emptied by a list."""

    @property
    def resource_version(self) -> str:
        """The revision that the cache has reached, empty before the first list and while a new one is needed."""
        return self._resource_version

    async def run(self) -> None:
        """List and watch until cancelled."""
        healthy_after_s = self._settings.healthy_after_s
        while True:
            watching_since_s: float | None = None
            try:
                if not self._resource_version:
                    await self._list()
                watching_since_s = self._clock.monotonic()
                await self._watch()
                logger.debug("watch ended, resuming", extra={"kind": self.name})
            except errors.GoneError:
                self._resource_version = ""
                logger.info("watch is too old for the server, listing again", extra={"kind": self.name})
            except errors.NotFoundError:
                # A kind that users add comes and goes; whoever runs us will hear of it and stop us.
                self.counters["failures"] += 1
                logger.info("the server does not serve this kind now, retrying", extra={"kind": self.name})
            except MalformedObjectError:
                # The stream cannot be trusted to be where we think it is.
                self._resource_version = ""
                self._log_failure("server delivered something unreadable, listing again")
            except Exception:  # noqa: BLE001 - logged; the loss of a watch ends in a new one, never in an exit
                self._log_failure("list or watch failed, retrying")
            if watching_since_s is not None and self._clock.monotonic() - watching_since_s >= healthy_after_s:
                self._backoff.reset()
                if self._resource_version:
                    continue
            await self._clock.sleep(self._backoff.next_s())

    def _log_failure(self, message: str) -> None:
        self.counters["failures"] += 1
        first = self._backoff.failures == 0  # the traceback once in a row of failures, then one line each
        logger.warning(
            message,
            extra={"kind": self.name, "failures": self._backoff.failures + 1},
            exc_info=first,
        )

    async def _list(self) -> None:
        async with tasks.TimeLimit(self._clock, self._settings.list_timeout_s):
            listing = await self._list_watch.list()
        self.counters["lists"] += 1
        decoded = [self._decoder.entry(raw) for raw in listing.items]  # all of it, before anything is touched
        listed = {key for key, _ in decoded}
        self._applied.clear()
        for key in self._cache.keys():  # noqa: SIM118 - not a dict
            if key not in listed:
                self._remove(self._cache.get(key))
        for _, entry in decoded:
            if entry is not None:
                self._put(entry)
        self._resource_version = listing.resource_version
        self.synced.set()

    async def _watch(self) -> None:
        self.counters["watches"] += 1
        async with AsyncExitStack() as stack:
            stream = self._list_watch.watch(self._resource_version)
            if (close := getattr(stream, "aclose", None)) is not None:  # a generator holds a connection
                stack.push_async_callback(close)
            limit = await stack.enter_async_context(
                tasks.TimeLimit(self._clock, self._settings.inactivity_timeout_s),
            )
            async for event in stream:
                limit.touch()
                self._receive(event)

    def _receive(self, event: WatchEvent) -> None:
        match event.type:
            case "ADDED" | "MODIFIED":
                self._receive_version(event.raw)
            case "DELETED":
                self._receive_deletion(event.raw)
            case "BOOKMARK":
                self._resource_version = _bookmark(event.raw)
            case "ERROR":
                raise errors.from_status(_object(event.raw))
            case unknown:
                logger.warning("watch event of unknown type ignored", extra={"kind": self.name, "event_type": unknown})

    def _receive_version(self, raw: bytes) -> None:
        _, key, uid, resource_version = self._decoder.metadata(raw)
        cached = self._cache.get(key)
        is_current = cached is not None and (cached.uid, cached.resource_version) == (uid, resource_version)
        if is_current or not self._remember(uid, resource_version):
            self.counters["replays"] += 1
            return
        _, entry = self._decoder.entry(raw)
        if entry is not None:
            self._put(entry)
        self._resource_version = resource_version

    def _receive_deletion(self, raw: bytes) -> None:
        _, key, uid, resource_version = self._decoder.metadata(raw)
        if not self._remember(f"{uid} deleted", resource_version):
            self.counters["replays"] += 1
            return
        cached = self._cache.get(key)
        if cached is not None and cached.uid == uid:  # else: the name belongs to a successor by now
            # The state at the end, which may differ from the last one we saw, e.g. by its deletion timestamp.
            _, last = self._decoder.entry(raw)
            self._remove(last or cached)
        self._resource_version = resource_version

    def _remember(self, uid: str, resource_version: str) -> bool:
        """Note an event; say whether it is new."""
        event = (uid, resource_version)
        if event in self._applied:
            return False
        self.counters["events"] += 1
        self._applied[event] = None
        if len(self._applied) > self._settings.remembered_events:
            del self._applied[next(iter(self._applied))]
        return True

    def _put(self, entry: Entry[P]) -> None:
        old = self._cache.get(entry.key)
        if old is not None and old.same_version(entry):
            return
        if old is not None and old.uid != entry.uid:
            # Deleted and created again while we did not look: whoever counts incarnations must see the end of the
            # first.
            self._remove(old)
            old = None
        self._cache.put(entry)
        self._on_change(old, entry)

    def _remove(self, last: Entry[P] | None) -> None:
        if last is not None and self._cache.remove(last.key) is not None:
            self._on_change(last, None)


def _object(raw: bytes) -> dict[str, object]:
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise MalformedObjectError("the server delivered a watch event that is not JSON") from error
    if not isinstance(document, dict):
        raise MalformedObjectError("the server delivered a watch event that is not an object")
    return document


def _bookmark(raw: bytes) -> str:
    metadata = _object(raw).get("metadata")
    resource_version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    if not isinstance(resource_version, str) or not resource_version:
        raise MalformedObjectError("the server delivered a bookmark without a resourceVersion")
    return resource_version
