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
import random
from collections.abc import Callable, Iterable
from typing import Final

from controller.apiserver.resources import PREFIX, Resource
from controller.apiserver.watchcache import ResourceCache
from controller.store import base
from lattice.api import errors
from lattice.machinery.backoff import Backoff, BackoffPolicy
from lattice.machinery.clock import Clock
from lattice.machinery.tasks import TaskOwner, supervise

logger = logging.getLogger(__name__)

BOOKMARK_PERIOD_S: Final = 30.0
_TICK_S: Final = 1.0
_PAGE: Final = 2_000
FRESH_TIMEOUT_S: Final = 3.0


class Feed:
    """Keeps the caches of one store current."""

    def __init__(
        self, name: str, store: base.Store, resources: Iterable[Resource], *, clock: Clock, ring_events: int | None = None
    ) -> None:
        self.name = name
        self.store = store
        self.revision = 0
        self.synced = False
        options = {} if ring_events is None else {"ring_events": ring_events}
        self.caches = {resource: ResourceCache(resource, **options) for resource in resources}
        self._by_prefix = {(cache.resource.group or "core", cache.resource.plural): cache for cache in self.caches.values()}
        self._clock = clock
        self._tasks = TaskOwner(f"feed-{name}")
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._tickets = 0
        self.on_tick: list[Callable[[float], None]] = []
        """Called about once a second with the monotonic time: streams that are not watchers of one cache."""

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
        for cache in self.caches.values():
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
                            self._apply(event)
                        self._advance(batch.revision)
            except base.CompactedError:
                logger.warning("the store has compacted what the cache needs next, listing again", extra={"store": self.name})
                await self._relist()

    def _apply(self, event: base.StoreEvent) -> None:
        cache = self._cache_of(event.key)
        if cache is not None:
            try:
                cache.apply(event)
            except (ValueError, KeyError, TypeError):
                logger.exception("a stored object cannot be read and is left out", extra={"key": event.key})

    def _cache_of(self, key: str) -> ResourceCache | None:
        parts = key[len(PREFIX) :].split("/", 2)
        return self._by_prefix.get((parts[0], parts[1])) if len(parts) == 3 else None

    def _advance(self, revision: int) -> None:
        self.revision = max(self.revision, revision)
        while self._waiters and self._waiters[0][0] <= self.revision:
            future = heapq.heappop(self._waiters)[2]
            if not future.done():
                future.set_result(None)

    async def _relist(self) -> None:
        self.synced = False
        for cache in self.caches.values():
            for watcher in cache.watchers():
                watcher.drop()
        found: dict[ResourceCache, list[base.Record]] = {cache: [] for cache in self.caches.values()}
        page = await self.store.list(PREFIX, limit=_PAGE)
        revision = page.revision
        while True:
            for record in page.records:
                if (owner := self._cache_of(record.key)) is not None:
                    found[owner].append(record)
            if not page.more:
                break
            page = await self.store.list(PREFIX, limit=_PAGE, start_after=page.records[-1].key, revision=revision)
        for cache, records in found.items():
            cache.reset(records, revision)
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
            for cache in self.caches.values():
                self._tick_cache(cache, now_s, bookmark=bookmark)

    def _tick_cache(self, cache: ResourceCache, now_s: float, *, bookmark: bool) -> None:
        line: bytes | None = None
        for watcher in cache.watchers():
            over = watcher.deadline_s is not None and now_s >= watcher.deadline_s
            if (over or bookmark) and watcher.bookmarks:
                line = line or cache.bookmark(self.revision)
                watcher.push(line)
            if over:
                watcher.end()
            if watcher.ended:
                # Its reader may never have begun to read; a reader that has will not miss the registration any more.
                cache.remove(watcher)
