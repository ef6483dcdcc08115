"""The virtual environment of this clone, `.venv`.

Called first by every script that needs Lattice itself. A stamp beside it says for which `pyproject.toml` and which
constraints it was filled, so that the second call costs nothing.
"""

from __future__ import annotations

import hashlib
import sys
import tomllib
from pathlib import Path

from kit.console import run, say
from kit.packages import install_packages
from kit.paths import REPOSITORY, VENV

PROJECT = REPOSITORY / "pyproject.toml"
CONSTRAINTS = REPOSITORY / "hack" / "constraints.txt"
"""Versions that were tested together; without addresses, so any package index will do."""
INSTALL_TIMEOUT_S = 1200


def ensure_venv(*groups: str) -> Path:
    """Create and fill the environment if need be; the path of its Python.

    The development group is always in it: `hack/up --check` and `hack/test` need it, and two environments cost more than
    one that is larger.

    Args:
        groups: Further groups of `pyproject.toml`; what is there already stays.
    """
    python = VENV / "bin" / "python"
    stamp = VENV / "lattice-stamp"
    wanted = {"dev", *groups}
    fingerprint, *there = (stamp.read_text() if python.exists() and stamp.exists() else "").split() or [""]
    if fingerprint == _fingerprint() and wanted <= set(there):
        return python
    if not python.exists():
        say(f"creating the virtual environment {VENV.name} with Python {sys.version.split()[0]}")
        if run([sys.executable, "-m", "venv", VENV], check=False).returncode != 0:
            # Debian keeps the part of Python that makes environments in a package of its own.
            install_packages(["python3-venv"], reason="this Python cannot create virtual environments")
            run([sys.executable, "-m", "venv", "--clear", VENV])
    say("installing dependencies (a minute or two the first time)")
    known = tomllib.loads(PROJECT.read_text())["dependency-groups"]
    packages = [package for group in sorted(wanted) for package in known[group]]
    options: list[str | Path] = ["--quiet", "--disable-pip-version-check", "--constraint", CONSTRAINTS]
    run(
        [python, "-m", "pip", "install", *options, "--editable", f"{REPOSITORY}[all]", *packages],
        timeout_s=INSTALL_TIMEOUT_S,
    )
    stamp.write_text("\n".join([_fingerprint(), *sorted(wanted)]))
    return python


def _fingerprint() -> str:
    digest = hashlib.sha256(PROJECT.read_bytes() + CONSTRAINTS.read_bytes())
    digest.update(str(VENV).encode())  # an environment that was copied elsewhere does not work there
    return digest.hexdigest()
