"""What ``lattice up`` does when a child ends, with children of one line."""

import sys
from pathlib import Path

import pytest

from lattice.api import errors
from lattice.cli.children import Child
from lattice.machinery.clock import SystemClock
from lattice.testing.polling import eventually

COUNTING = """
import pathlib, sys
runs = pathlib.Path(sys.argv[1])
runs.write_text(runs.read_text() + "x")
codes = [int(code) for code in sys.argv[2].split(",")]
if len(runs.read_text()) <= len(codes):
    sys.exit(codes[len(runs.read_text()) - 1])
sys.stdin.read()
"""
"""Ends with one code after the other; then runs until the end of its input, as a verb with --stop-on-eof."""


def child(runs: Path, codes: str) -> Child:
    runs.touch()
    return Child("fake", [str(runs), codes], SystemClock(), program=(sys.executable, "-c", COUNTING))


@pytest.mark.parametrize("codes", ["4,4", "1,0", "1,4"])
async def test_it_is_started_again_until_it_stays(tmp_path: Path, codes: str) -> None:
    """4: its data directory is in use, by a predecessor that ends."""
    fake = child(tmp_path / "runs", codes)
    await fake.start()

    async def third() -> bool:
        return (tmp_path / "runs").read_text() == "xxx"

    try:
        await eventually(third, 20, "the third start")
        assert not fake.failed.is_set()
        fake.raise_if_failed()
    finally:
        await fake.stop()


async def test_it_is_not_started_again_where_that_cannot_help(tmp_path: Path) -> None:
    fake = child(tmp_path / "runs", "2,2")
    await fake.start()

    async def failed() -> bool:
        return fake.failed.is_set()

    try:
        await eventually(failed, 20, "the child to be given up")
        assert (tmp_path / "runs").read_text() == "x"
        with pytest.raises(errors.UsageError, match="lattice fake"):
            fake.raise_if_failed()
    finally:
        await fake.stop()
