"""A backup that is cut off or damaged anywhere is told from a whole one, in pieces of any size."""

import gzip
import hashlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.api import errors
from lattice.cli.backup import Verifier


def backup_of(*records: bytes) -> bytes:
    lines = [b'{"format":"f"}\n', *(record + b"\n" for record in records)]
    footer = {"count": len(records), "sha256": hashlib.sha256(b"".join(lines[1:])).hexdigest()}
    return gzip.compress(b"".join([*lines, orjson.dumps(footer) + b"\n"]))


def verify(data: bytes, size: int) -> int:
    verifier = Verifier()
    for start in range(0, len(data), size):
        verifier.feed(data[start : start + size])
    return verifier.finish()


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("count", [0, 1, 50])
def test_a_whole_one_is_counted(size: int, count: int) -> None:
    assert verify(backup_of(*(b"{%d}" % number for number in range(count))), size) == count


WHOLE = backup_of(b"one", b"two", b"three")


@given(end=st.integers(0, len(WHOLE) - 1), size=st.integers(1, 40))
def test_one_that_is_cut_off_is_refused(end: int, size: int) -> None:
    with pytest.raises(errors.UnavailableError, match="whole"):
        verify(WHOLE[:end], size)


@pytest.mark.parametrize(
    "data",
    [
        b"<html>",
        WHOLE + b"x",
        gzip.compress(gzip.decompress(WHOLE).replace(b"two", b"owt")),
        gzip.compress(gzip.decompress(WHOLE).replace(b"two\n", b"")),
        gzip.compress(gzip.decompress(WHOLE) + b"more\n"),
    ],
)
def test_a_damaged_one_is_refused(data: bytes) -> None:
    with pytest.raises(errors.UnavailableError, match="whole"):
        verify(data, 16)
