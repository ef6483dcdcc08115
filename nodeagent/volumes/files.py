"""Secret, ConfigMap, downward and projected volumes as files on the node, bind-mounted read-only into containers.

Called by the worker of a Pod: :meth:`RunDirectory.write` before a container is created, :meth:`RunDirectory.remove` with the Pod; and by
``live.py`` when an object changes. Layout::

    <run dir>/                       0700, on a tmpfs when the agent is root: nothing of a Secret reaches a disk
      <pod uid>/                     0700: only root passes here, whatever the modes below
        <volume name>/               0755, this is what the container sees
          ..<random>/                0755, one set of files
            <key>                    mode of the Pod's spec, default 0644
          ..data -> ..<random>       swapped by a rename: a reader sees all of the old set, or all of the new one
          <key> -> ..data/<key>      the first part of each path

This is the layout of a kubelet's ``AtomicWriter``, which programs know: those that watch for changes watch ``..data``. A second pass with
the same content writes nothing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

CURRENT: Final = "..data"
_NEXT: Final = "..data_tmp"


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
    gid: int | None = None
    """Group of files and directories; ``None``: the agent's."""


def is_safe_path(path: str) -> bool:
    """Return whether a path stays inside the directory that it is joined to, and does not look like the layout's own names."""
    pure = PurePosixPath(path)
    return bool(path) and not pure.is_absolute() and "\0" not in path and not any(part.startswith("..") for part in pure.parts)


class RunDirectory:
    """The directory of all Pods' files. Calls block for microseconds: the files are small and in memory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Make the directory, for root alone."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root.chmod(0o700)

    def write(self, pod_uid: str, volumes: tuple[FileVolume, ...]) -> bool:
        """Make the files of a Pod as asked; return whether anything changed."""
        if not volumes:
            return False
        self.prepare()
        home = self.root / pod_uid
        home.mkdir(mode=0o700, exist_ok=True)
        changed = False
        for volume in volumes:
            changed |= _write_volume(home / volume.name, volume)
        return changed

    def has(self, pod_uid: str, volume: str) -> bool:
        """Return whether the files of a volume have been written for a Pod."""
        return (self.root / pod_uid / volume).is_dir()

    def remove(self, pod_uid: str) -> None:
        """Remove the files of a Pod. Idempotent."""
        shutil.rmtree(self.root / pod_uid, ignore_errors=True)

    def pods(self) -> list[str]:
        """Return the uids of the Pods that have files here."""
        return sorted(path.name for path in self.root.iterdir()) if self.root.is_dir() else []


def _write_volume(directory: Path, volume: FileVolume) -> bool:
    directory.mkdir(mode=0o755, exist_ok=True)
    _own(directory, 0o755, volume.gid)
    current = directory / CURRENT
    if current.is_symlink() and _is_as_asked(current, volume):
        return False
    before = directory / current.readlink() if current.is_symlink() else None
    made = Path(tempfile.mkdtemp(prefix="..", dir=directory))
    try:
        _own(made, 0o755, volume.gid)
        for file in volume.files:
            _write_file(made, file, volume.gid)
        (directory / _NEXT).unlink(missing_ok=True)
        (directory / _NEXT).symlink_to(made.name)
        (directory / _NEXT).replace(current)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    visible = {PurePosixPath(file.path).parts[0] for file in volume.files}
    for name in visible:
        _link(directory, name)
    for entry in list(directory.iterdir()):
        if entry.name not in visible and entry.name not in (CURRENT, made.name):
            _discard(entry)
    if before is not None and before != made:
        shutil.rmtree(before, ignore_errors=True)
    return True


def _is_as_asked(current: Path, volume: FileVolume) -> bool:
    """Return whether the present set is the wanted one, in paths, content, modes and group."""
    present = {str(path.relative_to(current)): path for path in current.rglob("*") if path.is_file()}
    if set(present) != {str(PurePosixPath(file.path)) for file in volume.files}:
        return False
    for file in volume.files:
        path = present[str(PurePosixPath(file.path))]
        seen = path.stat()
        if seen.st_mode & 0o777 != file.mode or (volume.gid is not None and seen.st_gid != volume.gid) or path.read_bytes() != file.content:
            return False
    return all((current.parent / PurePosixPath(file.path).parts[0]).is_symlink() for file in volume.files)


def _write_file(root: Path, file: File, gid: int | None) -> None:
    path = root / file.path
    parents = list(path.relative_to(root).parents)[:-1]
    for parent in reversed(parents):
        (root / parent).mkdir(mode=0o755, exist_ok=True)
        _own(root / parent, 0o755, gid)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(file.content)
        if gid is not None:
            os.fchown(stream.fileno(), -1, gid)
        os.fchmod(stream.fileno(), file.mode)


def _own(path: Path, mode: int, gid: int | None) -> None:
    if gid is not None:
        os.chown(path, -1, gid)
    path.chmod(mode)


def _link(directory: Path, name: str) -> None:
    """Let a name point into the present set, also where an older agent wrote a file or directory of that name."""
    path = directory / name
    if path.is_symlink():
        return
    if path.is_dir():
        shutil.rmtree(path)
    temporary = directory / f"..link_{name}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(f"{CURRENT}/{name}")
    temporary.replace(path)


def _discard(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
