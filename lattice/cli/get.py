"""``lattice get``: lists and objects, as a table or as they are."""

from __future__ import annotations

import sys
from contextlib import aclosing
from typing import Any

import click
import orjson
import yaml

from lattice.api import errors, meta
from lattice.cli import kinds, printers
from lattice.cli.options import Connection, connected, run_async
from lattice.client.client import Client, object_path
from lattice.machinery.clock import SystemClock


@click.command("get")
@click.argument("what", nargs=-1, required=True)
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")
@click.option("-l", "--selector", default="", help="Only objects with these labels, such as app=web,tier!=test.")
@click.option("-o", "--output", type=click.Choice(["table", "wide", "yaml", "json", "name"]), default="table", show_default=True)
@click.option("-w", "--watch", is_flag=True, help="Go on printing changes.")
@connected
def command(what: tuple[str, ...], all_namespaces: bool, selector: str, output: str, watch: bool, connection: Connection) -> None:
    """List objects, or show some: KIND, KIND NAME... or KIND/NAME...

    Short names: wl (workload), po (pod), no (node), ns, cm, pvc, pv, sc, ev (event).
    """
    wanted = kinds.parse(what)
    if watch and (len(wanted) != 1 or wanted[0][1] is not None):
        raise errors.UsageError("--watch takes one KIND and no name")
    run_async(_get(wanted, connection, all_namespaces=all_namespaces, selector=selector, output=output, watch=watch))


async def _get(
    wanted: list[tuple[type[meta.Object], str | None]],
    connection: Connection,
    *,
    all_namespaces: bool,
    selector: str,
    output: str,
    watch: bool,
) -> None:
    async with connection.client() as (client, default):
        namespace = None if all_namespaces else default
        single = len(wanted) == 1 and wanted[0][1] is not None
        groups: dict[type[meta.Object], list[dict[str, Any]]] = {}
        version = ""
        for kind, name in wanted:
            found = groups.setdefault(kind, [])
            if name is None:
                listing = await client.list_raw(kind, namespace, label_selector=selector)
                version = listing.resource_version
                found += [orjson.loads(item) for item in listing.items]
            else:
                where = default if kind.NAMESPACED else None
                found.append(orjson.loads(await client.send("GET", object_path(kind, name, where))))
        _print(groups, output, single=single, namespaces=all_namespaces)
        if watch:
            await _watch(client, wanted[0][0], namespace, version, selector=selector, output=output)


def _print(groups: dict[type[meta.Object], list[dict[str, Any]]], output: str, *, single: bool, namespaces: bool) -> None:
    objects = [each for found in groups.values() for each in found]
    if output in ("yaml", "json"):
        content: Any = objects[0] if single else {"apiVersion": "v1", "kind": "List", "items": objects}
        text = orjson.dumps(content, option=orjson.OPT_INDENT_2).decode() if output == "json" else yaml.safe_dump(content, sort_keys=False)
        click.echo(text.rstrip("\n"))
        return
    if output == "name":
        for kind, found in groups.items():
            for each in found:
                click.echo(kinds.shown(kind, each["metadata"]["name"]))
        return
    for number, (kind, found) in enumerate(groups.items()):
        if not found:
            click.echo(f"No {kind.PLURAL} found.", err=True)
            continue
        if number:
            click.echo()
        shown = namespaces and kind.NAMESPACED
        titles, body = printers.rows(kind.KIND, found, now=SystemClock().now(), wide=output == "wide", namespaces=shown)
        printers.print_table(titles, body)


async def _watch(client: Client, kind: type[meta.Object], namespace: str | None, version: str, *, selector: str, output: str) -> None:
    async with aclosing(client.watch_raw(kind, namespace, resource_version=version, label_selector=selector)) as events:
        async for event in events:
            if event.type == "BOOKMARK":
                continue
            obj = orjson.loads(event.raw)
            if output == "name":
                click.echo(kinds.shown(kind, obj["metadata"]["name"]))
            elif output == "json":
                click.echo(event.raw)
            elif output == "yaml":
                click.echo(f"---\n{yaml.safe_dump(obj, sort_keys=False)}".rstrip("\n"))
            else:
                shown = namespace is None and kind.NAMESPACED
                _, body = printers.rows(kind.KIND, [obj], now=SystemClock().now(), wide=output == "wide", namespaces=shown)
                click.echo("   ".join([*body[0], *(["(deleted)"] if event.type == "DELETED" else [])]))
            sys.stdout.flush()
