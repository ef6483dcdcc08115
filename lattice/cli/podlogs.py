"""``lattice logs``: what containers wrote. Logs of several containers are mixed as they come, each line with its origin in front."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Mapping
from contextlib import aclosing

import click

from lattice.api import errors, pod
from lattice.cli import pods
from lattice.cli.options import Connection, connected, run_async
from lattice.client.base import Request
from lattice.client.client import Client
from lattice.client.http import HttpTransport

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


@click.command("logs")
@click.argument("target")
@click.option("-c", "--container", help="Container; needed where the Pod has several.")
@click.option("--all-containers", is_flag=True, help="All containers, init containers too.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the container ends; also after the line to the node was broken.")
@click.option("-p", "--previous", is_flag=True, help="Of the container before this one.")
@click.option("--since", metavar="DURATION", help="Not older, such as 90s, 5m or 2h30m.")
@click.option("--tail", type=click.IntRange(0), help="So many of the last lines.")
@click.option("--timestamps", is_flag=True, help="With the time in front of each line.")
@connected
def command(
    target: str,
    container: str | None,
    all_containers: bool,
    follow: bool,
    previous: bool,
    since: str | None,
    tail: int | None,
    timestamps: bool,
    connection: Connection,
) -> None:
    """Print the log of a Pod, or of all Pods of a Workload: NAME, pod/NAME or workload/NAME."""
    flags = {"follow": follow, "previous": previous, "timestamps": timestamps}
    query = {name: "true" for name, wanted in flags.items() if wanted}
    if since:
        query["sinceSeconds"] = str(parse_duration(since))
    if tail is not None:
        query["tailLines"] = str(tail)
    run_async(_logs(connection, target, container, all_containers, query))


def parse_duration(text: str) -> int:
    """Return seconds of ``2h30m``, ``5m`` or ``90s``.

    Raises:
        errors.UsageError: it is none of them.
    """
    found = _DURATION.fullmatch(text)
    seconds = sum(int(part or 0) * unit for part, unit in zip(found.groups(), (3600, 60, 1), strict=True)) if found else 0
    if seconds < 1:
        raise errors.UsageError(f"{text!r} is no duration: write it as 90s, 5m or 2h30m")
    return seconds


async def _logs(connection: Connection, target: str, container: str | None, every: bool, query: Mapping[str, str]) -> None:
    async with connection.client() as (client, namespace):
        found = await pods.find(client, namespace, target)
        wanted = [(each, name) for each in found for name in (_names(each) if every else [container])]
        if len(wanted) == 1:
            await _print(client, *wanted[0], query, prefix="")
            return
        async with asyncio.TaskGroup() as group:
            for each, name in wanted:
                group.create_task(_print(client, each, name, query, prefix=f"[{each.name}{f'/{name}' if name else ''}] "))


def _names(found: pod.Pod) -> list[str]:
    return [each.name for each in (*found.spec.init_containers, *found.spec.containers)]


async def _print(client: Client, found: pod.Pod, container: str | None, query: Mapping[str, str], *, prefix: str) -> None:
    transport = client.transport
    assert isinstance(transport, HttpTransport)
    more = {"container": container} if container else {}
    request = Request("GET", pods.path_of(found, "log"), {**query, **more}, timeout_s=None)
    out, begins = sys.stdout.buffer, prefix.encode()
    rest = b""
    async with aclosing(transport.download(request)) as chunks:
        async for chunk in chunks:
            if prefix:
                *lines, rest = (rest + chunk).split(b"\n")
                chunk = b"".join(begins + line + b"\n" for line in lines)
            out.write(chunk)
            out.flush()
    if rest:
        out.write(begins + rest + b"\n")
        out.flush()
