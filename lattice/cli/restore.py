"""``lattice restore``: a backup into a store that nobody serves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from lattice.api import errors
from lattice.cli.server import make_config, store_options


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), required=True, help="Data directory of the control plane.")
@click.option("--replace", is_flag=True, help="Replace what is in the store.")
@store_options
def command(file: Path, data_dir: Path, replace: bool, store_settings: dict[str, Any]) -> None:
    """Write a backup into the store of a stopped control plane.

    The store's epoch rises, so that nodes keep what runs although the store has become older.
    """
    config = make_config(data_dir.resolve(), "127.0.0.1:0", store_settings)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise errors.UsageError(f"cannot read the backup {file}: {error.strerror}") from error
    from controller.main import restore_store

    epoch = asyncio.run(restore_store(config, data, overwrite=replace))
    click.echo(f"restored {file}; the store's epoch is {epoch}. Start the control plane again with `lattice server`")
