"""Giving the files of a volume to a group (``fsGroup``). Called in a thread: it takes as long as there are files.

The rule is a kubelet's: group and its rights to read and write on everything, to enter on directories, which also hand their group on to
what is made in them (set-gid). No link is followed: a container may have put one there.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

FILE_BITS: Final = 0o660
DIRECTORY_BITS: Final = 0o2770


def give_to_group(root: Path, gid: int, *, only_if_root_differs: bool) -> None:
    """Give a tree to a group.

    Args:
        root: the directory of a volume.
        gid: the group.
        only_if_root_differs: leave the tree alone where its root is right already.

    Raises:
        OSError: the agent may not, or the disk fails.
    """
    if only_if_root_differs:
        seen = root.stat()
        if seen.st_gid == gid and seen.st_mode & DIRECTORY_BITS == DIRECTORY_BITS:
            return
    for _path, directories, names, here in os.fwalk(root, follow_symlinks=False):
        for name in (*directories, *names):
            _give(name, gid, here)
    # The root last: it is what "OnRootMismatch" looks at, and an interrupted walk must not look finished.
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _set(handle, gid)
    finally:
        os.close(handle)


def _give(name: str, gid: int, directory: int) -> None:
    try:
        handle = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=directory)
    except FileNotFoundError:
        return  # removed since it was listed
    try:
        if stat.S_ISLNK(os.fstat(handle).st_mode):
            os.chown(name, -1, gid, dir_fd=directory, follow_symlinks=False)
        else:
            _set(handle, gid)
    finally:
        os.close(handle)


def _set(handle: int, gid: int) -> None:
    """Set group and bits of what a descriptor stands for; its name in /proc works where the descriptor itself is only a place."""
    seen = os.fstat(handle)
    place = f"/proc/self/fd/{handle}"
    bits = DIRECTORY_BITS if stat.S_ISDIR(seen.st_mode) else FILE_BITS
    if seen.st_gid != gid:
        os.chown(place, -1, gid)
    # A change of owner takes set-gid away from files, so the mode comes second.
    Path(place).chmod(stat.S_IMODE(seen.st_mode) | bits)
