"""``lattice node``: the agent of this machine."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from lattice.api import errors
from lattice.cli import logs
from lattice.cli.options import run_daemon
from lattice.cli.server import default_node_name

F = TypeVar("F", bound=Callable[..., Any])

_OFFER_OPTIONS = (
    click.option("--cpu", help="Offered cores, such as 2 or 1500m; default all."),
    click.option("--memory", help="Offered memory, such as 4Gi; default all."),
    click.option("--disk", help="Offered disk, such as 50Gi; default what is free."),
    click.option("--max-pods", type=click.IntRange(min=0), default=110, show_default=True, help="Most Pods at once."),
    click.option("--port-range", metavar="FIRST-LAST", help="Automatic host ports, such as 30000-32767."),
)


def offer_options(function: F) -> F:
    """Add the options of what a node offers; the function gets them as ``offer``, a dict for :func:`offer_flags` or the agent."""
    names = ("cpu", "memory", "disk", "max_pods", "port_range")

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, offer={name: kwargs.pop(name) for name in names}, **kwargs)

    decorated: Any = wrapper
    for option in reversed(_OFFER_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def offer_flags(offer: dict[str, Any]) -> Sequence[str]:
    """Return the command line that says the same."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in offer.items() if value is not None]


@click.command("node")
@click.option(
    "--kubeconfig", type=click.Path(path_type=Path, dir_okay=False), help="The node's kubeconfig; default $KUBECONFIG, then ~/.kube/config."
)
@click.option("--name", help="Name of the Node; default this machine's name.")
@click.option("--docker-host", help="Docker engine; default $DOCKER_HOST, then unix:///var/run/docker.sock.")
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), required=True, help="The node's identity and last desired state."
)
@offer_options
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
@click.option("--stop-on-eof", is_flag=True, hidden=True)
def command(
    kubeconfig: Path | None,
    name: str | None,
    docker_host: str | None,
    data_dir: Path,
    offer: dict[str, Any],
    verbose: bool,
    stop_on_eof: bool,
) -> None:
    """Run the agent of this machine.

    It makes Docker agree with what the control plane has bound to this node. Stopping it touches no container.
    """
    try:
        from nodeagent.config import AgentConfig
        from nodeagent.main import run_agent
        from nodeagent.ports.plan import parse_range
    except ImportError as error:
        raise errors.UsageError(f"the agent is not installed ({error}); install it with: pip install 'lattice-fleet[node]'") from error
    port_range = offer.pop("port_range")
    try:
        ports = parse_range(port_range) if port_range else None
    except ValueError as error:
        raise errors.UsageError(f"--port-range {port_range!r} is not FIRST-LAST, such as 30000-32767: {error}") from error
    config = AgentConfig(
        kubeconfig=kubeconfig,
        name=name or default_node_name(),
        docker_host=docker_host or os.environ.get("DOCKER_HOST"),
        data_dir=data_dir.resolve(),
        port_range=ports,
        **offer,
    )
    logs.configure(verbose=verbose)

    async def serve(stop: asyncio.Event) -> None:
        await run_agent(config, stop=stop)

    run_daemon(serve, stop_on_eof=stop_on_eof)
