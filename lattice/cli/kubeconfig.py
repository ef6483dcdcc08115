"""``lattice kubeconfig``: the credentials in use, printed or merged into another file."""

from __future__ import annotations

from pathlib import Path

import click
import yaml

from lattice.api import errors
from lattice.cli.options import Connection, connected
from lattice.client import kubeconfig


@click.command("kubeconfig")
@click.option("--merge", "merge_into", is_flag=False, flag_value="", metavar="[FILE]", type=str,
              help="Put it into FILE (default ~/.kube/config) and make it the current context, instead of printing it.")  # fmt: skip
@click.option("--name", default="lattice", show_default=True, help="Name of the context.")
@connected
def command(merge_into: str | None, name: str, connection: Connection) -> None:
    """Print the kubeconfig in use as one self-contained file, or merge it into another."""
    config = connection.load()
    token = config.token or (config.token_file.read_text().strip() if config.token_file else None)
    if not token:
        raise errors.UsageError("the kubeconfig in use has no token; only such ones can be printed or merged")
    content = kubeconfig.document(server=config.server, ca_data=config.ca_data, user=config.user or "admin", token=token, name=name)
    if merge_into is None:
        click.echo(yaml.safe_dump(content, sort_keys=False).rstrip("\n"))
        return
    path = Path(merge_into) if merge_into else Path.home() / ".kube" / "config"
    kubeconfig.merge(path, content)
    click.echo(f"merged into {path}; the current context is {name}")
