"""Paths that a container may have had a hand in: a ``subPath`` of a volume, a ``hostPath`` below a directory that Pods may write.

A path that is handed to Docker is looked up when the container starts, links and all; a container that runs beside could put a link to
``/`` there in the last moment. So, as a kubelet does, the path is opened part by part without following a link, and what was opened is
bind-mounted to a place that only root reaches; Docker gets that place. It takes an agent that is root in the engine's mount namespace.

Layout: ``<run dir>.paths/<pod uid>/<container>.<number>``, each a mount point. Beside the run directory and never below it, because
that one is removed with everything in it, and what is mounted here is data. Removal unmounts and then removes empty directories only.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final

from lattice.api.errors import LatticeError

_MS_BIND: Final = 4096
_MNT_DETACH: Final = 2
_UMOUNT_NOFOLLOW: Final = 8
_O_PATH: Final = os.O_PATH
_KINDS: Final[dict[str, tuple[Callable[[int], bool], str]]] = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "FileOrCreate": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


class PathError(LatticeError):
    """The path cannot be mounted: it leads out of its root, is of another kind, or is not there."""


def open_below(root: str, path: str, *, kind: str = "", create: bool = False) -> int:
    """Open ``path`` below ``root`` without following any link in it; the caller closes the descriptor.

    Args:
        root: a directory; links on the way to it are followed.
        path: relative to it; empty: the root itself.
        kind: of ``hostPath.type``: what must be there; ``FileOrCreate`` makes a file.
        create: make directories where nothing is, with the mode and owner of the one above.

    Raises:
        PathError: see there.
    """
    where = f"{root}/{path}".rstrip("/")
    try:
        current = os.open(root, _O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise PathError(f"cannot mount {where}: {error.strerror}") from error
    parts = PurePosixPath(path).parts
    try:
        for number, part in enumerate(parts):
            makes_file = kind == "FileOrCreate" and number == len(parts) - 1
            following = _step(current, part, where, create=create, makes_file=makes_file)
            os.close(current)
            current = following
        _check_kind(os.fstat(current).st_mode, kind, where)
    except BaseException:
        os.close(current)
        raise
    return current


def _step(parent: int, part: str, where: str, *, create: bool, makes_file: bool) -> int:
    if part == "..":
        raise PathError(f"cannot mount {where}: the path must not go up")
    for attempt in range(2):
        try:
            following = os.open(part, _O_PATH | os.O_NOFOLLOW, dir_fd=parent)
        except FileNotFoundError:
            if attempt or not (create or makes_file):
                raise PathError(f"cannot mount {where}: {part} does not exist") from None
            _make(parent, part, is_file=makes_file)
            continue
        except OSError as error:
            raise PathError(f"cannot mount {where}: {part}: {error.strerror}") from error
        if stat.S_ISLNK(os.fstat(following).st_mode):
            os.close(following)
            raise PathError(f"cannot mount {where}: {part} is a link, which could lead out of the volume")
        return following
    raise PathError(f"cannot mount {where}: {part} does not exist")


def _make(parent: int, part: str, *, is_file: bool) -> None:
    above = os.fstat(parent)
    try:
        if is_file:
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=parent))
            return
        os.mkdir(part, 0o700, dir_fd=parent)
    except FileExistsError:
        return  # somebody was faster; what it is, is looked at next
    made = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        os.fchown(made, above.st_uid, above.st_gid)
        os.fchmod(made, stat.S_IMODE(above.st_mode))
    finally:
        os.close(made)


def _check_kind(mode: int, kind: str, where: str) -> None:
    check = _KINDS.get(kind)
    if check is not None and not check[0](mode):
        raise PathError(f"cannot mount {where}: it is not {check[1]}")


class GuardedPaths:
    """The mount points of all Pods. Calls are system calls of microseconds."""

    def __init__(self, run_directory: Path) -> None:
        self._root = run_directory.with_name(run_directory.name + ".paths")

    @property
    def available(self) -> bool:
        """Return whether this agent may mount."""
        return os.geteuid() == 0

    def bind(self, pod_uid: str, name: str, descriptor: int) -> str:
        """Mount what a descriptor stands for; return where. What was mounted under this name before is let go."""
        place = self._place(pod_uid, name)
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        if is_directory:
            place.mkdir(mode=0o700)
        else:
            place.touch(mode=0o600)
        _bind(f"/proc/self/fd/{descriptor}", place)
        return str(place)

    def remove(self, pod_uid: str) -> None:
        """Let go all mounts of a Pod. Idempotent; touches no data."""
        home = self._root / pod_uid
        if not home.is_dir():
            return
        for place in list(home.iterdir()):
            _let_go(place)
        home.rmdir()

    def remove_all(self) -> None:
        """Let go the mounts of all Pods, and the directory. To be done before any directory around it is removed with all in it.

        Raises:
            OSError: something cannot be unmounted; then nothing around it must be removed.
        """
        for pod_uid in self.pods():
            self.remove(pod_uid)
        if self._root.is_dir():
            self._root.rmdir()

    def pods(self) -> list[str]:
        """Return the uids of the Pods that have mounts here."""
        return sorted(path.name for path in self._root.iterdir()) if self._root.is_dir() else []

    def _place(self, pod_uid: str, name: str) -> Path:
        """Return a free place."""
        home = self._root / pod_uid
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root.chmod(0o700)
        place = home / name
        if place.exists():
            _let_go(place)
        return place


def _let_go(place: Path) -> None:
    """Unmount all that is mounted there, then remove the empty mount point; never what is in it."""
    libc = ctypes.CDLL(None, use_errno=True)
    while libc.umount2(os.fsencode(place), _MNT_DETACH | _UMOUNT_NOFOLLOW) == 0:
        pass
    number = ctypes.get_errno()
    if number != errno.EINVAL:  # which says that nothing is mounted there
        raise OSError(number, f"cannot unmount {place}: {os.strerror(number)}")
    if place.is_dir():
        place.rmdir()
    else:
        place.unlink()


def _bind(source: str, place: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(os.fsencode(source), os.fsencode(place), None, _MS_BIND, None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot mount {source} to {place}: {os.strerror(number)}")
