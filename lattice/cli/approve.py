"""``lattice node approve-removals``: a person lets removals pass that a node holds back because they are too many at once."""

from __future__ import annotations

import click

from lattice.api import conditions, errors, names, node
from lattice.cli import printers
from lattice.cli.options import Connection, connected, run_async
from lattice.client.client import Client


@click.command("approve-removals")
@click.argument("name", metavar="NODE")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@connected
def command(name: str, yes: bool, connection: Connection) -> None:
    """Let the removals pass that NODE holds back: more than five, and more than 30 % of its Pods, within a minute.

    What waits is shown first. Draining the node lets them pass as well.
    """

    async def run() -> None:
        async with connection.client() as (client, _):
            occasion, message = await held(client, name)
            click.echo(printers.safe(message))
            if not yes and not click.confirm("Let them pass?"):
                raise errors.UsageError("nothing was changed")
            await approve(client, name, occasion)
            click.echo(f"node/{name} removals approved")

    run_async(run())


async def held(client: Client, name: str) -> tuple[str, str]:
    """Return the occasion on which a node holds removals back, and what it says of them.

    Raises:
        errors.UsageError: it holds none.
        errors.NotFoundError: there is no such node.
    """
    found = await client.get(node.Node, name)
    occasion = found.metadata.annotations.get(names.ANNOTATION_REMOVALS_HELD)
    if not occasion:
        raise errors.UsageError(f"node {name} holds no removals back")
    condition = conditions.get_condition(found.status.conditions, names.CONDITION_REMOVALS_HELD)
    return occasion, (condition.message if condition is not None else None) or f"node {name} holds removals back"


async def approve(client: Client, name: str, occasion: str) -> None:
    """Let the removals of an occasion pass: the node's agent looks every two seconds."""
    annotations = {names.ANNOTATION_REMOVALS_APPROVED: occasion}
    await client.patch(node.Node, name, None, {"metadata": {"annotations": annotations}})
