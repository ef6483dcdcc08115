"""``lattice backup``: all objects of the control plane, at one revision, in one file that knows whether it is whole.

The stream goes to the disk as it comes, and is verified on its way: a fleet of any size needs a few hundred kilobytes of memory. The file
gets its name when it is whole and synced; until then an older backup of that name stays.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import zlib
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO

import click
import orjson

from lattice.api import errors
from lattice.cli.options import Connection, connected, run_async
from lattice.client import base

PATH = "/lattice/v1/backup"
_TIMEOUT_S = 600.0


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@connected
def command(file: Path, connection: Connection) -> None:
    """Write all objects into FILE (- is standard output). It holds secrets: the file is readable by you alone."""
    if str(file) == "-":
        run_async(_fetch(connection, sys.stdout.buffer))
        return
    try:
        count = _write(file, connection)
    except OSError as error:
        raise errors.UsageError(f"cannot write {file}: {error.strerror}; choose another place") from error
    click.echo(f"{count} objects in {file}")


def _write(file: Path, connection: Connection) -> int:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # 0600
    try:
        with os.fdopen(descriptor, "wb") as out:
            count: int = run_async(_fetch(connection, out))
            out.flush()
            os.fsync(out.fileno())
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return count


async def _fetch(connection: Connection, out: BinaryIO) -> int:
    """Copy the backup to ``out`` and return the number of objects in it."""
    transport = connection.load().transport()
    verifier = Verifier()
    try:
        async with aclosing(transport.download(base.Request("GET", PATH, timeout_s=_TIMEOUT_S))) as chunks:
            async for chunk in chunks:
                verifier.feed(chunk)
                out.write(chunk)
    finally:
        await transport.close()
    return verifier.finish()


class Verifier:
    """Says whether a stream of bytes is a whole backup: a header, records, and a footer with their number and check sum."""

    def __init__(self) -> None:
        self._unpacker = zlib.decompressobj(wbits=31)  # gzip
        self._digest = hashlib.sha256()
        self._pending = b""
        """The beginning of a line."""
        self._held = b""
        """The last whole line: the footer, if no other comes."""
        self._lines = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            errors.UnavailableError: they are no gzip.
        """
        try:
            *lines, self._pending = (self._pending + self._unpacker.decompress(chunk)).split(b"\n")
        except zlib.error as error:
            raise _not_whole() from error
        for line in lines:
            if self._lines > 1:  # the first line is the header
                self._digest.update(self._held + b"\n")
            self._held = line
            self._lines += 1

    def finish(self) -> int:
        """Return the number of objects.

        Raises:
            errors.UnavailableError: it was cut off or damaged.
        """
        count = self._lines - 2
        try:
            intact = orjson.loads(self._held) == {"count": count, "sha256": self._digest.hexdigest()}
        except orjson.JSONDecodeError:
            intact = False
        if not (intact and self._unpacker.eof and not self._pending and not self._unpacker.unused_data):
            raise _not_whole()
        return count


def _not_whole() -> errors.UnavailableError:
    return errors.UnavailableError("the backup did not arrive whole; do not use what was written, and try again")
