"""`hack/fuzz`: hostile requests against a whole API server. Only sets up; `lattice.testing.fuzz` has the options and does the work."""

from __future__ import annotations

import subprocess

from kit.console import main_guard
from kit.paths import REPOSITORY
from kit.venv import ensure_venv


def main(arguments: list[str]) -> int:
    """Run it with the Python of this clone; an interrupt ends the server it started, too."""
    return subprocess.run([ensure_venv(), "-m", "lattice.testing.fuzz", *arguments], cwd=REPOSITORY, check=False).returncode


if __name__ == "__main__":
    main_guard("hack/fuzz", main)
