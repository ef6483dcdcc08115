"""The garbage collector: nothing outlives its owners, of whatever kinds they are.

Its key is a kind and an object's name; it is asked for an object that changed, for all that a changed object owns, and for all that own
it. The graph is not kept: it is the ``owner`` index of the informers, those of the kinds that users add included, which come and go.

Nothing is deleted because an owner is absent from a cache: either the watch has told the owner's end (a uid does not come back), or the
owner is read from the API. An owner of a kind that is not served is unknown, not gone. An object that waits for its dependents is let go
only when every kind that is served has its cache filled: a dependent could be of any of them.
"""

from __future__ import annotations

import logging
import random
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, assert_never

import orjson

from controller import customkinds
from controller.facts import INDEX_OWNER, Facts, Owner
from controller.informers import AnyInformer, Informers
from controller.reconcilers.garbage.plan import Delete, DropOwners, Observed, OrphanDependents, OwnerState, RemoveFinalizer, make_plan
from lattice.api import errors, meta, names, scheme
from lattice.client.client import Client, object_path
from lattice.machinery import controller, outcome
from lattice.machinery.clock import Clock
from lattice.machinery.entry import Entry
from lattice.machinery.keys import ObjectKey
from lattice.machinery.tasks import breathe
from lattice.machinery.worker import WorkerSettings

logger = logging.getLogger(__name__)

_REMEMBERED_ENDS: Final = 20_000
"""Uids of objects whose end was seen: some minutes of a busy cluster, about 2 MB. For older ones the API is asked."""
_SLICE: Final = 20
"""Owners that are looked at before others get their turn."""
_LOOK_AGAIN_S: Final = 1.0
"""While the caches of kinds that users add are being filled."""


class GarbageKey(NamedTuple):
    """Names an object of any kind."""

    api_version: str
    kind: str
    key: ObjectKey

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


class GarbageCollector:
    """See the module."""

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._informers: Mapping[type[meta.Object], AnyInformer] = dict(informers.items())
        self._custom = informers.custom
        self._ends: OrderedDict[str, None] = OrderedDict()

    async def reconcile(self, key: GarbageKey) -> outcome.Result:
        """Delete the object if its owners are gone; let it go if it only waits for us."""
        found = self.find(key.api_version, key.kind)
        entry = found[1].cache.get(key.key) if found is not None else None
        if found is None or entry is None:
            return outcome.Done()
        kind = found[0]
        facts: Facts[object] = entry.projection
        if not facts.owners and not facts.deleting:
            return outcome.Done()
        dependents = list(self.dependents(entry.uid))
        observed = Observed(
            facts=facts,
            owners=() if facts.deleting else await self._owner_states(facts.owners, key.key.namespace),
            dependents=len(dependents),
            blocking_dependents=sum(_blocks(dependent.projection, entry.uid) for _, dependent in dependents),
        )
        actions = make_plan(observed)
        if any(isinstance(action, OrphanDependents | RemoveFinalizer) for action in actions) and not await self._sees_all_kinds():
            return outcome.RequeueAfter(_LOOK_AGAIN_S)
        for action in actions:
            match action:
                case Delete(foreground):
                    await self._delete(kind, entry, foreground=foreground)
                case DropOwners(uids):
                    await self._drop_owners(kind, entry, frozenset(uids))
                case OrphanDependents():
                    for dependent_kind, dependent in dependents:
                        await self._drop_owners(dependent_kind, dependent, frozenset({entry.uid}))
                case RemoveFinalizer(name):
                    await self._remove_finalizer(kind, entry, name)
                case _:
                    assert_never(action)
        unknown = any(state is OwnerState.UNKNOWN for _, state in observed.owners)
        return outcome.RequeueAfter(_LOOK_AGAIN_S) if unknown and not self._custom.synced else outcome.Done()

    def find(self, api_version: str, kind: str) -> tuple[type[meta.Object], AnyInformer] | None:
        """Return the kind that a reference names and its informer, ``None`` if nobody watches it."""
        own = scheme.kind_of(api_version, kind)
        if own is not None:
            return (own, self._informers[own]) if own in self._informers else None
        custom = self._custom.find(api_version, kind)
        return None if custom is None else (custom.kind, custom.informer)

    def dependents(self, uid: str) -> Iterator[tuple[type[meta.Object], Entry[Facts[Any]]]]:
        """Return all objects that name ``uid`` as an owner."""
        for kind, informer in self._informers.items():
            for entry in informer.cache.by_index(INDEX_OWNER, uid):
                yield kind, entry
        for custom in self._custom.items():
            for entry in custom.informer.cache.by_index(INDEX_OWNER, uid):
                yield custom.kind, entry

    def note(self, old: Entry[Facts[Any]] | None, new: Entry[Facts[Any]] | None) -> None:
        """Remember the end of an object. A handler of informers."""
        if new is None and old is not None:
            self._ends[old.uid] = None
            if len(self._ends) > _REMEMBERED_ENDS:
                self._ends.popitem(last=False)

    async def _sees_all_kinds(self) -> bool:
        """Whether every dependent of every kind would be seen. Reads the definitions live: one may be new."""
        return self._custom.synced and self._custom.knows_all(await customkinds.list_definitions(self._client))

    async def _owner_states(self, owners: Iterable[Owner], namespace: str) -> tuple[tuple[Owner, OwnerState], ...]:
        found = []
        for place, owner in enumerate(owners, start=1):
            found.append((owner, await self._owner_state(owner, namespace)))
            if not place % _SLICE:
                await breathe()  # a read within the process waits for nothing, and one object may name thousands of owners
        return tuple(found)

    async def _owner_state(self, owner: Owner, namespace: str) -> OwnerState:
        if owner.uid in self._ends:
            return OwnerState.GONE
        kind = scheme.kind_of(owner.api_version, owner.kind)
        found = self.find(owner.api_version, owner.kind)
        if found is not None:
            kind, informer = found
            entry = informer.cache.get(ObjectKey(namespace if kind.NAMESPACED else "", owner.name))
            if entry is not None and entry.uid == owner.uid:
                waiting = entry.projection.deleting and names.FINALIZER_FOREGROUND in entry.projection.finalizers
                return OwnerState.WAITING if waiting and owner.block_deletion else OwnerState.PRESENT
        if kind is None:
            return OwnerState.UNKNOWN
        if kind.NAMESPACED and not namespace:
            return OwnerState.UNKNOWN  # a cluster-scoped object cannot have such an owner; Kubernetes leaves it alone too
        return await self._live_state(kind, owner, namespace)

    async def _live_state(self, kind: type[meta.Object], owner: Owner, namespace: str) -> OwnerState:
        path = object_path(kind, owner.name, namespace if kind.NAMESPACED else None)
        try:
            live = orjson.loads(await self._client.send("GET", path))
        except errors.NotFoundError as error:
            # Without details it is the path that is not served: the kind has just gone, and nothing is said of the object.
            return OwnerState.GONE if error.details else OwnerState.UNKNOWN
        return OwnerState.PRESENT if live["metadata"]["uid"] == owner.uid else OwnerState.GONE

    async def _delete(self, kind: type[meta.Object], entry: Entry[Any], *, foreground: bool) -> None:
        policy = "Foreground" if foreground else "Background"
        extra = {"kind": kind.KIND, "key": str(entry.key), "uid": entry.uid, "policy": policy}
        logger.info("deleting an object whose owners are gone", extra=extra)
        try:
            # The version too: if somebody has given it another owner since, this is not ours to delete.
            await self._client.delete(
                kind,
                entry.key.name,
                entry.key.namespace or None,
                uid=entry.uid,
                resource_version=entry.resource_version,
                propagation_policy=policy,
            )
        except errors.NotFoundError:
            return

    async def _drop_owners(self, kind: type[meta.Object], entry: Entry[Any], uids: frozenset[str]) -> None:
        references = entry.document()["metadata"].get("ownerReferences") or ()
        kept = [reference for reference in references if reference.get("uid") not in uids]
        await self._patch_metadata(kind, entry, {"ownerReferences": kept or None})

    async def _remove_finalizer(self, kind: type[meta.Object], entry: Entry[Any], name: str) -> None:
        kept = [finalizer for finalizer in entry.projection.finalizers if finalizer != name]
        await self._patch_metadata(kind, entry, {"finalizers": kept or None})

    async def _patch_metadata(self, kind: type[meta.Object], entry: Entry[Any], change: Mapping[str, Any]) -> None:
        metadata = {"uid": entry.uid, "resourceVersion": entry.resource_version, **change}
        try:
            await self._client.patch(kind, entry.key.name, entry.key.namespace or None, {"metadata": metadata})
        except errors.NotFoundError:
            return


