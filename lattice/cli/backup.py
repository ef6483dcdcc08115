"""``lattice backup``: all objects of the control plane, at one revision, in one file that knows whether it is whole."""

from __future__ import annotations

import gzip
import hashlib
import os
import sys
import tempfile
import zlib
from pathlib import Path

import click
import orjson

from lattice.api import errors
from lattice.cli.options import Connection, connected, run_async

PATH = "/lattice/v1/backup"


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@connected
def command(file: Path, connection: Connection) -> None:
    """Write all objects into FILE (- is standard output). It holds secrets: the file is readable by you alone."""
    data = run_async(_fetch(connection))
    count = verify(data)
    if str(file) == "-":
        sys.stdout.buffer.write(data)
        return
    _write(file, data)
    click.echo(f"{count} objects in {file}")


async def _fetch(connection: Connection) -> bytes:
    async with connection.client() as (client, _):
        return await client.send("GET", PATH, timeout_s=600.0)


def verify(data: bytes) -> int:
    """Return the number of objects in a whole backup.

    Raises:
        errors.UnavailableError: it is cut off or damaged.
    """
    try:
        lines = gzip.decompress(data).splitlines(keepends=True)
        footer = orjson.loads(lines[-1])
        intact = len(lines) >= 2 and footer == {"count": len(lines) - 2, "sha256": hashlib.sha256(b"".join(lines[1:-1])).hexdigest()}
    except (OSError, EOFError, zlib.error, IndexError, orjson.JSONDecodeError):
        intact, lines = False, []
    if not intact:
        raise errors.UnavailableError("the backup did not arrive whole, nothing was written; try again")
    return len(lines) - 2


def _write(file: Path, data: bytes) -> None:
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with os.fdopen(descriptor, "wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            Path(temporary).replace(file)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise errors.UsageError(f"cannot write {file}: {error.strerror}; choose another place") from error
