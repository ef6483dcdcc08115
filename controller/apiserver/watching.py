"""Watches: where a watch begins, what it replays, and how it ends.

Three sources, joined without a gap: the cache's present objects (no resourceVersion, ``0``, or sendInitialEvents), the cache's ring of
recent events, and for older positions the store's own history. The watcher is registered with the cache before anything is replayed,
and everything is replayed up to exactly that moment's revision.
"""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping

import orjson

from controller.apiserver import selection
from controller.apiserver.feed import Feed
from controller.apiserver.reading import check_watch, parse_number, parse_position
from controller.apiserver.registry import Registry
from controller.apiserver.request import ApiStream, flag
from controller.apiserver.resources import DEFINITIONS, Resource
from controller.apiserver.watchcache import Change, ResourceCache, Watcher, event_line
from controller.store import base
from lattice.api import errors
from lattice.machinery.tasks import breathe

_MIN_TIMEOUT_S = 1800
"""A watch without timeoutSeconds ends after this to twice this, as kube-apiserver's do, so that connections spread over servers."""
_BATCH = 100
_BATCH_BYTES = 512 * 1024


class WatchStarter:
    """Opens watches of one resource."""

    def __init__(self, registry: Registry, rng: random.Random) -> None:
        self._registry = registry
        self._rng = rng

    async def open(self, resource: Resource, chosen: selection.Selection, query: Mapping[str, str]) -> ApiStream:
        """Return the stream of a watch.

        Raises:
            errors.ApiError: the parameters are wrong. A position that is too old is an ERROR line in the stream.
        """
        feed = self._registry.feed(resource)
        version = query.get("resourceVersion", "")
        timeout_s = parse_number(query.get("timeoutSeconds", ""))
        check_watch(query)
        position = parse_position(version)
        asked = flag(query, "sendInitialEvents")
        snapshot = asked if "sendInitialEvents" in query else not position
        if not position and (not version or not feed.synced):
            await feed.fresh()
        elif position and snapshot:
            await feed.wait(position)
        old = not snapshot and 0 < position < self._registry.cache(resource).floor
        origin = await self._origin(resource) if old and resource.custom else 0
        watcher = Watcher(chosen, bookmarks=flag(query, "allowWatchBookmarks"))
        timeout_s = timeout_s or self._rng.randint(_MIN_TIMEOUT_S, 2 * _MIN_TIMEOUT_S)
        watcher.deadline_s = self._registry.clock.monotonic() + timeout_s
        # From here to the first await everything happens at one moment of the cache.
        cache, joined = self._registry.cache(resource), feed.revision
        if timeout_s < 0:
            watcher.end()
        if snapshot:
            # The objects are taken now, their lines are made as they are read: two hundred watchers of a large kind would else hold
            # two hundred copies of it.
            end = [cache.bookmark(joined, initial_end=True)] if asked and watcher.bookmarks else []
            lines = itertools.chain((event_line("ADDED", entry.raw) for entry in list(cache.select(chosen))), end)
            batches = _snapshot(cache, watcher, lines)
        elif 0 < position < origin:
            return ApiStream(_expired(position, origin - 1), watcher.on_cut)
        elif position > joined:
            batches = _later(feed, cache, watcher, position, timeout_s)
            return ApiStream(batches, watcher.on_cut, close=lambda: cache.remove(watcher))
        elif not position or position >= cache.floor:
            batches = _snapshot(cache, watcher, _lines_of(list(cache.since(position or joined)), chosen))
        else:
            batches = _replay(feed.store, cache, watcher, position, joined)
        cache.add(watcher)
        return ApiStream(batches, watcher.on_cut, close=lambda: cache.remove(watcher))

    async def _origin(self, resource: Resource) -> int:
        """Return the revision at which a custom resource came into being: what was called so before is not its history."""
        definitions = self._registry.table.find("apiextensions.k8s.io", "v1", DEFINITIONS)
        assert definitions is not None
        record = await self._registry.feed(definitions).store.get(definitions.key("", resource.qualified))
        return 0 if record is None else record.create_revision


async def _expired(position: int, floor: int) -> AsyncGenerator[list[bytes]]:
    """Yield the line that ends a watch from too old a position, in an answer that is else good: clients then list."""
    yield [event_line("ERROR", orjson.dumps(errors.GoneError(f"too old resource version: {position} ({floor})").to_status()))]


async def _later(feed: Feed, cache: ResourceCache, watcher: Watcher, position: int, timeout_s: float) -> AsyncGenerator[list[bytes]]:
    """Wait in silence until a revision of the future has come, then yield what comes after it."""
    with contextlib.suppress(errors.TimeoutStatusError):
        await feed.wait(position, timeout_s=timeout_s)
        if position < cache.floor:
            watcher.drop()  # its reader resumes, and is told to list where that cannot be
            return
        lines = _lines_of(list(cache.since(position)), watcher.chosen)
        cache.add(watcher)
        async with contextlib.aclosing(_snapshot(cache, watcher, lines)) as batches:
            async for batch in batches:
                yield batch


def _lines_of(changes: Iterable[Change], chosen: selection.Selection) -> Iterator[bytes]:
    return (line for change in changes if (line := change.line_for(chosen)) is not None)


async def _snapshot(cache: ResourceCache, watcher: Watcher, lines: Iterator[bytes]) -> AsyncGenerator[list[bytes]]:
    try:
        while batch := _batch_of(lines):
            yield batch
            await breathe()  # a reader that keeps pace never makes us wait
        while batch := await watcher.take():
            yield batch
    finally:
        cache.remove(watcher)


def _batch_of(lines: Iterator[bytes]) -> list[bytes]:
    batch, size_bytes = [], 0
    for line in lines:
        batch.append(line)
        size_bytes += len(line)
        if len(batch) == _BATCH or size_bytes >= _BATCH_BYTES:
            break
    return batch


async def _replay(store: base.Store, cache: ResourceCache, watcher: Watcher, position: int, until: int) -> AsyncGenerator[list[bytes]]:
    """Yield the store's events after ``position`` up to ``until``, then what the cache saw since."""
    prefix = cache.resource.prefix()
    try:
        async with contextlib.aclosing(store.watch(base.Revision(position))) as history:
            reached = position
            while reached < until:
                batch = await anext(history)
                reached = batch.revision
                lines = []
                for event in batch.events:
                    if event.revision <= until and event.key.startswith(prefix):
                        line = _change(cache, event).line_for(watcher.chosen)
                        if line is not None:
                            lines.append(line)
                if lines:
                    yield lines
        while pending := await watcher.take():
            yield pending
    except base.CompactedError as error:
        async for lines in _expired(position, error.compacted_revision):
            yield lines
    finally:
        cache.remove(watcher)


def _change(cache: ResourceCache, event: base.StoreEvent) -> Change:
    entry_of = cache.projector.entry
    previous = None if event.previous is None else entry_of(event.previous)
    if event.record is not None:
        return Change("ADDED" if previous is None else "MODIFIED", entry_of(event.record), previous)
    assert event.previous is not None
    return Change("DELETED", entry_of(event.previous, event.revision), previous)
