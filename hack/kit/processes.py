"""Whether a process that a pid file names is still the one we started."""

from __future__ import annotations

from pathlib import Path


def is_zombie(pid: int) -> bool:
    """Whether it ended and only waits for its parent, which may be this script.

    Raises:
        OSError: There is no such process.
    """
    # The name in parentheses may hold anything; the state follows its last parenthesis.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def read_live_pid(pid_file: Path, name: str) -> int | None:
    """The process of a pid file, if it runs and has this name; a pid may have gone to somebody else since."""
    try:
        pid = int(pid_file.read_text())
        alive = Path(f"/proc/{pid}/comm").read_text().strip() == name and not is_zombie(pid)
    except (OSError, ValueError):
        return None
    return pid if alive else None
