"""The end of objects: preconditions, finalizers, propagation, grace of Pods, tombstones.

* An object without finalizers goes at once. With finalizers it gets a deletionTimestamp, and goes with the write that removes the last.
* A Pod that is bound to a Node leaves the store only when its agent confirmed the end (DELETE with grace 0 by that node), or by force:
  grace 0 by anybody else writes, in the same transaction, a Tombstone that the agent will acknowledge.
* A Node takes its Tombstones along. The namespaces of the system stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import orjson

from controller.apiserver import bodies, definitions, metadata, shaping
from controller.apiserver.compiled import codec_of
from controller.apiserver.registry import Object, Registry, State
from controller.apiserver.request import ApiRequest, User, flag
from controller.apiserver.resources import Resource
from controller.store import base
from lattice.api import errors, names, node, tombstone
from lattice.api.errors import Cause

_POLICIES: Final = ("Foreground", "Background", "Orphan")
_TRIES: Final = 32
_OPS: Final = 90
"""Operations in one transaction, below the store's limit."""


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """How a deletion was asked for."""

    user: User
    grace_s: int | None = None
    uid: str = ""
    resource_version: str = ""
    propagation: str = ""
    dry_run: bool = False


def parse_delete_options(request: ApiRequest, user: User) -> DeleteOptions:
    """Read DeleteOptions from the body, and from the query where the body has none.

    Raises:
        errors.BadRequestError: the body does not parse.
        errors.InvalidError: an option has a value that does not exist.
    """
    data: Any = {}
    if request.body.strip():
        data = bodies.parse(request.body, request.headers.get("content-type", ""), what="", strict=False).value or {}
    return read_delete_options(data, request.query, user)


def read_delete_options(data: Mapping[str, Any], query: Mapping[str, str], user: User) -> DeleteOptions:
    """Read DeleteOptions that are parsed already, and from the query what they do not say.

    Raises:
        errors.BadRequestError, errors.InvalidError: an option has a value that does not exist.
    """
    grace: Any = data.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
    if isinstance(grace, str):
        digits = grace.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 10:
            raise errors.BadRequestError(f"gracePeriodSeconds: {shaping.shown(grace)} is not a number")
        grace = int(grace)
    policy = data.get("propagationPolicy", query.get("propagationPolicy")) or ""
    orphan = data.get("orphanDependents", flag(query, "orphanDependents") if "orphanDependents" in query else None)
    dry_run = data.get("dryRun") or ([query["dryRun"]] if query.get("dryRun") else [])
    preconditions = data.get("preconditions") or {}
    causes: list[Cause] = []
    if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool) or grace < 0):
        causes.append(shaping.invalid("gracePeriodSeconds", grace, "must be a number that is not negative"))
    if policy and policy not in _POLICIES:
        causes.append(
            Cause(
                "FieldValueNotSupported",
                f'Unsupported value: {shaping.shown(policy)}: supported values: "Foreground", "Background", "Orphan", "nil"',
                "propagationPolicy",
            )
        )
    elif policy and orphan is not None:
        causes.append(shaping.invalid("propagationPolicy", policy, "orphanDependents and deletionPropagation cannot be both set"))
    if not isinstance(dry_run, list) or any(value != "All" for value in dry_run):
        causes.append(shaping.unsupported("dryRun", dry_run, ["All"]))
    if not isinstance(preconditions, dict):
        causes.append(shaping.invalid("preconditions", preconditions, "must be an object"))
        preconditions = {}
    if causes:
        raise errors.InvalidError.of(kind="DeleteOptions", group="meta.k8s.io", name="", causes=causes)
    return DeleteOptions(
        user,
        grace,
        str(preconditions.get("uid") or ""),
        str(preconditions.get("resourceVersion") or ""),
        "Orphan" if orphan else policy,
        bool(dry_run),
    )


