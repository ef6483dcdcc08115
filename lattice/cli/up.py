"""``lattice up``: control plane and agent of this machine in one process tree."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import click

from lattice.api import errors
from lattice.cli import logs
from lattice.cli.children import Child
from lattice.cli.node import offer_flags, offer_options
from lattice.cli.options import run_daemon
from lattice.cli.server import default_node_name, make_config, parse_listen, store_options
from lattice.client import base, kubeconfig
from lattice.machinery.clock import Clock, SystemClock
from lattice.machinery.filelock import FileLock

_READY_POLL_S = 0.1
_READY_TIMEOUT_S = 60.0


def default_data_dir() -> Path:
    """Return where ``lattice up`` keeps everything if it is not told."""
    base_dir = os.environ.get("XDG_DATA_HOME")
    return (Path(base_dir) if base_dir else Path.home() / ".local" / "share") / "lattice"


@click.command("up")
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Where everything is kept; default ~/.local/share/lattice."
)
@click.option(
    "--listen", default="127.0.0.1:7443", show_default=True, metavar="HOST:PORT", help="Address of the API; port 0 picks a free one."
)
@click.option("--docker-host", help="Docker engine; default $DOCKER_HOST, then unix:///var/run/docker.sock.")
@click.option("--name", help="Name of this machine's Node; default its host name.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help='Users, one a line: token,user,uid,"group1,group2"; an admin and this node among them. Default: generated.',
)
@offer_options
@store_options
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
def command(
    data_dir: Path | None,
    listen: str,
    docker_host: str | None,
    name: str | None,
    token_file: Path | None,
    offer: dict[str, Any],
    store_settings: dict[str, Any],
    verbose: bool,
) -> None:
    """Run control plane and agent on this machine.

    Ctrl-C stops both; containers go on running, and the next `lattice up` takes them over.
    """
    directory = (data_dir or default_data_dir()).resolve()
    make_config(directory, listen, store_settings)  # says at once what is wrong with the flags
    host, port = parse_listen(listen)
    node = name or default_node_name()
    logs.configure(verbose=verbose)
    address = f"{f'[{host}]' if ':' in host else host}:{port or _free_port(host)}"
    flags = ["--verbose"] if verbose else []
    admin = directory / "kubeconfig"
    server_flags = ["server", "--data-dir", str(directory), "--listen", address, "--node", node, "--kubeconfig-out", str(admin)]
    for flag, value in store_settings.items():
        if value:
            server_flags += [f"--{flag.replace('_', '-')}", str(value)]
    if token_file is not None:
        server_flags += ["--token-file", str(token_file.resolve())]
    node_flags = ["node", "--kubeconfig", str(directory / f"node-{node}.kubeconfig"), "--name", node, "--data-dir", str(directory / "node")]
    node_flags += offer_flags(offer)
    if docker_host:
        node_flags += ["--docker-host", docker_host]

    async def serve(stop: asyncio.Event) -> None:
        clock = SystemClock()
        async with AsyncExitStack() as stack:  # ends the agent first, then the control plane
            _take(directory, stack)
            server = Child("server", [*server_flags, *flags], clock)
            stack.push_async_callback(server.stop)
            admin.unlink(missing_ok=True)  # of an earlier run: the new one is there when the server listens
            await server.start()
            await _wait_ready(admin, server, stop, clock)
            if stop.is_set():
                return
            agent = Child("node", [*node_flags, *flags], clock)
            stack.push_async_callback(agent.stop)
            await agent.start()
            click.echo(f"Lattice runs; node {node}. Use it from another terminal:\n  export KUBECONFIG={admin}\n  lattice get nodes")
            await _first(stop, server.failed, agent.failed)
            server.raise_if_failed()
            agent.raise_if_failed()

    run_daemon(serve)


def _take(directory: Path, stack: AsyncExitStack) -> None:
    """Keep a second ``lattice up`` from disturbing the one that runs (its children would wait for locks, after it took the kubeconfig)."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        stack.enter_context(FileLock(directory / "up.lock"))
    except BlockingIOError as error:
        raise errors.InUseError(f"another `lattice up` uses {directory}: stop it, or use another --data-dir") from error
    except OSError as error:
        raise errors.UsageError(f"cannot use the data directory {directory}: {error.strerror}; choose another --data-dir") from error


async def _wait_ready(config: Path, server: Child, stop: asyncio.Event, clock: Clock) -> None:
    deadline_s = clock.monotonic() + _READY_TIMEOUT_S
    while not stop.is_set():
        server.raise_if_failed()
        if await _is_ready(config):
            return
        if clock.monotonic() > deadline_s:
            raise errors.UnavailableError(f"the control plane was not ready within {_READY_TIMEOUT_S:.0f} s; its log above says why")
        await clock.sleep(_READY_POLL_S)


async def _is_ready(config: Path) -> bool:
    try:
        transport = kubeconfig.load(config).transport()
    except errors.UsageError:  # not written yet
        return False
    try:
        return (await transport.send(base.Request("GET", "/readyz", timeout_s=2.0))).status == 200
    except errors.UnavailableError:
        return False
    finally:
        await transport.close()


async def _first(*events: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(event.wait()) for event in events]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()


def _free_port(host: str) -> int:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        port: int = listener.getsockname()[1]
        return port
