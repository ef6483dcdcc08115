"""One process at a time, by a lock on a file.

Used for data directories by the control plane, the embedded store, the agent and ``lattice up``. It is a ``flock``: the kernel gives it
back when the process ends, however it ends, so nothing stale is left to clean up. The file stays. Children do not inherit it.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType


class FileLock:
    """Held while it is entered, or from ``acquire`` to ``release`` where its owner is no block of code.

    Args:
        path: of the file; made where it does not exist, readable by the owner alone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, without waiting.

        Raises:
            BlockingIOError: another process has it.
            OSError: the file cannot be opened or locked.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Give it back, if it is held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> FileLock:
        """Take the lock, as :meth:`acquire` does."""
        self.acquire()
        return self

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None) -> None:
        """Give it back."""
        self.release()
