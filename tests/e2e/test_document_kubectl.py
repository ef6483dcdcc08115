"""The commands in docs/how-to/use-kubectl.md print what stands there."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lattice.testing.controlplane import ControlPlane
from lattice.testing.documents import blocks

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "use-kubectl.md"
pytestmark = [pytest.mark.e2e, pytest.mark.kubectl, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]


def stories(block: str) -> Iterator[tuple[str, str]]:
    """Each command of a ``console`` block with what it prints."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        yield command, printed


async def test_the_page_tells_what_happens(kubectl: str, plane: ControlPlane, tmp_path: Path) -> None:
    programs, work = tmp_path / "bin", tmp_path / "work"
    programs.mkdir()
    work.mkdir()
    (programs / "kubectl").symlink_to(kubectl)
    for manifest in blocks(DOCUMENT, "yaml"):
        (work / manifest.split("\n", 1)[0].removeprefix("# ")).write_text(manifest)
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "KUBECONFIG": str(plane.kubeconfig),
        "KUBECACHEDIR": str(tmp_path / "cache"),
        "HOME": str(tmp_path),
    }
    told = [story for block in blocks(DOCUMENT, "console") for story in stories(block)]
    assert len(told) > 30
    for command, printed in told:
        done = await asyncio.to_thread(
            subprocess.run,
            ["bash", "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=work,
            env=environment,
            timeout=60,
        )
        assert done.stdout == printed, command
