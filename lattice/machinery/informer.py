"""A cache that keeps itself up to date and tells who wants to know: reflector, cache and handlers of one kind.

One informer per kind and process, shared by all controllers; the composition root builds and runs it. Handlers are
plain callbacks ``(old, new)`` that put a key into a queue: they must not block, and they see every change in order.
One that raises is logged; the others and the loop go on. A handler that is added late is first told of everything
present.

Handlers run after the change is in the cache, in the reflector's task.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from lattice.machinery.cache import Cache, CacheReader, Handler
from lattice.machinery.clock import Clock
from lattice.machinery.entry import Decoder, Document, Entry, IndexFn
from lattice.machinery.reflector import ListWatch, Reflector, ReflectorSettings

logger = logging.getLogger(__name__)

P = TypeVar("P")


class Informer(Generic[P]):
    """See the module.

    Args:
        name: of the kind, for logs.
        list_watch: the server.
        clock: measures and waits.
        rng: for jitter.
        project: what to keep decoded of each object; ``entry.no_projection`` to keep nothing.
        index_by: named indexes, each a function from the decoded object to its values.
        settings: of the reflector.
    """

    def __init__(
        self,
        name: str,
        list_watch: ListWatch,
        *,
        clock: Clock,
        rng: random.Random,
        project: Callable[[Document], P],
        index_by: Mapping[str, IndexFn] | None = None,
        settings: ReflectorSettings | None = None,
    ) -> None:
        self.name = name
        decoder = Decoder(project, index_by)
        self._cache: Cache[P] = Cache(decoder.index_names)
        self._handlers: list[Handler[P]] = []
        self.reflector = Reflector(
            name,
            list_watch,
            decoder=decoder,
            cache=self._cache,
            on_change=self._dispatch,
            clock=clock,
            rng=rng,
            settings=settings,
        )

    @property
    def cache(self) -> CacheReader[P]:
        """The objects. Complete only once :meth:`wait_synced` has returned."""
        return self._cache

    @property
    def has_synced(self) -> bool:
        """Whether the first list is in the cache."""
        return self.reflector.synced.is_set()

    async def wait_synced(self) -> None:
        """Wait for the first list. Needs :meth:`run` in another task."""
        await self.reflector.synced.wait()

    def add_handler(self, handler: Handler[P]) -> None:
        """Tell ``handler`` of everything present, and then of each change."""
        self._handlers.append(handler)
        for entry in self._cache.entries():
            self._call(handler, None, entry)

    def remove_handler(self, handler: Handler[P]) -> None:
        """Tell ``handler`` nothing more. Unknown ones are ignored."""
        if handler in self._handlers:
            self._handlers.remove(handler)

    async def run(self) -> None:
        """Keep the cache up to date until cancelled."""
        await self.reflector.run()

    def _dispatch(self, old: Entry[P] | None, new: Entry[P] | None) -> None:
        for handler in tuple(self._handlers):
            self._call(handler, old, new)

    def _call(self, handler: Handler[P], old: Entry[P] | None, new: Entry[P] | None) -> None:
        try:
            handler(old, new)
        except Exception:  # a handler is foreign code; its failure is its own
            entry = new or old
            logger.exception("handler failed", extra={"kind": self.name, "key": str(entry.key) if entry else ""})
