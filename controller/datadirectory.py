"""The control plane's data directory: one process at a time, and who that process is.

``main.py`` opens it before anything else, on both stores. The kernel gives the lock back when the process ends, however it ends. What it
guarantees is what the identity needs: of two processes that present the same identity at the election, the other one is dead.
So a control plane that was killed takes its own lease back at once, instead of waiting until it expires.

The embedded store has locks of its own beside its files; they also keep ``lattice restore`` of another version out.
"""

from __future__ import annotations

import socket
import uuid
from pathlib import Path
from types import TracebackType

from lattice.api import errors
from lattice.machinery.filelock import FileLock

LOCK_FILE = "server.lock"
IDENTITY_FILE = "server-id"


class DataDirectory:
    """Holds a data directory while it is entered.

    Args:
        root: made where it does not exist, readable by the owner alone.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = FileLock(root / LOCK_FILE)

    def __enter__(self) -> DataDirectory:
        """Make the directory and take its lock.

        Raises:
            errors.InUseError: another control plane, or a restore, has it.
            errors.UsageError: it cannot be written.
        """
        try:
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock.__enter__()
        except BlockingIOError as error:
            raise errors.InUseError(
                f"another control plane runs on the data directory {self._root}: stop it, or use another --data-dir"
            ) from error
        except OSError as error:
            raise errors.UsageError(f"cannot use the data directory {self._root}: {error.strerror}") from error
        return self

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None) -> None:
        """Give the lock back."""
        self._lock.__exit__(exc_type, exc, traceback)

    def identity(self) -> str:
        """Return who the holder of this directory is at an election: the same after each restart.

        The host's name keeps a directory that was copied to another machine from being taken for this one.
        """
        path = self._root / IDENTITY_FILE
        try:
            made = str(uuid.UUID(path.read_text().strip()))
        except (FileNotFoundError, ValueError):  # damaged is as good as none: the old lease expires, as a stranger's would
            made = str(uuid.uuid4())
            temporary = path.with_suffix(".new")
            temporary.write_text(f"{made}\n")
            temporary.replace(path)
        return f"{socket.gethostname()}-{made}"
