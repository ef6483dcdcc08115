"""gzip for answers: the only door to a compressor.

``http.py`` calls it for bodies above a threshold. ISA-L (the ``isal`` package) makes about the bytes of zlib's level 1 in a ninth of the
time, which decides how many large lists a server can answer; where no wheel of it exists, the standard library's zlib does the same
work slower. A caller asks :data:`QUICK_BYTES` whether a body is small enough to be compressed on the event loop.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Final

_GZIP_WBITS: Final = 31
"""zlib's number for a window of 32 KiB in a gzip frame."""
_LEVEL: Final = 1

_compress: Callable[..., bytes]
try:
    from isal import isal_zlib
except ImportError:
    ENGINE: str = "zlib"
    QUICK_BYTES: int = 256 * 1024
    _compress = zlib.compress
else:
    ENGINE = "isal"
    QUICK_BYTES = 2 * 1024 * 1024
    """Up to this size, compressing takes under 3 ms: less than a thread and its way back cost beside a busy event loop."""
    _compress = isal_zlib.compress


def gzip(data: bytes) -> bytes:
    """Return ``data`` as a gzip stream: the same bytes for the same data (no time, no name in it)."""
    options: dict[str, Any] = {"level": _LEVEL, "wbits": _GZIP_WBITS}
    return _compress(data, **options)
