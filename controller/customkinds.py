"""The kinds that users add: which there are, and a cache of who owns whom for each, while it is served.

:class:`CustomKinds` follows the definitions through their informer and runs one informer for each served kind that Lattice does not bring
itself. The garbage collector hears of each that starts and stops.

Guarantees: at most one informer runs for a kind; one that ends leaves no task behind; a kind that is not served any more is not found
any more, which readers take as "unknown", never as "gone". After its definition has gone, a kind's informer runs on until it has seen
the end of the last object, at most ``DRAIN_S``, because those ends are what frees the objects that they owned; or until the kind is back.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from controller.definitionfacts import Definition, parse_definition
from controller.facts import INDEX_OWNER, Facts, facts_with, owner_uids
from lattice.api import customresource, meta
from lattice.client import listwatch
from lattice.client.client import Client
from lattice.machinery.clock import Clock
from lattice.machinery.entry import Document, Entry
from lattice.machinery.informer import Informer

logger = logging.getLogger(__name__)

DRAIN_S = 5.0
"""How long the informer of a kind may outlive its definition. The ends of the objects are in the stream before the definition's."""
_DRAIN_POLL_S = 0.1


class _Id(NamedTuple):
    """What makes a running informer the right one: a definition, and the type that is watched."""

    uid: str
    kind: type[meta.Object]


@dataclass(slots=True, eq=False)
class CustomKind:
    """One kind that is watched."""

    definition: Definition
    kind: type[meta.Object]
    informer: Informer[Facts[Any]]
    task: asyncio.Task[None]


def _nothing(_document: Document) -> None:
    return None


class CustomKinds:
    """See the module.

    Args:
        client: asks the server.
        definitions: the informer of CustomResourceDefinitions, with :class:`Definition` as the detail of its facts.
        clock: measures and waits.
        rng: for jitter.
    """

    def __init__(self, client: Client, definitions: Informer[Facts[Definition]], *, clock: Clock, rng: random.Random) -> None:
        self.definitions = definitions
        self.on_start: list[Callable[[CustomKind], None]] = []
        """Called when the informer of a kind begins, before it has listed anything."""
        self.on_stop: list[Callable[[CustomKind], None]] = []
        """Called when the informer of a kind has ended."""
        self._client = client
        self._clock = clock
        self._rng = rng
        self._running: dict[_Id, CustomKind] = {}
        self._by_reference: dict[tuple[str, str], CustomKind] = {}
        """(apiVersion, kind) of what is served now."""
        self._draining: dict[type[meta.Object], asyncio.Task[None]] = {}
        self._changed = asyncio.Event()

    def items(self) -> tuple[CustomKind, ...]:
        """Return all kinds that are served, with their informers."""
        return tuple(dict.fromkeys(self._by_reference.values()))

    def find(self, api_version: str, kind: str) -> CustomKind | None:
        """Return the kind that a reference names, ``None`` if it is not served, or not known of yet."""
        return self._by_reference.get((api_version, kind))

    @property
    def synced(self) -> bool:
        """Whether the caches of all kinds that are served are filled."""
        return self.definitions.has_synced and not self._changed.is_set() and all(kind.informer.has_synced for kind in self.items())

    def knows_all(self, live: tuple[Definition, ...]) -> bool:
        """Return whether every served kind of a live list is watched, with its cache filled."""
        wanted = {(api, definition.kind) for definition in live if definition.custom for api in definition.api_versions}
        return self.synced and wanted <= self._by_reference.keys()

    async def run(self) -> None:
        """Follow the definitions until cancelled. Their informer is run by somebody else."""
        self.definitions.add_handler(self._note)
        try:
            await self.definitions.wait_synced()
            self._changed.set()
            async with asyncio.TaskGroup() as group:
                while True:
                    self._update(group)
                    await self._changed.wait()
        finally:
            self.definitions.remove_handler(self._note)
            for kind in tuple(self._running.values()):
                self._ended(kind)
            self._running.clear()
            self._by_reference.clear()

    def _note(self, _old: Entry[Facts[Definition]] | None, _new: Entry[Facts[Definition]] | None) -> None:
        self._changed.set()

    def _update(self, group: asyncio.TaskGroup) -> None:
        self._changed.clear()
        present = [entry.projection.detail for entry in self.definitions.cache.entries()]
        wanted = {_Id(definition.uid, definition.python_type()): definition for definition in present if definition.custom}
        for identity in self._running.keys() - wanted.keys():
            self._retire(group, self._running.pop(identity))
        for identity, definition in wanted.items():
            running = self._running.get(identity)
            if running is None:
                self._running[identity] = self._start(group, definition)
            else:
                running.definition = definition
        self._by_reference = {(api, kind.definition.kind): kind for kind in self._running.values() for api in kind.definition.api_versions}

    def _start(self, group: asyncio.TaskGroup, definition: Definition) -> CustomKind:
        kind = definition.python_type()
        if (draining := self._draining.pop(kind, None)) is not None:
            draining.cancel()
        informer: Informer[Facts[Any]] = Informer(
            definition.name,
            listwatch.SlimListWatch(self._client, kind),
            clock=self._clock,
            rng=self._rng,
            project=facts_with(_nothing),
            index_by={INDEX_OWNER: owner_uids},
        )
        started = CustomKind(definition, kind, informer, group.create_task(informer.run(), name=f"informer.{definition.name}"))
        logger.debug("watching a custom kind", extra={"definition": definition.name})
        for callback in self.on_start:
            callback(started)
        return started

    def _retire(self, group: asyncio.TaskGroup, kind: CustomKind) -> None:
        self._draining[kind.kind] = group.create_task(self._drain(kind), name=f"informer.{kind.definition.name}.drain")

    async def _drain(self, kind: CustomKind) -> None:
        deadline_s = self._clock.monotonic() + DRAIN_S
        try:
            while len(kind.informer.cache) and self._clock.monotonic() < deadline_s:
                await self._clock.sleep(_DRAIN_POLL_S)
        finally:
            if self._draining.get(kind.kind) is asyncio.current_task():
                del self._draining[kind.kind]
            self._ended(kind)

    def _ended(self, kind: CustomKind) -> None:
        kind.task.cancel()
        logger.debug("a custom kind is not watched any more", extra={"definition": kind.definition.name})
        for callback in self.on_stop:
            callback(kind)


async def list_definitions(client: Client) -> tuple[Definition, ...]:
    """Return all definitions, read live."""
    raw = await client.list_raw(customresource.CustomResourceDefinition)
    return tuple(parse_definition(orjson.loads(item)) for item in raw.items)
