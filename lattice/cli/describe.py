"""``lattice describe``: one object for a person: fields, conditions, events. Secret values never show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click
import orjson

from lattice.api import errors, event, meta, pod
from lattice.cli import kinds, printers
from lattice.cli.options import Connection, connected, run_async
from lattice.client.client import Client, object_path

_HIDDEN = frozenset(
    {"managedFields", "uid", "generation", "resourceVersion", "name", "namespace", "labels", "annotations", "creationTimestamp"}
)
_SECRET = frozenset({"data", "stringData"})


@click.command("describe")
@click.argument("what", nargs=-1, required=True)
@connected
def command(what: tuple[str, ...], connection: Connection) -> None:
    """Show one object with its conditions and events: KIND NAME or KIND/NAME."""
    wanted = kinds.parse(what)
    if any(name is None for _, name in wanted):
        raise errors.UsageError("say which one: KIND NAME; `lattice get KIND` lists them")
    run_async(_describe([(kind, str(name)) for kind, name in wanted], connection))


async def _describe(wanted: list[tuple[type[meta.Object], str]], connection: Connection) -> None:
    async with connection.client() as (client, namespace):
        for number, (kind, name) in enumerate(wanted):
            if number:
                click.echo()
            obj = orjson.loads(await client.send("GET", object_path(kind, name, namespace if kind.NAMESPACED else None)))
            for line in render(kind.KIND, obj):
                click.echo(line)
            await _events(client, obj)
            if kind is pod.Pod and (obj.get("spec") or {}).get("nodeName"):
                await _failures(client, obj)


def render(kind: str, obj: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of an object."""
    metadata = obj["metadata"]
    yield f"Name:         {printers.safe(metadata['name'])}"
    if metadata.get("namespace"):
        yield f"Namespace:    {metadata['namespace']}"
    yield f"Kind:         {kind}"
    yield f"Created:      {metadata.get('creationTimestamp', '-')}"
    for title, key in (("Labels", "labels"), ("Annotations", "annotations")):
        shown = [f"{name}={value}" for name, value in (metadata.get(key) or {}).items() if not name.endswith("last-applied-configuration")]
        yield f"{f'{title}:':<14}{printers.safe(', '.join(shown)) or '-'}"
    yield from _tree({key: value for key, value in metadata.items() if key not in _HIDDEN}, "")
    for section in (key for key in obj if key not in ("apiVersion", "kind", "metadata", "status")):
        value = obj[section]
        if kind == "Secret" and section in _SECRET:
            value = {key: f"{len(text) * 3 // 4} bytes" for key, text in (value or {}).items()}
        yield from _tree({section: value}, "")
    status = dict(obj.get("status") or {})
    conditions = status.pop("conditions", ())
    if status:
        yield from _tree({"status": status}, "")
    if conditions:
        yield "Conditions:"
        for each in conditions:
            text = " ".join(part for part in (each.get("reason", ""), each.get("message", "")) if part)
            yield printers.safe(f"  {each.get('type', ''):<16} {each.get('status', ''):<8} {text}").rstrip()


def _tree(value: Any, indent: str) -> Iterator[str]:
    """Yield an outline: as YAML to the eye, with control characters taken out."""
    for key, inner in value.items():
        title = f"{key[:1].upper()}{key[1:]}" if not indent else key
        if isinstance(inner, Mapping) and inner:
            yield f"{indent}{title}:"
            yield from _tree(inner, f"{indent}  ")
        elif isinstance(inner, list) and inner:
            yield f"{indent}{title}:"
            for item in inner:
                if isinstance(item, Mapping):
                    first, *others = list(_tree(item, f"{indent}    ")) or [f"{indent}    {{}}"]
                    yield f"{indent}  - {first.strip()}"
                    yield from others
                else:
                    yield printers.safe(f"{indent}  - {item}")
        elif inner not in (None, {}, []):
            yield printers.safe(f"{indent}{title}: {inner}")


async def _failures(client: Client, obj: Mapping[str, Any]) -> None:
    """Print what the Pod's node has on record of its failures, the newest first."""
    path = f"{object_path(pod.Pod, obj['metadata']['name'], obj['metadata']['namespace'])}/failures"
    try:
        found = orjson.loads(await client.send("GET", path)).get("failures") or []
    except errors.ForbiddenError:
        click.echo("Failures:     (you may not read them)")
        return
    except errors.NotFoundError:  # the Pod has just gone, or the server is older than this program
        return
    except errors.LatticeError as error:
        click.echo(printers.safe(f"Failures:     (the node cannot be asked: {str(error)[:200]})"))
        return
    if not found:
        click.echo("Failures:     none")
        return
    from nodeagent.failures import record

    click.echo("Failures:")
    for line in record.lines_of([record.from_dict(each) for each in found]):
        click.echo(printers.safe(f"  {line}"))


async def _events(client: Client, obj: Mapping[str, Any]) -> None:
    uid, namespace = obj["metadata"].get("uid", ""), obj["metadata"].get("namespace")
    try:
        found = await client.list_raw(event.Event, namespace, field_selector=f"involvedObject.uid={uid}")
    except errors.ForbiddenError:
        click.echo("Events:       (you may not read them)")
        return
    events = sorted((orjson.loads(item) for item in found.items), key=lambda each: str(each.get("lastTimestamp") or ""))
    if not events:
        click.echo("Events:       none")
        return
    click.echo("Events:")
    for each in events:
        times = f" (x{each['count']})" if (each.get("count") or 1) > 1 else ""
        click.echo(
            printers.safe(
                f"  {each.get('lastTimestamp', '')} {each.get('type', '')} {each.get('reason', '')}: {each.get('message', '')}{times}"
            )
        )
