"""A small root file system, picked from unpacked packages.

Picking the named programs and the shared libraries that their loader lists makes an image four times smaller than the
packages it comes from, and needs no chroot. The loader that lists them is the one in the packages, so the result does
not depend on what this machine has installed.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from kit.console import HackError
from kit.images.debian import make_merged_usr
from kit.images.recipes import SHELL_PACKAGES, Recipe

FILES = Path(__file__).parent / "files"
MULTIARCH = f"usr/lib/{platform.machine()}-linux-gnu"
LOADER = {"x86_64": "usr/lib64/ld-linux-x86-64.so.2", "aarch64": "usr/lib/ld-linux-aarch64.so.1"}
FOLDERS = ("dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr/local/bin", "var/lib", "var/log", "var/tmp")


def build_root(recipe: Recipe, source: Path, target: Path) -> None:
    """Fill `target` with the recipe's image, out of the unpacked packages in `source`."""
    make_merged_usr(target)
    for folder in FOLDERS:
        (target / folder).mkdir(parents=True, exist_ok=True)
    (target / "var/run").symlink_to("/run")
    _write_accounts(recipe, target)
    for path in recipe.pick:
        _copy(source, target, path)
    if set(SHELL_PACKAGES) <= set(recipe.packages):
        _copy(source, target, "usr/bin/dash")
        (target / "usr/bin/sh").symlink_to("dash")
    for link, points_to in recipe.links.items():
        (target / link).symlink_to(points_to)
    for path, (name, mode) in recipe.files.items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(FILES / name, target / path)
        (target / path).chmod(mode)
    for path in recipe.folders:
        # A link such as var/run → /run points out of the tree while we build: resolve it inside.
        inside = target / path.replace("var/run/", "run/", 1)
        inside.mkdir(parents=True, exist_ok=True)
    _copy_libraries(source, target)
    _add_busybox(source, target)


def _write_accounts(recipe: Recipe, target: Path) -> None:
    users = {"root": (0, "/root"), "nobody": (65534, "/"), **recipe.users}
    passwd = "".join(f"{name}:x:{uid}:{uid}::{home}:/bin/sh\n" for name, (uid, home) in users.items())
    group = "".join(f"{name}:x:{uid}:\n" for name, (uid, _home) in users.items())
    (target / "etc/passwd").write_text(passwd)
    (target / "etc/group").write_text(group)
    (target / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")


def _copy(source: Path, target: Path, path: str) -> None:
    """Copy a file or folder, and what a link points to."""
    origin, copy = source / path, target / path
    if not os.path.lexists(origin):
        raise HackError(f"the packages hold no /{path}: the recipe does not fit this release")
    copy.parent.mkdir(parents=True, exist_ok=True)
    if origin.is_dir() and not origin.is_symlink():
        shutil.copytree(origin, copy, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("bitcode", "llvmjit*"))
    elif not os.path.lexists(copy):
        shutil.copy2(origin, copy, follow_symlinks=False)
        if origin.is_symlink():
            goal = os.path.normpath(Path(path).parent / origin.readlink()).lstrip("/")
            if (source / goal).exists():
                _copy(source, target, goal)


def _copy_libraries(source: Path, target: Path) -> None:
    """The shared libraries of all programs that were picked, and those of name look-up, which are opened by name."""
    loader = LOADER.get(platform.machine())
    if loader is None:
        raise HackError(f"no stand-in images for {platform.machine()}: please use an image registry")
    programs = [path for path in target.rglob("*") if path.is_file() and not path.is_symlink() and _is_dynamic(path)]
    if not programs:
        return
    _copy(source, target, loader)
    for library in ("libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"):
        _copy(source, target, f"{MULTIARCH}/{library}")
    # Folders of private libraries (such as systemd's) do not matter to what we pick: one search path is enough.
    command: list[str | Path] = [source / loader, "--library-path", source / MULTIARCH, "--list"]
    for program in programs:
        listed = subprocess.run([*command, program], capture_output=True, text=True, check=False).stdout
        for name, path in re.findall(r"^\s*(\S+) => (\S+)", listed, re.MULTILINE):
            if name.startswith("/"):  # the loader itself
                continue
            if path == "not":  # "not found"
                raise HackError(f"/{program.relative_to(target)} needs {name}, which no package of the recipe has")
            _copy(source, target, f"{MULTIARCH}/{name}")


def _is_dynamic(path: Path) -> bool:
    """Whether this is an ELF file; all that recipes pick are dynamically linked (busybox is added later)."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _add_busybox(source: Path, target: Path) -> None:
    """busybox and a link for every applet that the image has no real program for."""
    _copy(source, target, "usr/bin/busybox")
    applets = subprocess.run([source / "usr/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout
    for applet in applets.split():
        if not any(os.path.lexists(target / folder / applet) for folder in ("usr/bin", "usr/sbin", "usr/local/bin")):
            (target / "usr/bin" / applet).symlink_to("busybox")
