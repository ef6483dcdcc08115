"""Debian packages as a source of files: resolve, download, unpack; nothing is installed and no maintainer script runs.

apt is asked with an empty package database, so the answer is the whole closure whatever this machine has installed, and
with this machine's package lists and sources, so what is configured there is what is used.
"""

from __future__ import annotations

import fnmatch
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kit.console import HackError, run

UNUSED = ("doc", "man", "locale", "info", "lintian", "bug", "perl5", "postgresql-common")
"""Folders of usr/share that no image needs."""


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """A package at a version, as apt spells it (with epoch and Debian revision)."""

    name: str
    version: str

    @property
    def upstream_version(self) -> str:
        """`5:7.0.15-1~deb12u10` is 7.0.15."""
        return re.split(r"[-+~]", self.version.split(":")[-1])[0]


class Archive:
    """apt with a package database of its own, below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._debs = folder / "debs"
        self._debs.mkdir(parents=True, exist_ok=True)
        status = folder / "dpkg-status"
        status.touch()
        self._options = [
            "-o",
            f"Dir::State::status={status}",
            "-o",
            "Debug::NoLocking=1",
            "-o",
            "APT::Sandbox::User=root",
        ]

    def closure(self, packages: tuple[str, ...], skip: tuple[str, ...]) -> list[Package]:
        """These packages and all they need, but those whose name matches a pattern of `skip`.

        Raises:
            HackError: The archive does not have one of them.
        """
        command = ["apt-get", *self._options, "-qq", "-s", "--no-install-recommends", "install", *packages]
        done = run(command, check=False)
        if done.returncode != 0:
            raise HackError(
                f"apt cannot resolve {' '.join(packages)} (are the package lists there? try `apt-get update`):\n"
                + (done.stdout + done.stderr).strip()
            )
        found = re.findall(r"^Inst (\S+?)(?::\S+)? (?:\[\S+\] )?\((\S+) ", done.stdout, re.MULTILINE)
        kept = (Package(*pair) for pair in found if not any(fnmatch.fnmatch(pair[0], pattern) for pattern in skip))
        return sorted(kept)

    def unpack(self, packages: list[Package], root: Path) -> None:
        """Download what is not in the cache, and unpack all into one tree with merged /usr."""
        wanted = [f"{package.name}={package.version}" for package in packages]
        done = subprocess.run(
            ["apt-get", *self._options, "-qq", "download", *wanted],
            cwd=self._debs,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            first = "\n".join(done.stderr.strip().splitlines()[:3])
            raise HackError(f"apt cannot download {len(wanted)} packages:\n{first}")
        make_merged_usr(root)
        excluded = [f"--exclude=./usr/share/{folder}" for folder in UNUSED]
        for package in packages:
            with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", self._deb(package)], stdout=subprocess.PIPE) as reader:
                subprocess.run(
                    ["tar", "-x", "-C", root, "--no-same-owner", "--keep-directory-symlink", *excluded],
                    stdin=reader.stdout,
                    check=True,
                )
            if reader.returncode != 0:
                raise HackError(f"{package.name} {package.version} cannot be unpacked: delete {self._debs}")

    def _deb(self, package: Package) -> Path:
        version = package.version.replace(":", "%3a")
        for path in self._debs.glob(f"{package.name}_{version}_*.deb"):
            return path
        raise HackError(f"apt did not download {package.name} {package.version} to {self._debs}")


def make_merged_usr(root: Path) -> None:
    """/bin, /sbin and the library folders as links into /usr, as every current Debian and Ubuntu has them."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        if not (root / name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
