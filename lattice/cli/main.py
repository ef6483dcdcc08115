"""The command ``lattice``: a group of verbs, each in a module of its own that is imported when it is used.

:func:`main` is the console script. It is the only place that turns errors into text and exit codes:

====  ==========================================================================
0     done
1     it failed: the server refused, did not answer, or a wait ran out
2     usage: the command line, a manifest or a kubeconfig is wrong
3     the object, or one of them, does not exist
4     another process has the data directory
130   interrupted (Ctrl-C)
====  ==========================================================================
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from lattice.api import errors
from lattice.cli.exits import EXIT_IN_USE, EXIT_USAGE
from lattice.cli.options import Connection
from lattice.version import VERSION

VERBS: Final = {
    "apply": "Create or change objects from manifests.",
    "backup": "Write all objects of the control plane into a file.",
    "completion": "Print the shell's completion script.",
    "delete": "Delete objects and wait until they are gone.",
    "describe": "Show one object with its conditions and events.",
    "exec": "Run a command in a container.",
    "get": "List objects, or show some.",
    "kubeconfig": "Print or merge the kubeconfig of a control plane.",
    "logs": "Print what containers wrote.",
    "node": "Run the agent of this machine, or control the one that runs.",
    "port-forward": "Forward local ports to a Pod.",
    "restore": "Write a backup into an empty store (offline).",
    "server": "Run the control plane.",
    "up": "Run control plane and agent on this machine.",
    "version": "Print the versions of client and server.",
}
"""Verb to first line of help: what the list of verbs shows without importing them. A test holds them together."""

_MODULES: Final = {"logs": "podlogs", "port-forward": "portforward"}
"""Verbs whose module is called otherwise."""


class LazyGroup(click.Group):
    """Imports ``lattice.cli.<verb>`` when the verb is used, so that ``lattice get`` does not load the control plane."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return all verbs."""
        return sorted(VERBS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a verb's command."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"lattice.cli.{_MODULES.get(cmd_name, cmd_name)}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, VERBS[name]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="lattice")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Kubeconfig; default $KUBECONFIG, then ~/.kube/config.")
@click.option("--context", help="Context of the kubeconfig; default the current one.")
@click.pass_context
def cli(ctx: click.Context, kubeconfig: Path | None, context: str | None) -> None:
    """Run containers on your own machines: apply a manifest, Lattice finds a node and keeps it running."""
    ctx.obj = Connection(kubeconfig=kubeconfig, context=context)


def run(args: Sequence[str]) -> int:
    """Run a command line and return the exit code. Prints errors to standard error."""
    try:
        result: Any = cli.main(list(args), prog_name="lattice", standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except errors.LatticeError as error:
        click.echo(f"error: {error}{_advice(error)}", err=True)
        return _exit_code(error)
    except (KeyboardInterrupt, EOFError):
        return 130
    except BrokenPipeError:  # `lattice get ... | head`
        sys.stderr.close()
        return 1
    return result if isinstance(result, int) else 0


def main(*prefix: str) -> None:
    """Run the process's command line, with ``prefix`` before its arguments, and exit."""
    sys.exit(run([*prefix, *sys.argv[1:]]))


def _exit_code(error: errors.LatticeError) -> int:
    match error:
        case errors.InUseError():
            return EXIT_IN_USE
        case errors.UsageError():
            return EXIT_USAGE
        case errors.NotFoundError():
            return 3
        case _:
            return 1


def _advice(error: errors.LatticeError) -> str:
    """Return what to do next, where the message of the server does not say it."""
    match error:
        case errors.UnauthorizedError():
            return "; the server does not know this token: use the kubeconfig that the server wrote"
        case errors.ForbiddenError():
            return "; ask an admin, or choose another user with --context"
        case errors.ConflictError():
            return "; somebody changed it at the same time: try again"
        case _:
            return ""


if __name__ == "__main__":
    main()
