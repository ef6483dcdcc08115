"""The garbage collector: nothing outlives its owners.

Its key is a kind and an object's name; it is asked for an object that changed, for all that a changed object owns, and for all that own
it. The graph is not kept: it is the ``owner`` index of the shared informers. Before anything is deleted because an owner is absent from a
cache, that owner is read from the API; an owner of a kind that is not built in is taken to be there.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, assert_never

from controller.facts import Facts, Owner
from controller.informers import INDEX_OWNER, AnyInformer, Informers
from controller.reconcilers.garbage.plan import Delete, DropOwners, Observed, OrphanDependents, OwnerState, RemoveFinalizer, make_plan
from lattice.api import errors, meta, names, scheme
from lattice.client.client import Client
from lattice.machinery import controller, outcome
from lattice.machinery.clock import Clock
from lattice.machinery.entry import Entry
from lattice.machinery.keys import ObjectKey
from lattice.machinery.worker import WorkerSettings

logger = logging.getLogger(__name__)


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

    async def reconcile(self, key: GarbageKey) -> outcome.Result:
        """Delete the object if its owners are gone; let it go if it only waits for us."""
        kind = scheme.kind_of(key.api_version, key.kind)
        entry = self._informers[kind].cache.get(key.key) if kind is not None and kind in self._informers else None
        if kind is None or entry is None:
            return outcome.Done()
        facts: Facts[object] = entry.projection
        if not facts.owners and not facts.deleting:
            return outcome.Done()
        dependents = list(self.dependents(entry.uid))
        observed = Observed(
            facts=facts,
            owners=() if facts.deleting else tuple([(owner, await self._owner_state(owner, key.key.namespace)) for owner in facts.owners]),
            dependents=len(dependents),
            blocking_dependents=sum(_blocks(dependent.projection, entry.uid) for _, dependent in dependents),
        )
        for action in make_plan(observed):
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
        return outcome.Done()

    def dependents(self, uid: str) -> Iterator[tuple[type[meta.Object], Entry[Facts[Any]]]]:
        """Return all objects that name ``uid`` as an owner."""
        for kind, informer in self._informers.items():
            for entry in informer.cache.by_index(INDEX_OWNER, uid):
                yield kind, entry

    async def _owner_state(self, owner: Owner, namespace: str) -> OwnerState:
        kind = scheme.kind_of(owner.api_version, owner.kind)
        if kind is None:
            return OwnerState.PRESENT  # a kind that we cannot read: never delete on what we do not know
        key = ObjectKey(namespace if kind.NAMESPACED else "", owner.name)
        entry = self._informers[kind].cache.get(key) if kind in self._informers else None
        if entry is not None and entry.uid == owner.uid:
            waiting = entry.projection.deleting and names.FINALIZER_FOREGROUND in entry.projection.finalizers
            return OwnerState.WAITING if waiting and owner.block_deletion else OwnerState.PRESENT
        if kind.NAMESPACED and not namespace:
            return OwnerState.PRESENT  # a cluster-scoped object cannot have such an owner; Kubernetes leaves it alone too
        try:
            live = await self._client.get(kind, owner.name, namespace if kind.NAMESPACED else None)
        except errors.NotFoundError:
            return OwnerState.GONE
        return OwnerState.PRESENT if live.uid == owner.uid else OwnerState.GONE

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
            owner_kind = scheme.kind_of(owner.api_version, owner.kind)
            if owner_kind is not None:
                namespace = entry.key.namespace if owner_kind.NAMESPACED else ""
                yield GarbageKey(owner.api_version, owner.kind, ObjectKey(namespace, owner.name))
        for dependent_kind, dependent in collector.dependents(entry.uid):
            yield GarbageKey(dependent_kind.group_version(), dependent_kind.KIND, dependent.key)

    def source(kind: type[meta.Object], informer: AnyInformer) -> controller.Source[GarbageKey]:
        return controller.Source(informer=informer, keys=lambda entry: keys_for(kind, entry), resync=True)

    sources = [source(kind, informer) for kind, informer in informers.items()]
    return controller.Controller("garbage", collector, sources, clock=clock, rng=rng, settings=WorkerSettings(concurrency=4))
