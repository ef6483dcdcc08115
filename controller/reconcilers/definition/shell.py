"""Empties CustomResourceDefinitions that are being deleted, then lets them go. Everything is read live, as for namespaces.

The definition stays until the kind's informer, too, has seen the end of every object: by these ends the garbage collector knows that what
they owned may go, and after the definition nobody could be asked any more.
"""

from __future__ import annotations

import random
from typing import Any

import orjson

from controller import contents
from controller.definitionfacts import Definition, parse_definition
from controller.informers import Informers
from controller.reconcilers.definition.plan import FINALIZER, Plan, make_plan
from lattice.api import conditions, errors, meta
from lattice.api.customresource import CustomResourceDefinition
from lattice.client.client import MERGE_PATCH, Client, object_path
from lattice.machinery import controller, outcome
from lattice.machinery.clock import Clock
from lattice.machinery.keys import ObjectKey

_LOOK_AGAIN_S = 1.0
_SOON_S = 0.1
"""While the informer catches up."""


class DefinitionReconciler:
    """See the module."""

    def __init__(self, client: Client, informers: Informers, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._definitions = informers.of(CustomResourceDefinition).cache
        self._custom = informers.custom

    async def reconcile(self, key: ObjectKey) -> outcome.Result:
        """Delete the objects of a definition that is being deleted."""
        entry = self._definitions.get(key)
        if entry is None or not entry.projection.deleting:
            return outcome.Done()
        try:
            document = orjson.loads(await self._client.send("GET", object_path(CustomResourceDefinition, key.name)))
            definition = parse_definition(document)
            if not self._is_watched(definition):
                return outcome.RequeueAfter(_SOON_S)
            plan = await self._plan(definition)
            if plan.condition is not None:
                document = await self._say(document, plan.condition)
            if plan.delete:
                kind = definition.python_type()
                problem = await contents.delete_items(self._client, kind, plan.delete)
                plan = await self._plan(definition, problem)  # most are gone by now
                if plan.condition is not None:
                    document = await self._say(document, plan.condition)
            if plan.finalize:
                if not self._has_seen_all_ends(definition):
                    return outcome.RequeueAfter(_SOON_S)
                await self._finalize(document)
        except errors.NotFoundError:
            return outcome.Done()
        return outcome.RequeueAfter(_LOOK_AGAIN_S) if plan.waits else outcome.Done()

    def _is_watched(self, definition: Definition) -> bool:
        """Whether the informer of the kind will see the ends of its objects. A kind that is not served has none."""
        if not definition.custom:
            return True
        found = self._custom.find(definition.api_versions[0], definition.kind)
        return found is not None and found.informer.has_synced

    def _has_seen_all_ends(self, definition: Definition) -> bool:
        found = self._custom.find(definition.api_versions[0], definition.kind) if definition.custom else None
        return found is None or not len(found.informer.cache)

    async def _plan(self, definition: Definition, problem: str = "") -> Plan:
        items = await contents.list_items(self._client, definition.python_type()) if definition.served else None
        return make_plan(definition, items, problem)

    async def _say(self, document: dict[str, Any], condition: meta.Condition) -> dict[str, Any]:
        """Show what the deletion waits for, if that has changed; return the definition as it is then."""
        present = tuple(meta.Condition.model_validate(item) for item in (document.get("status") or {}).get("conditions") or ())
        wanted = conditions.set_condition(present, condition, self._clock.now())
        if conditions.same_conditions(present, wanted):
            return document
        change = {"status": {"conditions": [item.to_dict() for item in wanted]}}
        return await self._patch(document, change, subresource="status")

    async def _finalize(self, document: dict[str, Any]) -> None:
        kept = [name for name in document["metadata"].get("finalizers") or () if name != FINALIZER]
        await self._patch(document, {"metadata": {"finalizers": kept or None}})

    async def _patch(self, document: dict[str, Any], change: dict[str, Any], *, subresource: str | None = None) -> dict[str, Any]:
        """Change a definition that nobody has changed since it was read."""
        metadata = document["metadata"]
        seen = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        body = orjson.dumps({**change, "metadata": {**seen, **change.get("metadata", {})}})
        path = object_path(CustomResourceDefinition, metadata["name"], subresource=subresource)
        answer: dict[str, Any] = orjson.loads(await self._client.send("PATCH", path, body=body, content_type=MERGE_PATCH))
        return answer


def build(client: Client, informers: Informers, *, clock: Clock, rng: random.Random) -> controller.Controller[ObjectKey]:
    """Return the controller of definitions."""
    source = controller.Source(informer=informers.of(CustomResourceDefinition), keys=controller.own_key)
    return controller.Controller("definition", DefinitionReconciler(client, informers, clock=clock), (source,), clock=clock, rng=rng)
