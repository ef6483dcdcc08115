"""``lattice node status|pause|resume|prune|leave``: the owner's controls of the agent on this machine, over its local socket.

What removes anything shows it first and asks; ``--yes`` answers in advance, ``--dry-run`` only shows. The agent removes exactly what was
shown, or nothing: the listing's digest goes back with the order.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson

from lattice.api import errors
from lattice.cli import printers
from lattice.cli.localapi import LocalAgent, connect
from lattice.cli.options import run_async
from nodeagent.settings import reading

F = TypeVar("F", bound=Callable[..., Any])

_YES = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Only show.")


def local(function: F) -> F:
    """Add the options that name the agent; the function gets its socket's path as ``agent``."""

    @click.option("--data-dir", type=click.Path(file_okay=False), help="The node's data directory; default as for the agent.")
    @click.option("--config", type=click.Path(dir_okay=False), help="The node's settings file; default as for the agent.")
    @click.option("--api-socket", type=click.Path(dir_okay=False), help="The agent's socket; default agent.sock in the data directory.")
    @click.pass_context
    @functools.wraps(function)
    def wrapper(ctx: click.Context, /, *args: Any, **kwargs: Any) -> Any:
        outer = ctx.meta.get("lattice.cli.node.flags", {})
        given = {name: kwargs.pop(name) or outer.get(name) for name in ("data_dir", "config", "api_socket")}
        return function(*args, agent=reading.read(given, os.environ).config.socket_path(), **kwargs)

    return wrapper  # type: ignore[return-value]


@click.command("status")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to print it.")
@click.option("--settings", is_flag=True, help="Show the settings that the agent goes by, and where each comes from.")
@click.option("--failures", is_flag=True, help="Show the record of failures, the newest first.")
@local
def status(output: str, settings: bool, failures: bool, agent: Path) -> None:
    """Show what runs on this machine, and what it uses."""
    if settings and failures:
        raise errors.UsageError("choose one of --settings and --failures")
    path, shown = ("/v1/settings", _settings) if settings else ("/v1/failures", _failures) if failures else ("/v1/status", _status)
    answer = run_async(_ask(agent, "GET", path))
    if output == "json":
        click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
        return
    for line in shown(answer):
        click.echo(printers.safe(line))


@click.command("pause")
@click.option("--stop", is_flag=True, help="Also stop what runs, until resume. Nothing is deleted.")
@click.option("--reason", default="", help="Why; shown on the Node.")
@local
def pause(stop: bool, reason: str, agent: Path) -> None:
    """Let nothing new start on this machine, until resume.

    What runs goes on, unless --stop. The node shows it as Paused and gets no new Pods; what is stopped waits here, it is not moved. To have
    the Pods elsewhere, drain the node instead.
    """
    run_async(_ask(agent, "POST", "/v1/pause", {"stop": stop, "reason": reason}))
    click.echo("paused: nothing new starts here" + (", and what runs is stopped" if stop else "; what runs goes on"))


@click.command("resume")
@local
def resume(agent: Path) -> None:
    """End a pause."""
    answer = run_async(_ask(agent, "POST", "/v1/resume", {}))
    click.echo("resumed" if answer.get("resumed") else "was not paused")


@click.command("prune")
@click.option("--volumes", is_flag=True, help="Also remove volumes with data that the server does not know.")
@_DRY_RUN
@_YES
@local
def prune(volumes: bool, dry_run: bool, yes: bool, agent: Path) -> None:
    """Remove what the agent has on this machine and the server does not know.

    It is shown before; containers, volumes and networks that the agent has not made are never touched.
    """
    run_async(_prune(agent, volumes=volumes, dry_run=dry_run, yes=yes))


@click.command("leave")
@click.option("--delete-data", is_flag=True, help="Also remove the volumes, with their data.")
@click.option("--force", is_flag=True, help="Also where a Pod is lost by it, because nobody makes it again.")
@click.option("--offline", is_flag=True, help="Do not ask the server: it is gone for good.")
@_DRY_RUN
@_YES
@local
def leave(delete_data: bool, force: bool, offline: bool, dry_run: bool, yes: bool, agent: Path) -> None:
    """Take this machine out of its cluster, and clean up.

    Its Pods go elsewhere in order; then containers, networks, files and the Node are removed, after they were shown. Volumes with data are
    kept, unless --delete-data.
    """
    run_async(_leave(agent, data=delete_data, force=force, offline=offline, dry_run=dry_run, yes=yes))


