"""The flags of ``python -m nodeagent``, made from the table; ``lattice node`` makes the same ones in ``lattice.cli.node``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from nodeagent.settings.table import SECTIONS


def parse(arguments: Sequence[str]) -> Mapping[str, Any]:
    """Return what the flags of a command line say, for :func:`nodeagent.settings.reading.read`. Ends the process on a wrong one."""
    parser = argparse.ArgumentParser(prog="python -m nodeagent", description="The agent of one provider host.", allow_abbrev=False)
    parser.add_argument("--config", metavar="FILE", help="settings file; default node.yaml in the data directory")
    for title, rows in SECTIONS.items():
        group = parser.add_argument_group(title)
        for row in rows:
            text = row.help.replace("%", "%%")
            if row.kind.switch:
                group.add_argument(row.flag, dest=row.name, action=argparse.BooleanOptionalAction, default=None, help=text)
            elif row.kind.several:
                group.add_argument(row.flag, dest=row.name, metavar=row.kind.shown, action="append", help=text)
            else:
                group.add_argument(row.flag, dest=row.name, metavar=row.kind.shown, help=text)
    return vars(parser.parse_args(arguments))
