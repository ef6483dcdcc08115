"""``lattice completion``: the script that a shell loads."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell: `source <(lattice completion bash)`."""
    from lattice.cli.main import cli

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, ctx.find_root().info_name or "lattice", "_LATTICE_COMPLETE").source())
