"""Secret and ConfigMap volumes as files on the node, bind-mounted read-only into containers.

Called by the worker of a Pod: :meth:`RunDirectory.write` before a container is created, :meth:`RunDirectory.remove` with the Pod. Layout::

    <run dir>/                       0700, on a tmpfs when the agent is root: nothing of a Secret reaches a disk
      <pod uid>/                     0700: only root passes here, whatever the modes below
        <volume name>/               0755, this is what the container sees
          <key>                      mode of the Pod's spec, default 0644

Files are replaced atomically, and only where the content differs: a second pass writes nothing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One key."""

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVolume:
    """The files of one volume."""

    name: str
    files: tuple[File, ...] = ()


def is_safe_path(path: str) -> bool:
    """Return whether a path stays inside the directory that it is joined to."""
    pure = PurePosixPath(path)
    return bool(path) and not pure.is_absolute() and ".." not in pure.parts and "\0" not in path


class RunDirectory:
    """The directory of all Pods' files. Calls block for microseconds: the files are small and in memory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def prepare(self) -> None:
        """Make the directory, for root alone."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root.chmod(0o700)

    def write(self, pod_uid: str, volumes: tuple[FileVolume, ...]) -> bool:
        """Make the files of a Pod as asked; return whether anything changed."""
        if not volumes:
            return False
        self.prepare()
        home = self._root / pod_uid
        home.mkdir(mode=0o700, exist_ok=True)
        changed = False
        for volume in volumes:
            directory = home / volume.name
            directory.mkdir(mode=0o755, exist_ok=True)
            directory.chmod(0o755)
            for file in volume.files:
                changed |= _write_file(directory / file.path, directory, file)
            wanted = {directory / file.path for file in volume.files}
            for stale in [path for path in directory.rglob("*") if path.is_file() and path not in wanted]:
                stale.unlink()
                changed = True
        return changed

    def remove(self, pod_uid: str) -> None:
        """Remove the files of a Pod. Idempotent."""
        shutil.rmtree(self._root / pod_uid, ignore_errors=True)

    def pods(self) -> list[str]:
        """Return the uids of the Pods that have files here."""
        return sorted(path.name for path in self._root.iterdir()) if self._root.is_dir() else []


def _write_file(path: Path, directory: Path, file: File) -> bool:
    if path.is_file() and path.read_bytes() == file.content and path.stat().st_mode & 0o777 == file.mode:
        return False
    parent = path.parent
    parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    while parent != directory:
        parent.chmod(0o755)
        parent = parent.parent
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(file.content)
            os.fchmod(stream.fileno(), file.mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return True
