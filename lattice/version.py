"""The version of this installation, in one place: for the CLI, the user agent and what the server and the agent report."""

from __future__ import annotations

from importlib import metadata
from typing import Final


def _installed() -> str:
    try:
        return metadata.version("lattice-fleet")
    except metadata.PackageNotFoundError:  # run from a source tree that was never installed
        return "0.0.0"


VERSION: Final = _installed()
