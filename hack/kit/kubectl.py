"""A real kubectl, 1.30 or newer, for the tests that let a stock one talk to Lattice.

The program called `kubectl` may be a dispatcher that picks another version by what the server says (Google's SDK has
one, with `kubectl.1.NN` beside it). Tests want to know which version they ran: the newest real one is taken.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from kit.console import HackError, run

OLDEST = (1, 30)


def find_kubectl() -> Path:
    """The newest kubectl on this machine.

    Raises:
        HackError: There is none that is new enough.
    """
    given = os.environ.get("LATTICE_KUBECTL")
    versions = {path: _version(path) for path in ([Path(given)] if given else _candidates())}
    good = {path: version for path, version in versions.items() if version is not None and version >= OLDEST}
    if not good:
        oldest = ".".join(map(str, OLDEST))
        seen = ", ".join(map(str, versions)) or "none"
        raise HackError(f"kubectl {oldest} or newer is needed (found: {seen}): put one on PATH or name it in LATTICE_KUBECTL")
    return max(good, key=lambda path: good[path])


def _candidates() -> list[Path]:
    found: list[Path] = []
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        program = Path(folder) / "kubectl"
        if not os.access(program, os.X_OK):
            continue
        beside = sorted(program.resolve().parent.glob("kubectl.1.*"))
        found.extend(beside or [program.resolve()])
    return list(dict.fromkeys(found))


def _version(path: Path) -> tuple[int, int] | None:
    done = run([path, "version", "--client", "--output=json"], check=False, timeout_s=20)
    try:
        version = json.loads(done.stdout)["clientVersion"]
        return int(version["major"]), int(re.sub(r"\D", "", version["minor"]))
    except (ValueError, KeyError):
        return None
