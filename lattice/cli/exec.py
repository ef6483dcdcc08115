"""``lattice exec``: run a command in a container, with this terminal if asked. Its exit code is the command's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlencode

import click
import orjson

from lattice.api import errors, line
from lattice.cli import pods
from lattice.cli.options import Connection, connected, run_async
from lattice.client.base import Request
from lattice.client.sockets import Socket

_PROTOCOL: Final = "v5.channel.k8s.io"
_PIECE_BYTES: Final = 32 * 1024


@click.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("target")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
@click.option("-c", "--container", help="Container; needed where the Pod has several.")
@click.option("-i", "--stdin", is_flag=True, help="Pass standard input on.")
@click.option("-t", "--tty", "terminal", is_flag=True, help="Give the command a terminal.")
@connected
def command(target: str, words: tuple[str, ...], container: str | None, stdin: bool, terminal: bool, connection: Connection) -> int:
    """Run a command in a container of a Pod: NAME, pod/NAME or workload/NAME, then -- and the command."""
    terminal = terminal and (not stdin or sys.stdin.isatty())
    code: int = run_async(_exec(connection, target, words, container, stdin=stdin, terminal=terminal))
    return code


async def _exec(connection: Connection, target: str, words: tuple[str, ...], container: str | None, *, stdin: bool, terminal: bool) -> int:
    async with connection.client() as (client, namespace):
        found = await pods.find_one(client, namespace, target)
        query = [("command", word) for word in words] + [("stdout", "true")]
        query += [("container", container)] if container else []
        query += [(name, "true") for name, wanted in (("stdin", stdin), ("tty", terminal), ("stderr", not terminal)) if wanted]
        request = Request("GET", f"{pods.path_of(found, 'exec')}?{urlencode(query)}")
        socket = await client.transport.connect(request, protocols=[_PROTOCOL])
        with _raw() if terminal and stdin else contextlib.nullcontext():
            try:
                return await _join(socket, stdin=stdin, terminal=terminal)
            finally:
                await socket.close()


async def _join(socket: Socket, *, stdin: bool, terminal: bool) -> int:
    """Pass input and output until the command ends, and return its exit code."""
    async with asyncio.TaskGroup() as group:
        helpers = [group.create_task(_send_input(socket))] if stdin else []
        helpers += [group.create_task(_send_sizes(socket))] if terminal else []
        try:
            while (message := await socket.receive()) is not None:
                if not isinstance(message, bytes) or len(message) < 2:
                    continue
                if message[0] in (line.STDOUT, line.STDERR):
                    out = sys.stdout.buffer if message[0] == line.STDOUT else sys.stderr.buffer
                    out.write(message[1:])
                    out.flush()
                elif message[0] == line.STATUS:
                    return _exit_code(message[1:])
        finally:
            for helper in helpers:
                helper.cancel()
    raise errors.UnavailableError("the connection ended before the command; how it ended is not known")


def _exit_code(status: bytes) -> int:
    said = orjson.loads(status)
    if said.get("status") == "Success":
        return 0
    for cause in (said.get("details") or {}).get("causes") or ():
        if cause.get("reason") == "ExitCode" and str(cause.get("message")).isdigit():
            return int(cause["message"])
    raise errors.from_status(said)


async def _send_input(socket: Socket) -> None:
    reader = asyncio.StreamReader(limit=_PIECE_BYTES)
    watched = True
    try:
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    except ValueError:
        watched = False  # a file cannot be watched, and need not be
    while data := await (reader.read(_PIECE_BYTES) if watched else asyncio.to_thread(os.read, sys.stdin.fileno(), _PIECE_BYTES)):
        await socket.send(bytes((line.STDIN,)) + data)
    await socket.send(bytes((line.CLOSE, line.STDIN)))


async def _send_sizes(socket: Socket) -> None:
    """Tell the size of the terminal, now and whenever it changes."""
    changed = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, changed.set)
    try:
        while True:
            with contextlib.suppress(OSError):
                size = os.get_terminal_size(sys.stdout.fileno())
                await socket.send(bytes((line.RESIZE,)) + orjson.dumps({"Width": size.columns, "Height": size.lines}))
            await changed.wait()
            changed.clear()
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGWINCH)


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    """Let every key through to the command, and put the terminal back at the end."""
    before = termios.tcgetattr(sys.stdin.fileno())
    tty.setraw(sys.stdin.fileno())
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, before)
