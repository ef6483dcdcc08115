"""Termination messages: the file that a container may write to before it ends (``/dev/termination-log``).

Called by the worker of a Pod: :meth:`TerminationMessages.prepare` before a container is created, which bind-mounts the file, then
:meth:`TerminationMessages.read` after its end, then :meth:`TerminationMessages.remove` with the Pod. Layout::

    <data dir>/messages/<pod uid>/<container>.<attempt>     0666: whoever the container runs as may write it

On the disk and not in memory: what a container writes is bounded by nobody. What is read is.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

LIMIT_BYTES: Final = 4096
"""Kubernetes' bound for one container's message."""


class TerminationMessages:
    """See the module's docstring."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def prepare(self, pod_uid: str, container: str, attempt: int) -> Path:
        """Make the file of an attempt, empty, and return its path."""
        home = self._root / pod_uid
        for directory in (self._root, home):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = home / f"{container}.{attempt}"
        path.write_bytes(b"")
        path.chmod(0o666)
        for old in home.glob(f"{container}.*"):
            number = old.suffix.removeprefix(".")
            if number.isdigit() and int(number) < attempt - 1:
                old.unlink(missing_ok=True)
        return path

    def read(self, pod_uid: str, container: str, attempt: int) -> str:
        """Return what an attempt left, cut to its last 4096 bytes; empty if it left nothing."""
        path = self._root / pod_uid / f"{container}.{attempt}"
        if path.is_symlink() or not path.is_file():
            return ""
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - LIMIT_BYTES))
            return stream.read(LIMIT_BYTES).decode(errors="replace").strip("\0")

    def remove(self, pod_uid: str) -> None:
        """Remove the files of a Pod. Idempotent."""
        shutil.rmtree(self._root / pod_uid, ignore_errors=True)