def _blocks(facts: Facts[Any], uid: str) -> bool:
    return any(owner.uid == uid and owner.block_deletion for owner in facts.owners)


def build(client: Client, informers: Informers, *, clock: Clock, rng: random.Random) -> controller.Controller[GarbageKey]:
    """Return the controller of the garbage collector."""
    collector = GarbageCollector(client, informers)

    def keys_for(kind: type[meta.Object], entry: Entry[Any]) -> Iterable[GarbageKey]:
        if entry.projection.owners or entry.projection.deleting:
            yield GarbageKey(kind.group_version(), kind.KIND, entry.key)
        for owner in entry.projection.owners:
            found = collector.find(owner.api_version, owner.kind)
            if found is not None:
                namespace = entry.key.namespace if found[0].NAMESPACED else ""
                yield GarbageKey(owner.api_version, owner.kind, ObjectKey(namespace, owner.name))
        for dependent_kind, dependent in collector.dependents(entry.uid):
            yield GarbageKey(dependent_kind.group_version(), dependent_kind.KIND, dependent.key)

    def source(kind: type[meta.Object], informer: AnyInformer) -> controller.Source[GarbageKey]:
        informer.add_handler(collector.note)
        return controller.Source(informer=informer, keys=lambda entry: keys_for(kind, entry), resync=True)

    garbage = controller.Controller(
        "garbage",
        collector,
        [source(kind, informer) for kind, informer in informers.items()],
        clock=clock,
        rng=rng,
        settings=WorkerSettings(concurrency=4),
    )
    custom: dict[customkinds.CustomKind, controller.Source[GarbageKey]] = {}

    def start(kind: customkinds.CustomKind) -> None:
        custom[kind] = source(kind.kind, kind.informer)
        garbage.add_source(custom[kind])

    def stop(kind: customkinds.CustomKind) -> None:
        if (ended := custom.pop(kind, None)) is not None:
            garbage.remove_source(ended)

    informers.custom.on_start.append(start)
    informers.custom.on_stop.append(stop)
    return garbage
