"""``lattice node``: the agent of this machine."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click

from lattice.api import errors
from lattice.cli import logs
from lattice.cli.options import run_daemon
from nodeagent.settings import reading
from nodeagent.settings.table import SETTINGS, Setting

F = TypeVar("F", bound=Callable[..., Any])

VERBS: Final = ("approve-removals", "cordon", "drain", "leave", "pause", "prune", "resume", "status", "uncordon")
FLAGS: Final = "lattice.cli.node.flags"
"""Where a verb finds what the options before it say (``click.Context.meta``)."""

_OFFERED = ("cpu", "memory", "disk", "max_pods", "port_range")
"""Settings of the agent that are also options of ``lattice up``; the others are given to it by environment or file."""


def _option(row: Setting) -> Callable[[F], F]:
    text = row.help.split(". ")[0].rstrip(".") + "."
    if row.kind.switch:
        return click.option(f"{row.flag}/--no-{row.flag[2:]}", row.name, default=None, help=text)
    return click.option(row.flag, row.name, metavar=row.kind.shown, multiple=row.kind.several, help=text)


def offer_options(function: F) -> F:
    """Add the options of what a node offers; the function gets them as ``offer``, a dict for :func:`offer_flags`."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, offer={name: kwargs.pop(name) for name in _OFFERED}, **kwargs)

    decorated: Any = wrapper
    for row in reversed([row for row in SETTINGS if row.name in _OFFERED]):
        decorated = _option(row)(decorated)
    return decorated  # type: ignore[no-any-return]


def offer_flags(offer: dict[str, Any]) -> Sequence[str]:
    """Return the command line that says the same."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in offer.items() if value is not None]


def settings_options(function: F) -> F:
    """Add an option for every setting of the agent; the function gets them as ``flags``."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        flags = {name: kwargs.pop(name) for name in ("config", *(row.name for row in SETTINGS))}
        return function(*args, flags=flags, **kwargs)

    decorated: Any = wrapper
    for row in reversed(SETTINGS):
        decorated = _option(row)(decorated)
    file = click.option("--config", type=click.Path(dir_okay=False), help="Settings file; default node.yaml in the data directory.")
    return file(decorated)  # type: ignore[no-any-return]


class _Group(click.Group):
    """Runs the agent where no verb is given. Verbs are imported when they are used."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return all verbs."""
        return sorted(VERBS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a verb's command."""
        if cmd_name not in VERBS:
            return None
        from lattice.cli import nodedrain, nodeverbs

        module = nodedrain if cmd_name in nodedrain.VERBS else nodeverbs
        found: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return found


@click.group("node", cls=_Group, invoke_without_command=True)
@settings_options
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
@click.option("--stop-on-eof", is_flag=True, hidden=True)
@click.pass_context
def command(ctx: click.Context, /, flags: dict[str, Any], verbose: bool, stop_on_eof: bool) -> None:
    """Run the agent of this machine, or control the one that runs.

    Without a verb: run it. It makes Docker agree with what the control plane has bound to this node. Stopping it touches no container. Each
    setting can also be given as LATTICE_NODE_... in the environment or in a file; docs/reference/node-settings.md has them all.
    """
    if ctx.invoked_subcommand is not None:
        ctx.meta[FLAGS] = flags
        return
    config = reading.read(flags, os.environ).config
    try:
        from nodeagent.main import run_agent
    except ImportError as error:
        raise errors.UsageError(f"the agent is not installed ({error}); install it with: pip install 'lattice-fleet[node]'") from error
    logs.configure(verbose=verbose)

    async def serve(stop: asyncio.Event) -> None:
        await run_agent(config, stop=stop)

    run_daemon(serve, stop_on_eof=stop_on_eof)
