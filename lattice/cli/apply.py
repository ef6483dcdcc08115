"""``lattice apply``: make the server have what the manifests say."""

from __future__ import annotations

from typing import Any

import click
import orjson

from lattice.api import errors, workload
from lattice.cli import kinds, manifests, merge, progress
from lattice.cli.options import Connection, connected, run_async
from lattice.client.client import MERGE_PATCH, Client, collection_path, object_path


@click.command("apply")
@click.option("-f", "--filename", "files", multiple=True, required=True, metavar="FILE|DIR|-", help="Manifests; - is standard input.")
@click.option("--wait", is_flag=True, help="Wait until the Workloads run, and show what they wait for.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), default=300.0, show_default=True, help="Seconds to wait.")
@connected
def command(files: tuple[str, ...], wait: bool, timeout_s: float, connection: Connection) -> None:
    """Create or change objects from manifests.

    Fields that an earlier apply has set and the manifest has no longer are removed; others are left alone.
    """
    run_async(_apply(manifests.read(files), connection, timeout_s if wait else None))


async def _apply(found: list[manifests.Manifest], connection: Connection, timeout_s: float | None) -> None:
    async with connection.client() as (client, namespace):
        for manifest in found:
            try:
                result = await apply_one(client, manifest, namespace)
            except errors.ApiError as error:
                error.args = (f"{manifest.source}: {error}",)
                raise
            click.echo(f"{kinds.shown(manifest.kind, manifest.name)} {result}")
        if timeout_s is not None:
            for manifest in found:
                if manifest.kind is workload.Workload:
                    await progress.wait_running(client, manifest.name, str(manifest.namespace(namespace)), timeout_s)


async def apply_one(client: Client, manifest: manifests.Manifest, default_namespace: str) -> str:
    """Bring one object to its manifest; return ``created``, ``configured`` or ``unchanged``."""
    kind, namespace = manifest.kind, manifest.namespace(default_namespace)
    path = object_path(kind, manifest.name, namespace)
    modified = merge.with_last_applied(manifest.data)
    query = {"fieldManager": "lattice-cli", "fieldValidation": "Strict"}
    for _ in range(2):  # a second look, if somebody creates it between ours and our create
        try:
            current: dict[str, Any] = orjson.loads(await client.send("GET", path))
        except errors.NotFoundError:
            try:
                await client.send("POST", collection_path(kind, namespace), query=query, body=orjson.dumps(modified))
            except errors.AlreadyExistsError:
                continue
            return "created"
        break
    else:
        raise errors.ConflictError(f"{kinds.shown(kind, manifest.name)} comes and goes while it is applied; try again")
    if current["metadata"].get("deletionTimestamp"):
        raise errors.ConflictError(f"{kinds.shown(kind, manifest.name)} is being deleted; apply it again when it is gone")
    patch = merge.three_way(merge.last_applied(current), modified, current)
    if not patch:
        return "unchanged"
    body = await client.send("PATCH", path, query=query, body=orjson.dumps(patch), content_type=MERGE_PATCH)
    after = orjson.loads(body)
    # The server compares too: a list that it had filled with defaults comes out the same.
    return "unchanged" if after["metadata"]["resourceVersion"] == current["metadata"]["resourceVersion"] else "configured"
