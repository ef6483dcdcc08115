"""The lock on a file: one holder at a time, free again when it ends."""

import pytest

from lattice.machinery.filelock import FileLock


def test_a_second_holder_is_refused_until_the_first_gives_it_back(tmp_path):
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    first.acquire()
    with pytest.raises(BlockingIOError):
        second.acquire()
    second.release()  # it never had it: the first one's stays
    with pytest.raises(BlockingIOError), second:
        pass
    first.release()
    first.release()
    with second:
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_opened_is_no_lock(tmp_path):
    with pytest.raises(FileNotFoundError):
        FileLock(tmp_path / "absent" / "lock").acquire()
