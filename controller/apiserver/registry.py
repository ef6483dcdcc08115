"""Generic create, read, update for every resource: one compare-and-swap a write, nothing acknowledged that is not stored.

A write starts from the cache's copy where there is one and reads again on a conflict (the store returns the present record with it);
an error or a no-op that came of a cached copy is confirmed against the store first. Deletion is in ``deletion.py``, reading of
collections in ``reading.py``, watches in ``watching.py``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import orjson

from controller.apiserver import gometadata
from controller.apiserver.aside import LARGE_BYTES, aside
from controller.apiserver.compiled import codec_of
from controller.apiserver.feed import Feed
from controller.apiserver.fieldmanager.comparing import same_json
from controller.apiserver.request import User
from controller.apiserver.resources import Resource, ResourceTable, StoreName
from controller.apiserver.structural.gotext import canonical
from controller.apiserver.watchcache import ResourceCache
from controller.apiserver.writing import WriteOptions, Writer
from controller.store import base
from lattice.api import errors
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

    def feed(self, resource: Resource) -> Feed:
        """Return the feed of the store that holds a resource."""
        return self.feeds[resource.store]

    def cache(self, resource: Resource) -> ResourceCache:
        """Return the cache of a resource.

        Raises:
            errors.NotFoundError: its definition has gone meanwhile.
        """
        try:
            return self.feeds[resource.store].cache(resource)
        except KeyError:
            raise errors.NotFoundError("the server could not find the requested resource", details=resource.details()) from None

    def writer(self, resource: Resource) -> Writer:
        """Return the write pipeline of a resource."""
        writer: Writer | None = resource.memo.get("writer")
        if writer is None:
            writer = resource.memo["writer"] = Writer(resource)
        return writer

    async def _prepared(self, resource: Resource) -> Writer:
        """As :meth:`writer`; a schema that a user wrote, and that may be large, is compiled aside."""
        if resource.custom and "writer" not in resource.memo:
            return await aside(LARGE_BYTES, lambda: self.writer(resource))
        return self.writer(resource)

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
            return codec_of(resource).view(entry.raw)
        record = await self.feed(resource).store.get(key)
        if record is None:
            raise self.not_found(resource, name)
        entry = cache.entries.get(key)
        if entry is not None and entry.revision == record.mod_revision:
            return codec_of(resource).view(entry.raw)
        return orjson.dumps(codec_of(resource).decode(record.value, record.mod_revision))

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
        return codec_of(resource).decode(state.value, state.revision, present=state.cached)

    async def commit(self, resource: Resource, ops: Sequence[base.Op]) -> base.TxnResult:
        """Run a transaction in the store that holds ``resource``."""
        return await self.feed(resource).store.txn(ops)

    async def create(self, resource: Resource, namespace: str, body: Any, options: WriteOptions, *, owned: bool = False) -> bytes:
        """Store a new object and return its served form. ``owned``: its managedFields are complete (server-side apply).

        Raises:
            errors.ApiError: as the wire describes.
        """
        writer = await self._prepared(resource)
        obj = writer.match_request(body, namespace=namespace)
        if obj["metadata"].get("resourceVersion"):
            raise errors.InternalError("resourceVersion should not be set on objects to be created", reason="")
        if resource.terminating:
            raise errors.MethodNotAllowedError(
                "create not allowed while custom resource definition is terminating", details=resource.details()
            )
        await aside(options.size_bytes, lambda: self._shape_new(writer, obj, options, owned=owned))
        generated = not obj["metadata"].get("name")
        for attempt in range(_GENERATE_TRIES):
            if attempt:
                obj["metadata"]["name"] = ""
            writer.prepare_create(obj, now=self.clock.now(), rng=self.rng)
            await aside(options.size_bytes, lambda: writer.check_create(obj))
            if not attempt:
                writer.warn(obj, None, options)
            await self.admission.admit("create", resource, "", options.user, obj, None)
            created = await self._put_new(resource, obj, options)
            if created is not None:
                return created
            if not generated:
                break
        name = obj["metadata"]["name"]
        ending = (entry := self.cache(resource).entries.get(resource.key(obj["metadata"].get("namespace", ""), name))) and entry.deleting
        message = f'{"object is being deleted: " if ending else ""}{resource.qualified} "{name}" already exists'
        raise errors.AlreadyExistsError(message, details=resource.details(name))

    def _shape_new(self, writer: Writer, obj: Object, options: WriteOptions, *, owned: bool) -> None:
        writer.shape(obj, options)
        if not owned:
            writer.own(obj, None, options, now=self.clock.now())

    async def _put_new(self, resource: Resource, obj: Object, options: WriteOptions) -> bytes | None:
        self.cache(resource)  # the definition may be gone
        codec = codec_of(resource)
        key = resource.key(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        value = codec.encode(obj)
        if options.dry_run:
            exists = await self.feed(resource).store.get(key) is not None
            return None if exists else orjson.dumps(obj)
        result = await self.commit(resource, [base.Put(key, value, base.NO_REVISION, resource.ttl_s)])
        return codec.served(value, result.revision) if result.committed else None

    async def apply(
        self, resource: Resource, namespace: str, name: str, body: Any, options: WriteOptions, *, subresource: str = ""
    ) -> tuple[bool, bytes]:
        """Server-side apply: merge ``body`` into the object, or create it. Return whether it was created, and its served form.

        Raises:
            errors.ApiError: as the wire describes; ``ConflictError`` with a cause for each field that another manager owns.
        """
        writer = await self._prepared(resource)
        if (found := _type_of(body)) != _type_of({"apiVersion": resource.group_version, "kind": resource.kind}):
            raise errors.BadRequestError(f"invalid object type: {found}")
        text = orjson.dumps(writer.match_request(body, namespace=namespace, name=name))
        for _ in range(_UPDATE_TRIES):
            try:
                updated = await self.update(
                    resource,
                    namespace,
                    name,
                    lambda live: writer.merge(live, orjson.loads(text), options, now=self.clock.now(), subresource=subresource),
                    options,
                    subresource=subresource,
                    patched=True,
                    owned=True,
                )
                return False, updated
            except errors.NotFoundError:
                if subresource or resource.terminating or "create" not in resource.verbs:
                    raise
            applied = orjson.loads(text)
            if uid := applied["metadata"].get("uid"):
                message = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                prefix = f'Operation cannot be fulfilled on {resource.qualified} "{name}": '
                raise errors.ConflictError(prefix + message, details=resource.details(name))
            new = await aside(options.size_bytes, partial(writer.merge, None, applied, options, now=self.clock.now()))
            try:
                return True, await self.create(resource, namespace, new, options, owned=True)
            except errors.AlreadyExistsError:
                continue
        raise self.conflict(resource, name)

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
        owned: bool = False,
    ) -> bytes:
        """Change an object and return its served form. A change of nothing writes nothing.

        ``patched``: the new state was made from the present one. ``owned``: so were its managedFields.

        Raises:
            errors.ApiError: as the wire describes; ``ConflictError`` where ``change`` returns a resourceVersion that is not the present.
        """
        state = await self.read(resource, namespace, name)
        await self._prepared(resource)
        judge = partial(self._judge, resource, namespace, name, change, options, subresource, patched, owned)
        for _ in range(_UPDATE_TRIES):
            try:
                old, new, same = await aside(options.size_bytes + len(state.value), partial(judge, state))
                await self.admission.admit("update", resource, subresource, options.user, new, old)
            except errors.ApiError:
                newer = await self._confirm(resource, namespace, name, state)
                if newer is None:
                    raise
                state = newer
                continue
            if same:
                newer = await self._confirm(resource, namespace, name, state)
                if newer is None:
                    return orjson.dumps(old)
                state = newer
                continue
            outcome = await self._swap(resource, new, state, options)
            if isinstance(outcome, bytes):
                return outcome
            if outcome is None:
                raise self.not_found(resource, name)
            state = outcome
        raise self.conflict(resource, name)

    def _judge(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Change,
        options: WriteOptions,
        subresource: str,
        patched: bool,
        owned: bool,
        state: State,
    ) -> tuple[Object, Object, bool]:
        """Return the present object, what ``change`` makes of it, and whether they are the same."""
        old = self.decode(resource, state)
        new = self._changed(resource, namespace, name, change(self.decode(resource, state)), old, options, subresource, patched, owned)
        return old, new, _same(new, old)

    def _changed(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Any,
        old: Object,
        options: WriteOptions,
        subresource: str,
        patched: bool,
        owned: bool,
    ) -> Object:
        writer = self.writer(resource)
        # kubectl asks for Strict: what it is told shows the result of the patch before defaults
        by_patch = patched and not owned
        shown = canonical(body) if by_patch and options.field_validation == "Strict" else b""
        if by_patch and resource.custom and isinstance(body, dict):
            if not body.get("kind"):
                text = canonical(body)
                raise writer.not_patched(text, f"Object 'Kind' is missing in '{text.decode()}'")
            if problem := gometadata.problem_of(body.get("metadata")):
                raise writer.not_patched(canonical(body), problem)
            if body.get("apiVersion") not in (None, "", resource.group_version):
                raise writer.of_another_version(body, name)
        new = writer.match_request(body, namespace=namespace, name=name, named=subresource != "scale")
        sent = new["metadata"].pop("resourceVersion", None)
        if sent and sent != "0" and sent != old["metadata"]["resourceVersion"]:
            raise self.conflict(resource, name)
        if sent in (None, "", "0") and resource.custom and subresource != "scale":
            cause = errors.Cause("FieldValueInvalid", "Invalid value: 0: must be specified for an update", "metadata.resourceVersion")
            raise errors.InvalidError.of(kind=resource.plural, group=resource.group, name=name, causes=[cause])
        options.warnings.clear()
        writer.shape(new, options, patched=shown)
        previous = {**old, "metadata": {key: value for key, value in old["metadata"].items() if key != "resourceVersion"}}
        new = writer.finish_update(new, previous, subresource=subresource, patched=patched)
        writer.warn(new, old, options)
        if not owned and subresource != "binding" and not _same(new, old):
            writer.own(new, old, options, now=self.clock.now(), subresource=subresource)
        return new

    async def _confirm(self, resource: Resource, namespace: str, name: str, state: State) -> State | None:
        """Return a newer state if ``state`` came from the cache and is not the present one."""
        if not state.cached:
            return None
        newer = await self.read(resource, namespace, name, cached=False)
        return newer if newer.revision != state.revision else None

    async def _swap(self, resource: Resource, new: Object, state: State, options: WriteOptions) -> bytes | State | None:
        """Write; return the served form, or the present state on a conflict (``None``: it is gone)."""
        codec = codec_of(resource)
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


def is_finished(resource: Resource, obj: Object) -> bool:
    """Return whether an object that is being deleted has nothing left to wait for."""
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if resource.native == "Namespace":
        return not (obj.get("spec") or {}).get("finalizers")
    if resource.native == "Pod":
        return metadata.get("deletionGracePeriodSeconds") == 0 or not (obj.get("spec") or {}).get("nodeName")
    return True


def _type_of(body: Mapping[str, Any]) -> str:
    """Return the type of an object as Kubernetes writes it: ``example.dev/v1, Kind=Specimen``, of the core group ``/v1, Kind=Pod``."""
    version, kind = body.get("apiVersion"), body.get("kind")
    group, slash, rest = version.partition("/") if isinstance(version, str) and version.count("/") < 2 else ("", "", "")
    return f"{group}/{rest}, Kind={kind or ''}" if slash else f"/{group}, Kind={kind or ''}"


def _same(new: Object, old: Object) -> bool:
    """Return whether nothing would change: equal as JSON, where true is not 1; the resourceVersion does not count."""
    left = {**new, "metadata": {**new["metadata"], "resourceVersion": ""}}
    right = {**old, "metadata": {**old["metadata"], "resourceVersion": ""}}
    return left == right and same_json(left, right)  # the first is fast and nearly always settles it