class Deleter:
    """Deletes objects through the registry's primitives."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def delete(self, resource: Resource, namespace: str, name: str, options: DeleteOptions) -> bytes:
        """Delete, or begin to; return the answer's body: a Status when the object is gone, else the object.

        Raises:
            errors.NotFoundError: it does not exist.
            errors.ConflictError: a precondition failed.
            errors.ForbiddenError: it may not be deleted.
        """
        registry = self._registry
        state = await registry.read(resource, namespace, name)
        for _ in range(_TRIES):
            old = registry.decode(resource, state)
            try:
                self._check_preconditions(resource, old, options)
                await registry.admission.admit("delete", resource, "", options.user, None, old)
            except errors.ApiError:
                fresh = await registry.read(resource, namespace, name, cached=False)
                if not state.cached or fresh.revision == state.revision:
                    raise
                state = fresh
                continue
            outcome = await self._step(resource, old, state, options)
            if isinstance(outcome, bytes):
                return outcome
            if outcome is None:
                raise registry.not_found(resource, name)
            state = outcome
        raise registry.conflict(resource, name)

    async def _step(self, resource: Resource, old: Object, state: State, options: DeleteOptions) -> bytes | State | None:
        """Do it from one state: the answer, or the newer state on a conflict, or ``None`` if the object is gone."""
        registry = self._registry
        codec = codec_of(resource)
        key = resource.key(old["metadata"].get("namespace", ""), old["metadata"]["name"])
        expected = base.Revision(state.revision)
        marked = self._mark(resource, old, options)
        others: list[base.Op] = []
        if resource.native == "Pod" and self._is_forced(old, options):
            others = await self._tombstone(old)
        elif resource.native == "Node" and marked is None and not options.dry_run:
            others = await self._tombstones_of(old["metadata"]["name"])
        ops: list[base.Op] = []
        if marked is None:
            ops = [base.Delete(key, expected), *others]
        elif marked is not old or others:
            ops = [base.Put(key, codec.encode(marked), expected, resource.ttl_s), *others]
        if options.dry_run or not ops:
            return codec.served(codec.encode(marked), state.revision) if marked is not None else _success(resource, old)
        result = await registry.commit(resource, ops)
        if result.committed:
            return _success(resource, old) if marked is None else codec.served(codec.encode(marked), result.revision)
        record = result.previous[0]
        return None if record is None else State(record.value, record.mod_revision, cached=False)

    def _mark(self, resource: Resource, old: Object, options: DeleteOptions) -> Object | None:
        """Return the object to store: ``None`` to remove it, ``old`` itself to leave it as it is."""
        before = old["metadata"]
        finalizers = _propagate(list(before.get("finalizers") or ()), options.propagation)
        if resource.native == definitions.KIND and "deletionTimestamp" not in before and definitions.FINALIZER not in finalizers:
            finalizers.append(definitions.FINALIZER)  # its objects go first
        grace_s = self._grace_s(resource, old, options)
        waits_for_namespace = resource.native == "Namespace" and (old.get("spec") or {}).get("finalizers")
        if grace_s == 0 and not finalizers and not waits_for_namespace:
            return None
        after = {**before}
        if finalizers:
            after["finalizers"] = finalizers
        else:
            after.pop("finalizers", None)
        pending_s = before.get("deletionGracePeriodSeconds")
        if "deletionTimestamp" not in before or (pending_s is not None and grace_s < pending_s):
            end = self._registry.clock.now() + timedelta(seconds=grace_s)
            after["deletionTimestamp"] = metadata.timestamp(end)
            if resource.native != "Namespace":
                after["deletionGracePeriodSeconds"] = grace_s
            if "generation" in before and "deletionTimestamp" not in before:
                after["generation"] = before["generation"] + 1
        if after == before:
            return old
        marked = {**old, "metadata": after}
        if resource.native == "Namespace":
            marked["status"] = {**(old.get("status") or {}), "phase": "Terminating"}
        elif resource.native == definitions.KIND:
            marked["status"] = definitions.mark_terminating(old, self._registry.clock.now())
        return marked

    @staticmethod
    def _grace_s(resource: Resource, old: Object, options: DeleteOptions) -> int:
        spec = old.get("spec") or {}
        if resource.native != "Pod" or not spec.get("nodeName"):
            return 0
        if options.grace_s is not None:
            return min(options.grace_s, 2**31)
        if (pending_s := old["metadata"].get("deletionGracePeriodSeconds")) is not None:
            return int(pending_s)
        return min(int(spec.get("terminationGracePeriodSeconds", 30)), 2**31)

    def _is_forced(self, old: Object, options: DeleteOptions) -> bool:
        node = (old.get("spec") or {}).get("nodeName")
        return bool(node) and self._grace_s_zero(old, options) and options.user.name != names.NODE_USER_PREFIX + str(node)

    @staticmethod
    def _grace_s_zero(old: Object, options: DeleteOptions) -> bool:
        if options.grace_s is not None:
            return options.grace_s == 0
        spec = old.get("spec") or {}
        return bool(spec.get("terminationGracePeriodSeconds", 30) == 0 and not old["metadata"].get("deletionTimestamp"))

    async def _tombstone(self, pod: Object) -> list[base.Op]:
        registry = self._registry
        resource = registry.table.of(tombstone.Tombstone)
        name = pod["spec"]["nodeName"]
        uid = pod["metadata"]["uid"]
        nodes = registry.table.of(node.Node)
        if await registry.feed(nodes).store.get(nodes.key("", name)) is None:
            return []
        key = resource.key("", uid)
        if await registry.feed(resource).store.get(key) is not None:
            return []
        spec = {"nodeName": name, "podUid": uid, "podNamespace": pod["metadata"]["namespace"], "podName": pod["metadata"]["name"]}
        obj: Object = {"metadata": {"name": uid}, "spec": spec}
        metadata.fill_new(obj["metadata"], now=registry.clock.now(), rng=registry.rng)
        return [base.Put(key, codec_of(resource).encode(obj), base.NO_REVISION)]

    async def _tombstones_of(self, node: str) -> list[base.Op]:
        registry = self._registry
        resource = registry.table.of(tombstone.Tombstone)
        await registry.feed(resource).fresh()
        entries = registry.cache(resource).entries.values()
        keys = [entry.key for entry in entries if entry.fields.get("spec.nodeName") == node]
        for start in range(_OPS, len(keys), _OPS):
            await registry.commit(resource, [base.Delete(key) for key in keys[start : start + _OPS]])
        return [base.Delete(key) for key in keys[:_OPS]]

    @staticmethod
    def _check_preconditions(resource: Resource, old: Object, options: DeleteOptions) -> None:
        data = old["metadata"]
        kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
        if options.uid and options.uid != data["uid"]:
            what = (
                f"the UID in the precondition ({options.uid}) does not match the UID in record ({data['uid']}). "
                "The object might have been deleted and then recreated"
            )
        elif options.resource_version and options.resource_version != data["resourceVersion"]:
            what = (
                f"the ResourceVersion in the precondition ({options.resource_version}) does not match the ResourceVersion in record "
                f"({data['resourceVersion']}). The object might have been modified"
            )
        else:
            return
        details = {**resource.details(data["name"]), "kind": resource.kind}
        raise errors.ConflictError(f'Operation cannot be fulfilled on {kind} "{data["name"]}": {what}', details=details)


def _propagate(finalizers: list[str], policy: str) -> list[str]:
    """Return the finalizers as the propagation policy wants them; no policy leaves what is pending."""
    if not policy:
        return finalizers
    kept = [name for name in finalizers if name not in {names.FINALIZER_FOREGROUND, names.FINALIZER_ORPHAN}]
    if policy == "Foreground":
        return [*kept, names.FINALIZER_FOREGROUND]
    if policy == "Orphan":
        return [*kept, names.FINALIZER_ORPHAN]
    return kept


def _success(resource: Resource, old: Mapping[str, Any]) -> bytes:
    data = old["metadata"]
    details = resource.details(data["name"], uid=data["uid"])
    return orjson.dumps({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
