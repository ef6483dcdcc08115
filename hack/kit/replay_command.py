"""`hack/replay`: the recorded exchanges with a real kube-apiserver against a server of this clone.

Only sets up; `lattice.testing.replay` has the options and does the work.
"""

from __future__ import annotations

import os
import subprocess

from kit.console import HackError, main_guard, say
from kit.kubectl import find_kubectl
from kit.paths import REPOSITORY
from kit.venv import ensure_venv


def main(arguments: list[str]) -> int:
    """Run it with the Python of this clone."""
    environment = dict(os.environ)
    try:
        environment["LATTICE_KUBECTL"] = str(find_kubectl())
    except HackError as error:
        say(f"{error}; only `hack/replay wire` will do")
    return subprocess.run(
        [ensure_venv(), "-m", "lattice.testing.replay", *arguments], cwd=REPOSITORY, env=environment, check=False
    ).returncode


if __name__ == "__main__":
    main_guard("hack/replay", main)
