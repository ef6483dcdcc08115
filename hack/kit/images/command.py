"""`hack/images`: the command line of `kit.images.build`."""

from __future__ import annotations

import argparse
from pathlib import Path

from kit.console import HackError, main_guard
from kit.engine import Engine
from kit.engine_api import EngineApi
from kit.images.build import ensure_images
from kit.images.recipes import RECIPES


def main(arguments: list[str]) -> int:
    """Make and load stand-ins; see `hack/images --help`."""
    parser = argparse.ArgumentParser(
        prog="hack/images",
        description="Stand-ins for official images, from Debian packages, for an engine that hack/docker started.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(RECIPES)}")
    parser.add_argument("--engine", default="main", help="name of the engine, as given to hack/docker (default: main)")
    parser.add_argument("--socket", type=Path, help="socket of the engine instead; refused if it is not hack's own")
    parser.add_argument("--refresh", action="store_true", help="ask apt for newer package versions")
    options = parser.parse_args(arguments)
    api = EngineApi(options.socket) if options.socket else Engine(options.engine).api
    if not api.answers():
        raise HackError(f"no Docker engine answers at {api.host}: start one with hack/docker up")
    ensure_images(api, options.names or tuple(RECIPES), refresh=options.refresh)
    return 0


if __name__ == "__main__":
    main_guard("hack/images", main)
