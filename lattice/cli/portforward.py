"""``lattice port-forward``: local ports that lead to ports of a Pod, until Ctrl-C.

One SPDY session inside one WebSocket for each local connection, as small as can be: a stream for errors and one for data.
"""

from __future__ import annotations

import asyncio
import contextlib
import re

import click

from lattice.api import errors, pod
from lattice.cli import pods
from lattice.cli.options import Connection, connected, run_async
from lattice.client.base import Request
from lattice.client.client import Client
from lattice.client.sockets import Socket
from lattice.machinery.spdy import codec

_PROTOCOL = "SPDY/3.1+portforward.k8s.io"
_ERROR, _DATA = 1, 3
_PIECE_BYTES = 32 * 1024
_PORTS = re.compile(r"(?:(\d{0,5}):)?(\d{1,5})")


@click.command("port-forward")
@click.argument("target")
@click.argument("ports", nargs=-1, required=True, metavar="[LOCAL:]PORT...")
@click.option("--address", default="127.0.0.1", show_default=True, help="Local address to listen on.")
@connected
def command(target: str, ports: tuple[str, ...], address: str, connection: Connection) -> None:
    """Forward local ports to a Pod: NAME, pod/NAME or workload/NAME, then ports such as 8080:80, 80, or :80 for any free one."""
    run_async(_forward(connection, target, [parse_ports(each) for each in ports], address))


def parse_ports(text: str) -> tuple[int, int]:
    """Return the local and the Pod's port of ``8080:80``, ``80`` or ``:80`` (0: any that is free).

    Raises:
        errors.UsageError: it is none of them.
    """
    found = _PORTS.fullmatch(text)
    remote = int(found[2]) if found else 0
    local = remote if found and found[1] is None else int(found[1] or 0) if found else 0
    if not 0 < remote < 65536 or local > 65535:
        raise errors.UsageError(f"{text!r} is not [LOCAL:]PORT, such as 8080:80")
    return local, remote


async def _forward(connection: Connection, target: str, ports: list[tuple[int, int]], address: str) -> None:
    async with connection.client() as (client, namespace):
        found = await pods.find_one(client, namespace, target)
        async with contextlib.AsyncExitStack() as stack:
            for local, remote in ports:

                async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, remote: int = remote) -> None:
                    try:
                        await _one(client, found, remote, reader, writer)
                    except (errors.LatticeError, OSError) as error:
                        click.echo(f"error: {error}", err=True)
                    finally:
                        writer.close()

                try:
                    server = await asyncio.start_server(serve, address, local, limit=_PIECE_BYTES)
                except OSError as error:
                    raise errors.UsageError(f"cannot listen on {address}:{local} ({error.strerror}); choose another local port") from error
                await stack.enter_async_context(server)
                click.echo(f"Forwarding from {address}:{server.sockets[0].getsockname()[1]} -> {remote}")
            await asyncio.Event().wait()


async def _one(client: Client, found: pod.Pod, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one local connection."""
    socket = await client.transport.connect(Request("GET", pods.path_of(found, "portforward")), protocols=[_PROTOCOL])
    try:
        frames = codec.Writer()
        for stream, kind in ((_ERROR, "error"), (_DATA, "data")):
            named = {"streamtype": kind, "port": str(port), "requestid": "0"}
            await socket.send(frames.write(codec.SynStream(stream, named, fin=kind == "error")))
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(_send(socket, frames, reader))
            problem = await _receive(socket, writer)
            sending.cancel()
        if problem:
            raise errors.InternalError(problem)
    finally:
        await socket.close()


async def _send(socket: Socket, frames: codec.Writer, reader: asyncio.StreamReader) -> None:
    while data := await reader.read(_PIECE_BYTES):
        await socket.send(frames.write(codec.Data(_DATA, data)))
    await socket.send(frames.write(codec.Data(_DATA, b"", fin=True)))


async def _receive(socket: Socket, writer: asyncio.StreamWriter) -> str:
    """Write what comes until both streams have ended; return what the error stream says."""
    frames, problem, open_streams = codec.Reader(), b"", {_ERROR, _DATA}
    while open_streams and isinstance(message := await socket.receive(), bytes):
        for frame in frames.feed(message):
            match frame:
                case codec.Data(stream, data, fin):
                    if stream == _ERROR:
                        problem += data
                    elif data:
                        writer.write(data)
                        await writer.drain()
                    if fin:
                        open_streams.discard(stream)
                case codec.Reset() | codec.GoAway():
                    open_streams.clear()
                case _:
                    continue
    return problem.decode(errors="replace")
