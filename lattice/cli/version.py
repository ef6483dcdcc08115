"""``lattice version``: of this program and of the server."""

from __future__ import annotations

import click
import orjson

from lattice.api import errors
from lattice.cli.options import Connection, connected, run_async
from lattice.version import VERSION


@click.command("version")
@click.option("--client", is_flag=True, help="Of this program only; asks no server.")
@connected
def command(client: bool, connection: Connection) -> None:
    """Print the versions of client and server."""
    click.echo(f"client: {VERSION}")
    if client:
        return
    try:
        click.echo(f"server: {run_async(_server(connection))}")
    except (errors.UnavailableError, errors.UsageError) as error:
        click.echo(f"server: not reached ({error})")


async def _server(connection: Connection) -> str:
    async with connection.client() as (client, _):
        return str(orjson.loads(await client.send("GET", "/version", timeout_s=5.0)).get("gitVersion", "unknown"))
