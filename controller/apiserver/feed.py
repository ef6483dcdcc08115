"""One watch over all keys of a store, split to one cache per resource; and the time keeper of all streams.

The feed lists once, watches from there for ever, and says which revision the caches have reached. Consistent reads ask the store for
its revision and wait until the feed is there. If the store has compacted what the feed needs (it was away too long), it lists again and
drops all watchers: they come back and resume, or are told to list.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import math
import random
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from controller.apiserver.resources import DEFINITIONS, PREFIX, Resource
from controller.apiserver.watchcache import Change, Entry, ResourceCache
from controller.store import base
from lattice.api import errors
from lattice.machinery.backoff import Backoff, BackoffPolicy
from lattice.machinery.clock import Clock
from lattice.machinery.tasks import TaskOwner, supervise

logger = logging.getLogger(__name__)

BOOKMARK_PERIOD_S: Final = 30.0
LAST_BOOKMARK_S: Final = 2.0
"""A watch gets a bookmark so long before its deadline, as kube-apiserver's do, and one more at the deadline."""
CLOSING_S: Final = 1.5
"""How long watches outlive their kind, in seconds: a second at least, as in kube-apiserver (which drains before it tears down)."""
_TICK_S: Final = 1.0
_PAGE: Final = 2_000
FRESH_TIMEOUT_S: Final = 3.0


_DEFINITIONS_ROOT: Final = f"apiextensions.k8s.io/{DEFINITIONS}"
_DEFINITIONS: Final = f"{PREFIX}{_DEFINITIONS_ROOT}/"


def _root_of(key: str) -> str:
    """Return ``group/plural`` of a key."""
    return "/".join(key[len(PREFIX) :].split("/", 2)[:2])


class DefinitionListener(Protocol):
    """Learns of CustomResourceDefinitions as the feed does."""

    def reset(self, entries: Iterable[Entry]) -> None:
        """Take in the list of all definitions."""

    async def on_change(self, change: Change) -> None:
        """Take in one event."""


