"""Backup and restore: all or nothing, and the epoch rises."""

import gzip

import pytest

from controller.apiserver import backup
from controller.store.base import CompactedError
from controller.store.sqlite import open_sqlite
from lattice.api import configmap, errors

NS = "default"


async def saved(api_server) -> bytes:
    async with api_server.session() as session, session.get("/lattice/v1/backup") as answer:
        assert (answer.status, answer.content_type) == (200, "application/gzip")
        return await answer.read()


async def test_round_trip(api_server, client, tmp_path):
    for number in range(700):
        await client.create(configmap.ConfigMap.model_validate({"metadata": {"name": f"a{number}", "namespace": NS}}))
    data = await saved(api_server)
    store = await open_sqlite(tmp_path / "target.db")
    try:
        cluster = await backup.restore(store, data)
        assert (cluster.id, cluster.epoch) == (api_server.api.cluster.id, 2)
        before = {record.key: record.value for record in (await api_server.stores.main.list("/lattice/v1/")).records}
        after = {record.key: record.value for record in (await store.list("/lattice/v1/")).records}
        assert before.keys() == after.keys()
        different = {key for key in before if before[key] != after[key]}
        assert different == {"/lattice/v1/_meta/cluster"}
        with pytest.raises(errors.UsageError, match="already holds"):
            await backup.restore(store, data)
        assert (await backup.restore(store, data, overwrite=True)).epoch == 3
    finally:
        await store.close()


@pytest.mark.parametrize("ahead", [0, 5_000])
async def test_revisions_never_go_back(api_server, client, tmp_path, ahead):
    """Neither behind what clients of the old store have seen, nor behind the target's own."""
    for number in range(20):
        await client.create(configmap.ConfigMap.model_validate({"metadata": {"name": f"a{number}", "namespace": NS}}))
    data = await saved(api_server)
    seen = await api_server.stores.main.revision()
    store = await open_sqlite(tmp_path / "target.db")
    try:
        await store.advance(ahead)
        await backup.restore(store, data)
        records = (await store.list("/lattice/v1/")).records
        assert min(record.mod_revision for record in records) > max(seen, ahead)
        with pytest.raises(CompactedError):
            await anext(store.watch(seen))
    finally:
        await store.close()


async def test_a_damaged_backup_changes_nothing(api_server, tmp_path):
    data = await saved(api_server)
    lines = gzip.decompress(data).splitlines(keepends=True)
    store = await open_sqlite(tmp_path / "target.db")
    try:
        for broken in (
            b"",
            b"x",
            data[:-20],
            data[: len(data) // 2],
            gzip.compress(b"".join(lines[:-1])),
            gzip.compress(b"".join(lines[:1] + lines[2:])),
        ):
            with pytest.raises(errors.UsageError, match="Nothing was changed"):
                await backup.restore(store, broken)
        assert not (await store.list("/lattice/v1/")).records
    finally:
        await store.close()
