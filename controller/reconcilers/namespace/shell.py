"""Empties namespaces that are being deleted, then lets them go. Everything is read live: this deletes, and a cache may lag."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from controller.informers import Informers
from controller.reconcilers.namespace.plan import FINALIZER, make_plan, namespaced_kinds
from lattice.api import conditions, errors, meta, namespace, pod
from lattice.client.client import Client
from lattice.machinery import controller, outcome
from lattice.machinery.clock import Clock
from lattice.machinery.entry import Entry
from lattice.machinery.keys import ObjectKey

CONDITION = "NamespaceContentRemaining"
"""Kubernetes' name for it."""
_LOOK_AGAIN_S = 1.0
"""While Pods end. Their going is an event; this is for the other kinds."""


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
        remaining: dict[type[meta.Object], tuple[meta.Object, ...]] = {}
        for kind in namespaced_kinds():
            remaining[kind] = (await self._client.list(kind, key.name)).items
        plan = make_plan(found, {kind: len(items) for kind, items in remaining.items()})
        if plan.finalize:
            await self._finalize(found)
            return outcome.Done()
        await self._say(found, plan.message)
        for kind in plan.delete:
            for item in remaining[kind]:
                if item.metadata.deletion_timestamp is None:
                    await self._delete(kind, item)
        return outcome.RequeueAfter(_LOOK_AGAIN_S) if plan.delete else outcome.Done()

    async def _delete(self, kind: type[meta.Object], item: meta.Object) -> None:
        try:
            await self._client.delete(kind, item.name, item.namespace, uid=item.uid, propagation_policy="Background")
        except errors.NotFoundError:
            return

    async def _say(self, found: namespace.Namespace, message: str) -> None:
        """Show what the deletion waits for, if that has changed."""
        if not message:
            return
        condition = meta.Condition(type=CONDITION, status="True", reason="SomeResourcesRemain", message=message)
        wanted = conditions.set_condition(found.status.conditions, condition, self._clock.now())
        if conditions.same_conditions(wanted, found.status.conditions):
            return
        change = {"metadata": {"uid": found.uid}, "status": {"conditions": [c.to_dict() for c in wanted]}}
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
