"""Empties namespaces that are being deleted, then lets them go. Everything is read live: this deletes, and a cache may lag."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from controller import contents, customkinds
from controller.facts import Item
from controller.informers import Informers
from controller.reconcilers.namespace.plan import FINALIZER, Plan, Remaining, make_plan, namespaced_kinds
from lattice.api import conditions, errors, meta, namespace, pod
from lattice.client.client import Client
from lattice.machinery import controller, outcome
from lattice.machinery.clock import Clock
from lattice.machinery.entry import Entry
from lattice.machinery.keys import ObjectKey

_LOOK_AGAIN_S = 1.0
"""While objects end. The end of a Pod is an event; this is for the other kinds."""


class NamespaceReconciler:
    """See the module."""

    def __init__(self, client: Client, informers: Informers, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._namespaces = informers.of(namespace.Namespace).cache

    async def reconcile(self, key: ObjectKey) -> outcome.Result:
        """Delete what is left in a namespace that is being deleted."""
        entry = self._namespaces.get(key)
        if entry is None or not entry.projection.deleting:
            return outcome.Done()
        try:
            found = await self._client.get(namespace.Namespace, key.name)
        except errors.NotFoundError:
            return outcome.Done()
        plan = await self._empty(found)
        if plan.finalize:
            await self._finalize(found)
            return outcome.Done()
        await self._say(found, plan.conditions)
        return outcome.RequeueAfter(_LOOK_AGAIN_S) if plan.delete else outcome.Done()

    async def _empty(self, found: namespace.Namespace) -> Plan:
        """Delete what is there, and look again at once: most of it is gone by then."""
        problems: dict[type[meta.Object], str] = {}
        plan = Plan()
        for first in (True, False):
            # Every time: a definition may be new. In a namespace that is going, none of its objects can be.
            definitions = await customkinds.list_definitions(self._client)
            custom = [definition.python_type() for definition in definitions if definition.custom and definition.namespaced]
            found_items = await self._look(found.name, namespaced_kinds(custom))
            plan = make_plan(found, {kind: _remaining(items, problems.get(kind, "")) for kind, items in found_items.items()})
            if not plan.delete or not first:
                break
            for kind in plan.delete:
                problems[kind] = await contents.delete_items(self._client, kind, found_items[kind])
        return plan

    async def _look(self, name: str, kinds: Iterable[type[meta.Object]]) -> Mapping[type[meta.Object], tuple[Item, ...]]:
        return {kind: await contents.list_items(self._client, kind, name) or () for kind in kinds}

    async def _say(self, found: namespace.Namespace, wanted: Iterable[meta.Condition]) -> None:
        """Show what the deletion waits for, if that has changed."""
        present = found.status.conditions
        merged = conditions.merge_conditions(present, wanted, self._clock.now())
        if conditions.same_conditions(merged, present):
            return
        change = {"metadata": {"uid": found.uid}, "status": {"conditions": [c.to_dict() for c in merged]}}
        try:
            await self._client.patch(namespace.Namespace, found.name, None, change, subresource="status")
        except errors.NotFoundError:
            return

    async def _finalize(self, found: namespace.Namespace) -> None:
        kept = tuple(name for name in found.spec.finalizers if name != FINALIZER)
        body = meta.changed(found, spec=namespace.NamespaceSpec(finalizers=kept)).to_json()
        try:
            await self._client.send("PUT", f"/api/v1/namespaces/{found.name}/finalize", body=body)
        except errors.NotFoundError:
            return


def _remaining(items: tuple[Item, ...], problem: str) -> Remaining:
    finalizers: Counter[str] = Counter()
    for item in items:
        finalizers.update(item.finalizers)
    return Remaining(len(items), finalizers, problem)


def build(client: Client, informers: Informers, *, clock: Clock, rng: random.Random) -> controller.Controller[ObjectKey]:
    """Return the controller of namespaces."""
    namespaces = informers.of(namespace.Namespace)

    def of_pod(entry: Entry[Any]) -> Iterable[ObjectKey]:
        key = ObjectKey("", entry.key.namespace)
        scope = namespaces.cache.get(key)
        return (key,) if scope is not None and scope.projection.deleting else ()

    return controller.Controller(
        "namespace",
        NamespaceReconciler(client, informers, clock=clock),
        (
            controller.Source(informer=namespaces, keys=controller.own_key),
            controller.Source(informer=informers.of(pod.Pod), keys=of_pod, resync=False),
        ),
        clock=clock,
        rng=rng,
    )