class Feed:
    """Keeps the caches of one store current."""

    def __init__(
        self, name: str, store: base.Store, resources: Iterable[Resource], *, clock: Clock, ring_events: int | None = None
    ) -> None:
        self.name = name
        self.store = store
        self.revision = 0
        self.synced = False
        self._options = {} if ring_events is None else {"ring_events": ring_events}
        self._caches = {resource.root: ResourceCache(resource, **self._options) for resource in resources}
        self._closing: list[ResourceCache] = []
        """Of kinds that are not served any more, while watches of them are left."""
        self._clock = clock
        self._tasks = TaskOwner(f"feed-{name}")
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._tickets = 0
        self.on_tick: list[Callable[[float], None]] = []
        """Called about once a second with the monotonic time: streams that are not watchers of one cache."""
        self.definitions: DefinitionListener | None = None
        """Told of every definition before the feed goes on; adds and closes caches."""

    async def start(self) -> None:
        """Fill the caches and keep them current in the background."""
        await self._relist()
        self._tasks.spawn(
            supervise(
                self._follow, name=f"feed-{self.name}", clock=self._clock, backoff=Backoff(BackoffPolicy(cap_s=5.0), random.SystemRandom())
            ),
            name="follow",
        )
        self._tasks.spawn(self._tick(), name="tick")

    async def stop(self) -> None:
        """End all watches and the background tasks."""
        self.synced = False
        for cache in (*self._caches.values(), *self._closing):
            for watcher in cache.watchers():
                watcher.end()
        await self._tasks.stop()
        for _, _, future in self._waiters:
            future.cancel()

    async def fresh(self) -> int:
        """Wait until the caches hold every write that was acknowledged before this call, and return their revision."""
        wanted = await self.store.revision()
        await self.wait(wanted)
        return self.revision

    async def wait(self, revision: int, *, timeout_s: float = FRESH_TIMEOUT_S) -> None:
        """Wait until the caches have reached ``revision``.

        Raises:
            errors.TimeoutStatusError: not within ``timeout_s``.
        """
        if self.revision >= revision and self.synced:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tickets += 1
        heapq.heappush(self._waiters, (revision, self._tickets, future))
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            details = {
                "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                "retryAfterSeconds": 1,
            }
            message = f"Timeout: Too large resource version: {revision}, current: {self.revision}"
            raise errors.TimeoutStatusError(message, details=details) from None

    async def _follow(self) -> None:
        while True:
            try:
                async with contextlib.aclosing(self.store.watch(base.Revision(self.revision))) as batches:
                    async for batch in batches:
                        for event in batch.events:
                            change = self._apply(event)
                            if self.definitions is not None and event.key.startswith(_DEFINITIONS) and change is not None:
                                await self.definitions.on_change(change)
                        self._advance(batch.revision)
            except base.CompactedError:
                logger.warning("the store has compacted what the cache needs next, listing again", extra={"store": self.name})
                await self._relist()

    def _apply(self, event: base.StoreEvent) -> Change | None:
        cache = self._cache_of(event.key)
        if cache is not None:
            try:
                return cache.apply(event)
            except (ValueError, KeyError, TypeError):
                logger.exception("a stored object cannot be read and is left out", extra={"key": event.key})
        return None

    def _cache_of(self, key: str) -> ResourceCache | None:
        return self._caches.get(_root_of(key))

    def cache(self, resource: Resource) -> ResourceCache:
        """Return the cache that all versions of a resource share.

        Raises:
            KeyError: the kind is not served any more.
        """
        return self._caches[resource.root]

    def add_cache(self, resource: Resource) -> ResourceCache:
        """Return the cache of a kind that is served from now on, empty if there was none; watches of an earlier one end."""
        if (old := self._caches.get(resource.root)) is not None:
            for watcher in old.watchers():
                watcher.end()
        cache = self._caches[resource.root] = ResourceCache(resource, **self._options)
        return cache

    async def open_cache(self, resource: Resource, revision: int) -> None:
        """Serve a kind from now on, with the objects that are stored at ``revision``."""
        records: list[base.Record] = []
        position = None
        while True:
            at = base.Revision(revision)
            page = await self.store.list(resource.prefix(), limit=_PAGE, start_after=position, revision=at)
            records += page.records
            if not page.more:
                break
            position = page.records[-1].key
        self.add_cache(resource).reset(records, revision)

    def close_cache(self, root: str) -> None:
        """Serve a kind no longer. Its watches say nothing more, and end in a moment.

        As kube-apiserver's do: whoever watches definitions too (kopf does) hears there of the end before the answer to its next watch is
        404, which it takes for a failure. No bookmark comes meanwhile, or a reader might resume behind the start of a kind of this name.
        """
        if (cache := self._caches.pop(root, None)) is not None:
            end_s = self._clock.monotonic() + CLOSING_S
            for watcher in cache.watchers():
                watcher.bookmarks = False
                watcher.deadline_s = min(watcher.deadline_s or math.inf, end_s)
            self._closing.append(cache)

    def _advance(self, revision: int) -> None:
        self.revision = max(self.revision, revision)
        while self._waiters and self._waiters[0][0] <= self.revision:
            future = heapq.heappop(self._waiters)[2]
            if not future.done():
                future.set_result(None)

    async def _relist(self) -> None:
        self.synced = False
        for cache in (*self._caches.values(), *self._closing):
            for watcher in cache.watchers():
                watcher.drop()
        found: dict[str, list[base.Record]] = {}
        page = await self.store.list(PREFIX, limit=_PAGE)
        revision = page.revision
        while True:
            for record in page.records:
                found.setdefault(_root_of(record.key), []).append(record)
            if not page.more:
                break
            page = await self.store.list(PREFIX, limit=_PAGE, start_after=page.records[-1].key, revision=revision)
        if self.definitions is not None and (definitions := self._caches.get(_DEFINITIONS_ROOT)) is not None:
            definitions.reset(found.pop(_DEFINITIONS_ROOT, ()), revision)
            self.definitions.reset(definitions.entries.values())
        for root, cache in self._caches.items():
            if root != _DEFINITIONS_ROOT or self.definitions is None:
                cache.reset(found.get(root, ()), revision)
        self.synced = True
        self._advance(revision)

    async def _tick(self) -> None:
        next_bookmark_s = self._clock.monotonic() + BOOKMARK_PERIOD_S
        while True:
            await self._clock.sleep(_TICK_S)
            now_s = self._clock.monotonic()
            for hook in tuple(self.on_tick):
                hook(now_s)
            bookmark = now_s >= next_bookmark_s
            if bookmark:
                next_bookmark_s = now_s + BOOKMARK_PERIOD_S
            for cache in (*self._caches.values(), *self._closing):
                self._tick_cache(cache, now_s, bookmark=bookmark)
            self._closing = [cache for cache in self._closing if cache.watchers()]

    def _tick_cache(self, cache: ResourceCache, now_s: float, *, bookmark: bool) -> None:
        line: bytes | None = None
        for watcher in cache.watchers():
            left_s = math.inf if watcher.deadline_s is None else watcher.deadline_s - now_s
            over, soon = left_s <= 0, left_s <= LAST_BOOKMARK_S and not watcher.warned
            # Not in the middle of a batch: the bookmark would be older than what has been sent, and a resumed watch get that again.
            if (over or soon or bookmark) and watcher.bookmarks and cache.newest <= self.revision:
                watcher.warned = watcher.warned or soon
                line = line or cache.bookmark(self.revision)
                watcher.push(line)
            if over:
                watcher.end()
            if watcher.ended:
                # Its reader may never have begun to read; a reader that has will not miss the registration any more.
                cache.remove(watcher)
