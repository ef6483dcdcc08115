"""gzip of answers: any reader can unpack it, with or without the fast engine."""

import gzip
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.apiserver import compression


@pytest.fixture(params=["as installed", "without isal"])
def engine(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "without isal":
            patch.setitem(sys.modules, "isal", None)
            patch.setitem(sys.modules, "isal.isal_zlib", None)
        yield importlib.reload(compression)
    importlib.reload(compression)


def test_it_falls_back_to_the_standard_library() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "isal", None)
        assert importlib.reload(compression).ENGINE == "zlib"
    assert importlib.reload(compression).QUICK_BYTES > 0


@pytest.mark.parametrize("size", [0, 1, 100, 200_000, 3_000_000])
def test_it_unpacks_to_the_same(engine: ModuleType, size: int) -> None:
    data = bytes(index * index % 251 for index in range(min(size, 5_000))) * (size // 5_000 or 1)
    packed = engine.gzip([data[:77], b"", data[77:]])
    assert gzip.decompress(packed) == data
    assert engine.gzip([data[:77], b"", data[77:]]) == packed
    assert size < 1_000 or len(packed) < len(data) // 4


@given(pieces=st.lists(st.binary(max_size=5_000), max_size=5))
def test_any_bytes(pieces: list[bytes]) -> None:
    assert gzip.decompress(compression.gzip(pieces)) == b"".join(pieces)
