"""Debian packages the scripts need, installed only when a program is missing.

A package's maintainer script may start a daemon (docker.io starts dockerd). A `policy-rc.d` that answers 101 stops
that while we install, and is removed after.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kit.console import HackError, main_guard, run, say
from kit.paths import REPOSITORY

POLICY = Path("/usr/sbin/policy-rc.d")
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


def find_program(name: str) -> str | None:
    """The path of a program, also of those in sbin, which a normal user's PATH lacks."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":" + SBIN)


def ensure_programs(package_of: Mapping[str, str]) -> None:
    """Install the packages of the programs that are missing (program → package).

    Raises:
        HackError: This is no Debian or Ubuntu, we are not root, or apt failed.
    """
    missing = {program: package for program, package in package_of.items() if find_program(program) is None}
    if not missing:
        return
    install_packages(sorted(set(missing.values())), reason=f"{', '.join(sorted(missing))} not found")


def install_packages(packages: list[str], *, reason: str) -> None:
    """Install packages without recommended ones and without starting their daemons."""
    if find_program("apt-get") is None:
        raise HackError(f"{reason}, and there is no apt-get here: please install {' '.join(packages)} yourself")
    if os.geteuid() != 0:
        as_root("kit.packages", *packages)
        return
    say(f"installing {' '.join(packages)} ({reason})")
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    options = ["-qq", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"]
    with _daemons_held_back():
        if run(["apt-get", "install", *options, *packages], check=False, env=env).returncode != 0:
            # The usual cause on a fresh machine: no package lists, or old ones.
            run(["apt-get", "update", "-qq"], env=env)
            run(["apt-get", "install", *options, *packages], env=env)


def as_root(module: str, *arguments: str) -> None:
    """Run a module of the kit with sudo, which may ask for a password at the terminal.

    Raises:
        HackError: There is no sudo, or the module failed.
    """
    if find_program("sudo") is None:
        raise HackError(f"{module} needs root, and there is no sudo here: please run this script as root")
    # What root needs to know of us; sudo clears the rest. -B: no byte code of root's in the clone.
    keep = [f"{name}={os.environ[name]}" for name in ("LATTICE_CACHE",) if name in os.environ]
    program = [sys.executable, "-B", "-m", module, *arguments]
    if subprocess.call(["sudo", "env", f"PYTHONPATH={REPOSITORY / 'hack'}", *keep, *program]) != 0:
        raise HackError(f"{module} {' '.join(arguments)} failed as root")


@contextmanager
def _daemons_held_back() -> Iterator[None]:
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)


def _main(packages: list[str]) -> int:
    install_packages(packages, reason="asked for by a script in hack/")
    return 0


if __name__ == "__main__":
    main_guard("hack", _main)