async def _ask(agent: Path, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    async with connect(agent) as client:
        return await client.ask(method, path, body)


async def _prune(agent: Path, *, volumes: bool, dry_run: bool, yes: bool) -> None:
    async with connect(agent) as client:
        found = await client.ask("GET", "/v1/prune")
        chosen = [item for item in found["items"] if volumes or not item["data"]]
        kept = len(found["items"]) - len(chosen)
        if chosen:
            click.echo("The server does not know, and this would be removed:")
        for line in _items(chosen):
            click.echo(line)
        if kept:
            click.echo(f"{kept} volume(s) with data that the server does not know are kept; --volumes removes them, too")
        if not chosen:
            click.echo("nothing to prune: the server knows all that is here" if not kept else "nothing else to prune")
            return
        if dry_run or not _agreed(yes, "Remove it?"):
            return
        digest = found["digest"] if volumes else found["digestWithoutData"]
        for line in (await client.ask("POST", "/v1/prune", {"digest": digest, "data": volumes}))["lines"]:
            click.echo(printers.safe(line))


async def _leave(agent: Path, *, data: bool, force: bool, offline: bool, dry_run: bool, yes: bool) -> None:
    async with connect(agent) as client:
        found = await client.ask("GET", "/v1/leave")
        items = found["items"]
        _show_leave(items, data=data, offline=offline)
        lost = [item["name"] for item in items if item["kind"] == "pod" and item["data"]]
        if dry_run:
            return
        if lost and not force:
            raise errors.ConflictError(f"nobody would make these Pods again: {', '.join(lost[:10])}; delete them, or say --force")
        if not _agreed(yes, "Leave the cluster?"):
            return
        order = {"digest": found["digest"], "data": data, "force": force, "offline": offline}
        await _follow(client, order)
        click.echo("left: the agent of this machine has ended and does not join again by itself")


async def _follow(client: LocalAgent, order: Mapping[str, Any]) -> None:
    async for line in client.lines("/v1/leave", order):
        click.echo(printers.safe(line))


def _show_leave(items: list[dict[str, Any]], *, data: bool, offline: bool) -> None:
    pods = [item for item in items if item["kind"] == "pod"]
    kept = [item for item in items if item["kind"] == "volume" and item["data"] and not data]
    gone = [item for item in items if item not in pods and item not in kept]
    for title, chosen in (
        ("These Pods end here:", pods),
        ("This is removed:", gone),
        ("These volumes are kept, with their data (--delete-data removes them):", kept),
    ):
        if chosen:
            click.echo(title)
            for line in _items(chosen):
                click.echo(line)
    click.echo("The server is not told; the Node stays there until somebody deletes it." if offline else "Then the Node is deleted.")


def _items(items: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for item in items:
        notes = ", ".join(note for note in ("running" if item["running"] and item["kind"] == "container" else "", item["why"]) if note)
        yield printers.safe(f"  {item['kind']:<10} {item['name']}{f' ({notes})' if notes else ''}")


def _agreed(yes: bool, question: str) -> bool:
    if yes:
        return True
    try:
        return click.confirm(question)
    except click.Abort as error:  # no terminal, or Ctrl-D
        raise errors.UsageError("nothing was done: say --yes where nobody can be asked") from error


def _status(found: Mapping[str, Any]) -> Iterator[str]:
    server, engine, paused = found["server"], found["engine"], found["paused"]
    yield f"Node:     {found['node']['name']} (agent {found['agent']})"
    yield f"Server:   {'connected' if server['connected'] else server['problem']}"
    yield f"Docker:   {engine['problem'] or engine['name'] or 'running'}"
    if paused is not None:
        yield f"Paused:   since {paused['since']}{', all is stopped' if paused['stop'] else ''}{_said(paused['reason'])}"
    else:
        yield "Paused:   no"
    for condition in found["conditions"]:
        if condition["type"] not in ("Ready", "Paused") and (condition["status"] == "True") != (condition["type"] in _POSITIVE):
            yield f"Warning:  {condition['type']}={condition['status']}: {condition['message']}"
    offered = found["allocatable"]
    if offered:
        yield f"Offered:  {', '.join(f'{name} {amount}' for name, amount in offered.items())}"
    if found["failures"]:
        yield f"Failures: {found['failures']} on record (lattice node status --failures)"
    yield ""
    yield from _table(found["pods"])
    if found["unknownPods"]:
        yield ""
        yield f"Not known to the server (lattice node prune): {', '.join(found['unknownPods'])}"
    if found["images"]:
        yield ""
        yield "Images pulled ahead:"
        for each in found["images"]:
            yield f"  {each['image']}: {each['state']}"


_POSITIVE = frozenset({"NetworkIsolated"})
"""Conditions of which True is good."""


def _said(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _table(pods: list[Mapping[str, Any]]) -> Iterator[str]:
    if not pods:
        yield "No Pods run here."
        return
    rows = [("NAMESPACE", "POD", "PHASE", "CONTAINERS", "RESTARTS", "CPU", "MEMORY")]
    for each in pods:
        containers = each["containers"]
        states = ", ".join(f"{one['name']} {one['state']}" for one in containers) or "-"
        usage = each["usage"] or {}
        cpu, memory = usage.get("cpuMillis"), usage.get("memoryBytes")
        rows.append(
            (
                each["namespace"] or "",
                each["name"],
                "Terminating" if each["deleting"] else each["phase"],
                states,
                str(sum(one["restarts"] for one in containers)),
                "-" if cpu is None else f"{cpu}m",
                "-" if memory is None else f"{memory // 1024**2}Mi",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()


def _settings(found: Mapping[str, Any]) -> Iterator[str]:
    for row in found["settings"]:
        value = row["value"]
        text = "-" if value is None or value == [] or value == {} else orjson.dumps(value).decode() if not isinstance(value, str) else value
        yield f"{row['name']:<26} {text:<40} {row['source']}".rstrip()


def _failures(found: Mapping[str, Any]) -> Iterator[str]:
    from nodeagent.failures import record

    if not found["failures"]:
        yield "no failures on record"
    yield from record.lines_of([record.from_dict(each) for each in found["failures"]])
