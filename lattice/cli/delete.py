"""``lattice delete``: ask for the end of objects, and wait for it."""

from __future__ import annotations

from typing import TypeAlias

import click
import orjson

from lattice.api import errors, meta, workload
from lattice.cli import kinds, manifests, progress
from lattice.cli.options import Connection, connected, run_async
from lattice.client.client import Client

Target: TypeAlias = tuple[type[meta.Object], str, str | None]


@click.command("delete")
@click.argument("what", nargs=-1)
@click.option("-f", "--filename", "files", multiple=True, metavar="FILE|DIR|-", help="Delete what these manifests name.")
@click.option("-l", "--selector", default="", help="Delete those of a KIND with these labels, such as app=web.")
@click.option("--wait/--no-wait", default=True, help="Wait until they are gone (default).")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), default=120.0, show_default=True, help="Seconds to wait for each.")
@click.option("--grace-period", "grace_s", type=click.IntRange(min=0), help="Seconds from the stop signal to SIGKILL.")
@click.option("--force", is_flag=True, help="Remove at once, without the node's word: for nodes that will not come back.")
@click.option("--ignore-not-found", is_flag=True, help="What is absent already is no error.")
@connected
def command(
    what: tuple[str, ...],
    files: tuple[str, ...],
    selector: str,
    wait: bool,
    timeout_s: float,
    grace_s: int | None,
    force: bool,
    ignore_not_found: bool,
    connection: Connection,
) -> None:
    """Delete objects: KIND NAME..., KIND/NAME..., KIND -l SELECTOR, or those of manifests. Waits until they are gone."""
    if bool(what) == bool(files):
        raise errors.UsageError("say what to delete: either KIND NAME, or -f FILE")
    if force and grace_s:
        raise errors.UsageError("--force means a grace period of 0; leave --grace-period out")
    wanted = kinds.parse(what) if what else []
    if selector and (not wanted or any(name is not None for _, name in wanted)):
        raise errors.UsageError("-l selects among all objects of a KIND; leave names and -f out")
    for kind, name in wanted:
        if name is None and not selector:
            raise errors.UsageError(f"say which {kind.PLURAL} to delete: {kind.KIND.lower()} NAME, or select some with -l")
    grace_s = 0 if force else grace_s
    missing = run_async(_delete(wanted, files, selector, connection, grace_s, timeout_s if wait else None))
    if missing and not ignore_not_found:
        raise errors.NotFoundError(f"not found: {', '.join(missing)}")


async def _delete(
    wanted: list[tuple[type[meta.Object], str | None]],
    files: tuple[str, ...],
    selector: str,
    connection: Connection,
    grace_s: int | None,
    timeout_s: float | None,
) -> list[str]:
    async with connection.client() as (client, namespace):
        if selector:
            targets = [target for kind, _ in wanted for target in await _select(client, kind, namespace, selector)]
            if not targets:
                click.echo("No objects found.", err=True)
        else:
            targets = _targets(wanted, files, namespace)
        missing, waiting = [], []
        for target in targets:
            uid = await _ask(client, target, grace_s)
            shown = kinds.shown(target[0], target[1])
            if uid is None:
                missing.append(shown)
            else:
                click.echo(f"{shown} deleted")
                waiting.append((target, uid))
        if timeout_s is not None:
            for (kind, name, where), uid in waiting:
                await progress.wait_gone(client, kind, name, where, uid, timeout_s)
                if kind is workload.Workload:
                    await progress.wait_pods_gone(client, name, str(where), timeout_s)
        return missing


def _targets(wanted: list[tuple[type[meta.Object], str | None]], files: tuple[str, ...], namespace: str) -> list[Target]:
    if files:
        return [(each.kind, each.name, each.namespace(namespace)) for each in reversed(manifests.read(files))]
    return [(kind, name, namespace if kind.NAMESPACED else None) for kind, name in wanted if name is not None]


async def _select(client: Client, kind: type[meta.Object], namespace: str, selector: str) -> list[Target]:
    where = namespace if kind.NAMESPACED else None
    listing = await client.list_raw(kind, where, label_selector=selector)
    return [(kind, str(orjson.loads(item)["metadata"]["name"]), where) for item in listing.items]


async def _ask(client: Client, target: Target, grace_s: int | None) -> str | None:
    kind, name, namespace = target
    try:
        found = await client.get(kind, name, namespace)
        await client.delete(kind, name, namespace, uid=found.uid, grace_period_s=grace_s, propagation_policy="Background")
    except errors.NotFoundError:
        return None
    return found.uid
