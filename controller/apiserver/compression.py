"""gzip for answers: the only door to a compressor.

``http.py`` calls it for bodies above a threshold. ISA-L (the ``isal`` package) makes about the bytes of zlib's level 1 in a ninth of the
time, which decides how many large lists a server can answer; where no wheel of it exists, the standard library's zlib does the same
work slower. A caller asks :data:`QUICK_BYTES` whether a body is small enough to be compressed on the event loop.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import Any, Final

_GZIP_WBITS: Final = 31
"""zlib's number for a window of 32 KiB in a gzip frame."""
_LEVEL: Final = 1

_compressor: Callable[..., Any]
try:
    from isal import isal_zlib
except ImportError:
    ENGINE: str = "zlib"
    QUICK_BYTES: int = 256 * 1024
    _compressor = zlib.compressobj
else:
    ENGINE = "isal"
    QUICK_BYTES = 3 * 1024 * 1024
    """Up to this size, compressing takes under 4 ms: less than a thread and its way back cost beside a busy event loop."""
    _compressor = isal_zlib.compressobj


def gzip(pieces: Iterable[bytes]) -> bytes:
    """Return ``pieces`` as one gzip stream: the same bytes for the same pieces (no time, no name in it)."""
    stream = _compressor(level=_LEVEL, wbits=_GZIP_WBITS)
    packed = [stream.compress(piece) for piece in pieces]
    packed.append(stream.flush())
    return b"".join(packed)
