"""The server's data directory: one process at a time, one identity for ever."""

from pathlib import Path

import pytest

from controller.datadirectory import IDENTITY_FILE, DataDirectory
from lattice.api import errors


def test_the_identity_stays_and_is_that_of_the_directory(tmp_path: Path) -> None:
    with DataDirectory(tmp_path / "a") as first:
        identity = first.identity()
        assert first.identity() == identity
    with DataDirectory(tmp_path / "a") as second, DataDirectory(tmp_path / "b") as other:
        assert second.identity() == identity
        assert other.identity() != identity


def test_a_damaged_identity_is_made_anew(tmp_path: Path) -> None:
    with DataDirectory(tmp_path) as directory:
        before = directory.identity()
        (tmp_path / IDENTITY_FILE).write_text("")
        assert directory.identity() not in ("", before)


def test_one_at_a_time(tmp_path: Path) -> None:
    with DataDirectory(tmp_path), pytest.raises(errors.InUseError, match="another --data-dir"), DataDirectory(tmp_path):
        pass
    with DataDirectory(tmp_path):
        pass


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.UsageError, match="cannot use the data directory"), DataDirectory(tmp_path / "file" / "d"):
        pass
