"""Generic create, read, update for every resource: one compare-and-swap a write, nothing acknowledged that is not stored.

A write starts from the cache's copy where there is one and reads again on a conflict (the store returns the present record with it);
an error or a no-op that came of a cached copy is confirmed against the store first. Deletion is in ``deletion.py``, reading of
collections in ``reading.py``, watches in ``watching.py``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from controller.apiserver.feed import Feed
from controller.apiserver.request import User
from controller.apiserver.resources import Resource, ResourceTable, StoreName
from controller.apiserver.watchcache import ResourceCache
from controller.apiserver.writing import WriteOptions, Writer
from controller.store import base
from lattice.api import errors, names
from lattice.machinery.clock import Clock

Object = dict[str, Any]
Change = Callable[[Object], Object]
"""Makes the new object from a copy of the present one; called again when that has changed meanwhile."""

_GENERATE_TRIES: Final = 8
_UPDATE_TRIES: Final = 32


@dataclass(frozen=True, slots=True)
class State:
    """An object as it was read. ``cached``: perhaps not the newest."""

    value: bytes
    revision: int
    cached: bool


class Admission(Protocol):
    """The last word before a write, with the user and both states of the object."""

    async def admit(self, verb: str, resource: Resource, subresource: str, user: User, new: Object | None, old: Object | None) -> None:
        """Return, or raise ``errors.ForbiddenError``, ``NotFoundError`` or ``ConflictError``."""
        ...


class Registry:
    """See the module's docstring."""

    def __init__(
        self, table: ResourceTable, feeds: Mapping[StoreName, Feed], *, clock: Clock, rng: random.Random, admission: Admission
    ) -> None:
        self.table = table
        self.feeds = feeds
        self.clock = clock
        self.rng = rng
        self.admission = admission
        self._writers = {resource: Writer(resource) for resource in table.all}

    def feed(self, resource: Resource) -> Feed:
        """Return the feed of the store that holds a resource."""
        return self.feeds[resource.store]

    def cache(self, resource: Resource) -> ResourceCache:
        """Return the cache of a resource."""
        return self.feeds[resource.store].caches[resource]

    def writer(self, resource: Resource) -> Writer:
        """Return the write pipeline of a resource."""
        return self._writers[resource]

    def not_found(self, resource: Resource, name: str) -> errors.NotFoundError:
        """Return the error for an object that does not exist."""
        return errors.NotFoundError(f'{resource.qualified} "{name}" not found', details=resource.details(name))

    def conflict(self, resource: Resource, name: str) -> errors.ConflictError:
        """Return the error for a stale resourceVersion."""
        message = (
            f'Operation cannot be fulfilled on {resource.qualified} "{name}": the object has been modified; please apply your changes to '
            "the latest version and try again"
        )
        return errors.ConflictError(message, details=resource.details(name))

    async def get(self, resource: Resource, namespace: str, name: str, *, revision: int | None = None) -> bytes:
        """Return an object in its served form: the present one, or with ``revision`` the cache's, not older than that.

        Raises:
            errors.NotFoundError: it does not exist.
        """
        key = resource.key(namespace, name)
        cache = self.cache(resource)
        if revision is not None:
            if revision:
                await self.feed(resource).wait(revision)
            entry = cache.entries.get(key)
            if entry is None:
                raise self.not_found(resource, name)
            return entry.raw
        record = await self.feed(resource).store.get(key)
        if record is None:
            raise self.not_found(resource, name)
        return cache.codec.served(record.value, record.mod_revision)

    async def read(self, resource: Resource, namespace: str, name: str, *, cached: bool = True) -> State:
        """Return the state to start a write from.

        Raises:
            errors.NotFoundError: it does not exist in the store.
        """
        key = resource.key(namespace, name)
        if cached and (entry := self.cache(resource).entries.get(key)) is not None:
            return State(entry.raw, entry.revision, cached=True)
        record = await self.feed(resource).store.get(key)
        if record is None:
            raise self.not_found(resource, name)
        return State(record.value, record.mod_revision, cached=False)

    def decode(self, resource: Resource, state: State) -> Object:
        """Return a state as an object with its resourceVersion."""
        return self.cache(resource).codec.decode(state.value, state.revision)

    async def commit(self, resource: Resource, ops: Sequence[base.Op]) -> base.TxnResult:
        """Run a transaction in the store that holds ``resource``."""
        return await self.feed(resource).store.txn(ops)

    async def create(self, resource: Resource, namespace: str, body: Any, options: WriteOptions) -> bytes:
        """Store a new object and return its served form.

        Raises:
            errors.ApiError: as the wire describes.
        """
        writer = self.writer(resource)
        obj = writer.match_request(body, namespace=namespace)
        if obj["metadata"].get("resourceVersion"):
            raise errors.InternalError("resourceVersion should not be set on objects to be created", reason="")
        writer.shape(obj, options)
        generated = not obj["metadata"].get("name")
        for attempt in range(_GENERATE_TRIES):
            if attempt:
                obj["metadata"]["name"] = ""
            writer.prepare_create(obj, now=self.clock.now(), rng=self.rng)
            writer.check_create(obj)
            await self.admission.admit("create", resource, "", options.user, obj, None)
            created = await self._put_new(resource, obj, options)
            if created is not None:
                return created
            if not generated:
                break
        name = obj["metadata"]["name"]
        raise errors.AlreadyExistsError(f'{resource.qualified} "{name}" already exists', details=resource.details(name))

    async def _put_new(self, resource: Resource, obj: Object, options: WriteOptions) -> bytes | None:
        cache = self.cache(resource)
        key = resource.key(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        value = cache.codec.encode(obj)
        if options.dry_run:
            exists = await self.feed(resource).store.get(key) is not None
            return None if exists else value
        result = await self.commit(resource, [base.Put(key, value, base.NO_REVISION, resource.ttl_s)])
        return cache.codec.served(value, result.revision) if result.committed else None

    async def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Change,
        options: WriteOptions,
        *,
        subresource: str = "",
        patched: bool = False,
    ) -> bytes:
        """Change an object and return its served form. A change of nothing writes nothing.

        Raises:
            errors.ApiError: as the wire describes; ``ConflictError`` where ``change`` returns a resourceVersion that is not the present.
        """
        state = await self.read(resource, namespace, name)
        for _ in range(_UPDATE_TRIES):
            try:
                old = self.decode(resource, state)
                new = await self._changed(
                    resource, namespace, name, change(self.decode(resource, state)), old, options, subresource, patched
                )
            except errors.ApiError:
                newer = await self._confirm(resource, namespace, name, state)
                if newer is None:
                    raise
                state = newer
                continue
            if _same(new, old):
                newer = await self._confirm(resource, namespace, name, state)
                if newer is None:
                    return self.cache(resource).codec.served(self._stored(resource, old), state.revision)
                state = newer
                continue
            outcome = await self._swap(resource, new, state, options)
            if isinstance(outcome, bytes):
                return outcome
            if outcome is None:
                raise self.not_found(resource, name)
            state = outcome
        raise self.conflict(resource, name)

    async def _changed(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Any,
        old: Object,
        options: WriteOptions,
        subresource: str,
        patched: bool,
    ) -> Object:
        writer = self.writer(resource)
        new = writer.match_request(body, namespace=namespace, name=name)
        sent = new["metadata"].pop("resourceVersion", None)
        if sent and sent != old["metadata"]["resourceVersion"]:
            raise self.conflict(resource, name)
        if not sent and not patched and not subresource and resource.group == names.GROUP:
            message = "Invalid value: 0: must be specified for an update"
            raise writer.invalid(name, [errors.Cause("FieldValueInvalid", message, "metadata.resourceVersion")])
        options.warnings.clear()
        writer.shape(new, options, patched=patched)
        previous = {**old, "metadata": {key: value for key, value in old["metadata"].items() if key != "resourceVersion"}}
        new = writer.finish_update(new, previous, subresource=subresource)
        await self.admission.admit("update", resource, subresource, options.user, new, old)
        return new

    async def _confirm(self, resource: Resource, namespace: str, name: str, state: State) -> State | None:
        """Return a newer state if ``state`` came from the cache and is not the present one."""
        if not state.cached:
            return None
        newer = await self.read(resource, namespace, name, cached=False)
        return newer if newer.revision != state.revision else None

    async def _swap(self, resource: Resource, new: Object, state: State, options: WriteOptions) -> bytes | State | None:
        """Write; return the served form, or the present state on a conflict (``None``: it is gone)."""
        codec = self.cache(resource).codec
        key = resource.key(new["metadata"].get("namespace", ""), new["metadata"]["name"])
        value = codec.encode(new)
        gone = is_finished(resource, new)
        if options.dry_run:
            return codec.served(value, state.revision)
        expected = base.Revision(state.revision)
        op: base.Op = base.Delete(key, expected) if gone else base.Put(key, value, expected, resource.ttl_s)
        result = await self.commit(resource, [op])
        if result.committed:
            return codec.served(value, state.revision if gone else result.revision)
        record = result.previous[0]
        return None if record is None else State(record.value, record.mod_revision, cached=False)

    def _stored(self, resource: Resource, obj: Object) -> bytes:
        return self.cache(resource).codec.encode(obj)


def is_finished(resource: Resource, obj: Object) -> bool:
    """Return whether an object that is being deleted has nothing left to wait for."""
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if resource.kind == "Namespace":
        return not (obj.get("spec") or {}).get("finalizers")
    if resource.kind == "Pod":
        return metadata.get("deletionGracePeriodSeconds") == 0 or not (obj.get("spec") or {}).get("nodeName")
    return True


def _same(new: Object, old: Object) -> bool:
    return {**new, "metadata": {**new["metadata"], "resourceVersion": ""}} == {
        **old,
        "metadata": {**old["metadata"], "resourceVersion": ""},
    }
