"""The etcd back end: for a control plane of several servers, or where an etcd is at hand. etcd 3.4.23 or newer, better 3.5.13 or 3.6.

Made by ``opening.py``; implements ``controller.store.base.Store``, which has the contract. Revisions are etcd's own, so they are one for
all processes that use it. What is behind: ``etcd_channel`` (calls, deadlines, endpoints), ``etcd_watch`` (the watch that resumes),
``etcd_leases`` (time to live), ``etcd_messages`` (wire format), ``etcd_errors`` (meaning of failures). Only they know gRPC.

Keys: ours begin with ``/lattice/``; in etcd that is replaced by the configured prefix (by default the same), so that clusters can share an
etcd. Foreign keys are never read or written; their revisions are seen as empty batches.

It leaves to whom runs etcd: quota, defragmentation, backups (docs/reference/store.md).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final

from controller.store import base, etcd_errors, etcd_messages, etcd_watch
from controller.store.etcd_channel import EtcdChannel, EtcdConfig
from controller.store.etcd_leases import Leases
from lattice.api.errors import UsageError
from lattice.machinery.clock import Clock

__all__ = ["EtcdConfig", "EtcdStore"]

logger = logging.getLogger(__name__)

ROOT: Final = "/lattice/"
"""Begin of every key of ours, as the API server names them."""
MAX_OPS: Final = 100
"""etcd takes 128 comparisons or operations by default."""
_PAGE: Final = 5_000
"""Records in one answer of etcd: some 5 MB at 1 KiB each."""
_LIST_S: Final = 30.0
_UPKEEP_S: Final = 120.0
_CONNECT_S: Final = 10.0


class EtcdStore:
    """See the module's docstring, and ``controller.store.base.Store`` for the contract. Made by :meth:`connect`."""

    def __init__(self, channel: EtcdChannel, prefix: str, clock: Clock) -> None:
        self._channel = channel
        self._prefix = prefix.encode()
        self._clock = clock
        self._leases = Leases(channel, clock)

    @classmethod
    async def connect(cls, config: EtcdConfig, clock: Clock) -> EtcdStore:
        """Connect, and look at the version.

        Raises:
            UsageError: the configuration makes no sense.
            base.StoreUnavailableError: no endpoint answers.
        """
        if len(config.prefix) < 2 or not config.prefix.endswith("/"):
            raise UsageError(f"the prefix in etcd ends with a slash and is not the slash alone, such as /lattice/, not {config.prefix!r}")
        channel = EtcdChannel(config, clock)
        try:
            status = await channel.call("Status", etcd_messages.StatusRequest(), deadline_s=_CONNECT_S)
            store = cls(channel, config.prefix, clock)
            await store.revision()  # a member that has lost its cluster still knows its version
        except BaseException:
            await channel.close()
            raise
        logger.info("connected to etcd", extra={"version": status.version, "prefix": config.prefix})
        if loses_writes(status.version):
            logger.warning("this etcd can lose acknowledged writes in a crash; use 3.5.13 or newer", extra={"version": status.version})
        for problem in status.errors:
            logger.warning("etcd reports a problem", extra={"problem": problem})
        return store

    async def txn(self, ops: Sequence[base.Op]) -> base.TxnResult:
        """See :class:`controller.store.base.Store`."""
        _validate(ops)
        try:
            answer = await self._channel.call("Txn", await self._request(ops), write=True)
        except etcd_errors.LeaseGoneError:
            self._leases.forget()
            answer = await self._channel.call("Txn", await self._request(ops), write=True)
        return base.TxnResult(
            answer.succeeded,
            base.Revision(answer.header.revision),
            tuple(self._previous(response) for response in answer.responses),
        )

    async def get(self, key: str) -> base.Record | None:
        """See :class:`controller.store.base.Store`."""
        answer = await self._channel.call("Range", etcd_messages.RangeRequest(key=self._wire(key)))
        return self._record(answer.kvs[0]) if answer.kvs else None

    async def list(
        self,
        prefix: str,
        *,
        limit: int | None = None,
        start_after: str | None = None,
        revision: base.Revision | None = None,
    ) -> base.ListResult:
        """See :class:`controller.store.base.Store`. A long answer comes in pages of one revision."""
        start, end = self._bounds(prefix, start_after)
        at = revision or 0
        records: list[base.Record] = []
        while True:
            wanted = _PAGE if limit is None else min(_PAGE, limit - len(records))
            request = etcd_messages.RangeRequest(key=start, range_end=end, limit=max(wanted, 1), revision=at, count_only=start >= end)
            try:
                answer = await self._channel.call("Range", request, deadline_s=_LIST_S)
            except etcd_errors.PastRevisionError:
                if revision is None:  # compacted while we turned the pages: begin again
                    start, end = self._bounds(prefix, start_after)
                    at, records = 0, []
                    continue
                raise base.CompactedError(await etcd_watch.compacted_revision(self._channel)) from None
            except etcd_errors.FutureCompactionError:
                raise base.FutureRevisionError(f"revision {at} has not been written yet") from None
            at = at or answer.header.revision
            if start >= end:
                return base.ListResult((), base.Revision(at), more=False)
            records.extend(map(self._record, answer.kvs[:wanted]))
            more = bool(answer.more or len(answer.kvs) > wanted)
            if not more or (limit is not None and len(records) >= limit):
                return base.ListResult(tuple(records), base.Revision(at), more)
            start = answer.kvs[-1].key + b"\0"

    async def revision(self) -> base.Revision:
        """See :class:`controller.store.base.Store`: a read that goes through the leader and counts nothing."""
        answer = await self._channel.call("Range", etcd_messages.RangeRequest(key=self._prefix, count_only=True))
        return base.Revision(answer.header.revision)

    async def watch(self, after: base.Revision) -> AsyncGenerator[base.WatchBatch]:
        """See :class:`controller.store.base.Store`."""
        if after > (present := await self.revision()):  # etcd would wait, and then skip what a restored history has up to there
            raise base.FutureRevisionError(f"revision {after} has not been written yet; etcd is at {present}")
        async with aclosing(etcd_watch.watch_all(self._channel, after, self._clock)) as lists:
            async for events in lists:
                ours = tuple(self._event(event) for event in events if event.kv.key.startswith(self._prefix))
                yield base.WatchBatch(base.Revision(events[-1].kv.mod_revision), ours)

    async def compact(self, revision: base.Revision) -> None:
        """See :class:`controller.store.base.Store`. It is etcd's history that is forgotten, for all who use this etcd."""
        target = min(revision, await self.revision())
        try:
            await self._channel.call("Compaction", etcd_messages.CompactionRequest(revision=target), write=True, deadline_s=_LIST_S)
        except etcd_errors.PastRevisionError:
            logger.debug("etcd is compacted up to there already", extra={"revision": target})

    async def advance(self, revision: base.Revision) -> bool:
        """See :class:`controller.store.base.Store`: changes nothing here, etcd counts for itself."""
        return await self.revision() >= revision

    async def size_bytes(self) -> int:
        """See :class:`controller.store.base.Store`: the database of the member that answers."""
        return int((await self._channel.call("Status", etcd_messages.StatusRequest())).dbSize)

    async def reclaim(self) -> int:
        """Free space after the quota was reached: forget all history, defragment each member, lift the alarm. Return the size in bytes.

        A member does not answer while it is defragmented, so this is for an operator's command, not for a timer.
        """
        await self.compact(await self.revision())
        for member in self._channel.members:
            await self._channel.call("Defragment", etcd_messages.DefragmentRequest(), write=True, deadline_s=_UPKEEP_S, member=member)
        alarms = await self._channel.call("Alarm", etcd_messages.AlarmRequest(action=etcd_messages.ALARM_GET))
        for raised in alarms.alarms:
            if raised.alarm == etcd_messages.NOSPACE:
                request = etcd_messages.AlarmRequest(
                    action=etcd_messages.ALARM_DEACTIVATE, memberID=raised.memberID, alarm=etcd_messages.NOSPACE
                )
                await self._channel.call("Alarm", request, write=True)
        return await self.size_bytes()

    async def close(self) -> None:
        """See :class:`controller.store.base.Store`."""
        await self._channel.close()

    async def _request(self, ops: Sequence[base.Op]) -> Any:
        """Return the transaction: the records before come back in the same answer, whichever way it goes."""
        request = etcd_messages.TxnRequest()
        for op in ops:
            key = self._wire(op.key)
            if op.expected is not None:
                request.compare.add(result=etcd_messages.EQUAL, target=etcd_messages.MOD, key=key, mod_revision=op.expected)
            if isinstance(op, base.Put):
                put = request.success.add().request_put
                put.key, put.value, put.prev_kv = key, op.value, True
                if op.ttl_s is not None:
                    put.lease = await self._leases.lease_for(op.ttl_s)
            else:
                deletion = request.success.add().request_delete_range
                deletion.key, deletion.prev_kv = key, True
            request.failure.add().request_range.key = key
        return request

    def _previous(self, response: Any) -> base.Record | None:
        match response.WhichOneof("response"):
            case "response_put":
                put = response.response_put
                return self._record(put.prev_kv) if put.HasField("prev_kv") else None
            case "response_delete_range":
                found = response.response_delete_range.prev_kvs
            case _:
                found = response.response_range.kvs
        return self._record(found[0]) if found else None

    def _event(self, event: Any) -> base.StoreEvent:
        deleted = event.type == etcd_messages.DELETE
        return base.StoreEvent(
            self._name(event.kv.key),
            base.Revision(event.kv.mod_revision),
            None if deleted else self._record(event.kv),
            self._record(event.prev_kv) if event.HasField("prev_kv") else None,
        )

    def _record(self, found: Any) -> base.Record:
        return base.Record(self._name(found.key), found.value, base.Revision(found.mod_revision), base.Revision(found.create_revision))

    def _wire(self, key: str) -> bytes:
        if not key.startswith(ROOT):
            raise ValueError(f"a key of the store begins with {ROOT}, unlike {key!r}")
        return self._prefix + key[len(ROOT) :].encode()

    def _name(self, wire: bytes) -> str:
        return ROOT + wire[len(self._prefix) :].decode()

    def _bounds(self, prefix: str, start_after: str | None) -> tuple[bytes, bytes]:
        """Return the half-open range of wire keys, inside what is ours."""
        start = self._prefix if ROOT.startswith(prefix) else self._wire(prefix)
        end = _after(start)
        if start_after is not None and start_after >= ROOT:
            start = max(start, self._wire(start_after) + b"\0" if start_after.startswith(ROOT) else end)
        return start, end


def loses_writes(version: str) -> bool:
    """Return whether etcd of this version is known to lose acknowledged writes (etcd#13766, #14370) in a crash."""
    major, minor, patch = (int("".join(filter(str.isdigit, part)) or 0) for part in (*version.split("-")[0].split("."), "0", "0")[:3])
    return (major, minor) < (3, 4) or ((major, minor) == (3, 4) and patch < 21) or ((major, minor) == (3, 5) and patch < 5)


def _after(prefix: bytes) -> bytes:
    """Return the first key above all that begin with ``prefix``, which ends with no 0xff: it is UTF-8."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def _validate(ops: Sequence[base.Op]) -> None:
    if not 1 <= len(ops) <= MAX_OPS or len({op.key for op in ops}) != len(ops):
        raise ValueError(f"a transaction has 1 to {MAX_OPS} operations on different keys, not {len(ops)}")
    for op in ops:
        if isinstance(op, base.Put) and len(op.value) > base.MAX_VALUE_BYTES:
            raise base.ValueTooLargeError(f"the value of {op.key} has {len(op.value)} bytes; at most {base.MAX_VALUE_BYTES} fit")
