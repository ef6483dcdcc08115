"""Backup and restore of the main store: one stream of gzipped lines at one revision, verified as a whole before anything is written.

``GET /lattice/v1/backup`` (admin only) streams: a header ``{format, clusterID, epoch, revision, time}``, one record a line
``{key, value}`` (the value as base64), a footer ``{count, sha256}`` over all record lines. ``restore`` refuses a damaged stream and a
target that is not empty, and raises the epoch above both the backup's and the target's, so that agents know that history went back.
Leases and Events (the ephemeral store) are not part of it: they describe a moment that is over.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import logging
import zlib
from collections.abc import AsyncGenerator, Iterable
from typing import Any, Final

import orjson

from controller.apiserver import bootstrap, metadata
from controller.apiserver.request import ApiResponse, ApiStream
from controller.apiserver.resources import META_CLUSTER, PREFIX
from controller.store import base as store_base
from lattice.api import errors
from lattice.machinery.clock import Clock

logger = logging.getLogger(__name__)

PATH: Final = "/lattice/v1/backup"
FORMAT: Final = "lattice-backup-v1"
CONTENT_TYPE: Final = "application/gzip"
_PAGE: Final = 500
_OPS: Final = 90
_BATCH_BYTES: Final = 1_000_000
_REVISIONS_SINCE: Final = 1_000_000
"""Room for what was written after the backup: clients have seen those revisions, and they must not come again with another content."""


async def answer(store: store_base.Store, cluster: bootstrap.Cluster, clock: Clock, *, without: tuple[str, ...]) -> ApiResponse | ApiStream:
    """Return the stream of a backup at the present revision.

    Args:
        store: the main one.
        cluster: who is backed up.
        clock: stamps the header.
        without: prefixes of the ephemeral resources, which share the store where it is etcd.
    """
    first = await store.list(PREFIX, limit=_PAGE)
    header = {
        "format": FORMAT,
        "clusterID": cluster.id,
        "epoch": cluster.epoch,
        "revision": first.revision,
        "time": metadata.timestamp(clock.now()),
    }
    return ApiStream(_lines(store, first, header, without), lambda _callback: None, CONTENT_TYPE)


async def _lines(
    store: store_base.Store, page: store_base.ListResult, header: dict[str, Any], without: tuple[str, ...]
) -> AsyncGenerator[list[bytes]]:
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    digest = hashlib.sha256()
    count = 0
    yield [packer.compress(orjson.dumps(header) + b"\n")]
    revision = page.revision
    while True:
        for record in page.records:
            if record.key.startswith(without):
                continue
            line = orjson.dumps({"key": record.key, "value": base64.b64encode(record.value).decode()}) + b"\n"
            digest.update(line)
            count += 1
            if packed := packer.compress(line):
                yield [packed]
        if not page.more:
            break
        page = await store.list(PREFIX, limit=_PAGE, start_after=page.records[-1].key, revision=revision)
    footer = orjson.dumps({"count": count, "sha256": digest.hexdigest()}) + b"\n"
    yield [packer.compress(footer) + packer.flush()]


class Backup:
    """A verified backup: header and records.

    Raises:
        errors.UsageError: the bytes are not a whole backup.
    """

    def __init__(self, data: bytes) -> None:
        try:
            lines = gzip.decompress(data).splitlines(keepends=True)
            self.header: dict[str, Any] = orjson.loads(lines[0])
            footer = orjson.loads(lines[-1])
            intact = footer == {"count": len(lines) - 2, "sha256": hashlib.sha256(b"".join(lines[1:-1])).hexdigest()}
            self.records = [_record(line) for line in lines[1:-1]]
            self.epoch = int(self.header["epoch"])
            self.revision = int(self.header["revision"])
            self.cluster_id = str(self.header["clusterID"])
            known = self.header["format"] == FORMAT
        except (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError, AttributeError) as error:
            raise errors.UsageError(f"this is not a whole Lattice backup: {error}. Nothing was changed") from error
        if not known:
            raise errors.UsageError(f"this backup is not of the format {FORMAT}: use the Lattice release that made it. Nothing was changed")
        if not intact:
            raise errors.UsageError("this backup is damaged: its check sum does not match. Nothing was changed")


def _record(line: bytes) -> tuple[str, bytes]:
    data = orjson.loads(line)
    key = data["key"]
    if not isinstance(key, str) or not key.startswith(PREFIX):
        raise ValueError("it has a key of another program")
    return key, base64.b64decode(data["value"], validate=True)


async def restore(store: store_base.Store, data: bytes, *, overwrite: bool = False) -> bootstrap.Cluster:
    """Write a backup into ``store`` and return the cluster's identity with its new epoch.

    Resumable: run again after a failure with ``overwrite``. The identity is written last, so that a half-restored store has none of
    the backup's. Revisions go on above all that clients of the old store have seen, where the store allows it (SQLite does), so that a
    watch from before is told 410 Gone instead of being shown other objects under the numbers it knows.

    Raises:
        errors.UsageError: the backup is damaged, or the store holds objects and ``overwrite`` was not given.
    """
    backup = Backup(data)
    present = await store.list(PREFIX)
    if present.records and not overwrite:
        raise errors.UsageError(
            f"the store already holds {len(present.records)} records; restore into an empty one, or say --replace to replace them"
        )
    record = await store.get(META_CLUSTER)
    target_epoch = bootstrap.parse_cluster(record.value).epoch if record is not None else 0
    cluster = bootstrap.Cluster(backup.cluster_id, max(backup.epoch, target_epoch) + 1)
    kept = {key for key, _ in backup.records}
    doomed: list[store_base.Op] = [store_base.Delete(old.key) for old in present.records if old.key not in kept]
    wanted: list[store_base.Op] = [store_base.Put(key, value) for key, value in backup.records if key != META_CLUSTER]
    floor = store_base.Revision(max(backup.revision, present.revision) + _REVISIONS_SINCE)
    if not await store.advance(floor):
        logger.warning("this store counts its revisions itself: restart its clients", extra={"wanted": floor, "present": present.revision})
    for ops in _batches([*doomed, *wanted]):
        await store.txn(ops)
    identity = orjson.dumps({"id": cluster.id, "epoch": cluster.epoch})
    await store.txn([store_base.Put(META_CLUSTER, identity)])
    return cluster


def _batches(ops: Iterable[store_base.Op]) -> Iterable[list[store_base.Op]]:
    batch: list[store_base.Op] = []
    size_bytes = 0
    for op in ops:
        weight = len(op.value) if isinstance(op, store_base.Put) else 0
        if batch and (len(batch) >= _OPS or size_bytes + weight > _BATCH_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(op)
        size_bytes += weight
    if batch:
        yield batch
