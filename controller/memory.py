"""How this process gets memory from the system and looks for garbage: set once, when a control plane starts.

Called by ``controller/main.py``. Settings of glibc's malloc keep large bodies from staying behind as fragments: they always come
from a mapping of their own, which goes back to the system at once, and threads share few arenas. The garbage collector does not walk
what was imported and built at the start again and again. Elsewhere than on glibc the allocator is left as it is.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_M_TRIM_THRESHOLD: Final = -1
_OWN_MAPPING_FROM_BYTES: Final = 4 * 1024 * 1024
"""Blocks from here on are mapped and unmapped. glibc would raise its own limit up to 32 MiB with the first large body that is freed."""
_KEPT_FREE_BYTES: Final = 16 * 1024 * 1024
"""What stays with the process when it is free at the end of the heap. Giving it back and asking for it again costs more than all else that
happens to a list of 1,000 objects."""
_ARENAS: Final = 2
_GC_THRESHOLDS: Final = (10_000, 10, 20)
"""Allocations between collections: a request makes a few hundred objects and hardly ever a cycle."""


def tune_allocator() -> None:
    """Set malloc up; call it before memory is used in earnest."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return  # not glibc
    mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING_FROM_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_FREE_BYTES)
    mallopt(_M_ARENA_MAX, _ARENAS)


def settle() -> None:
    """Collect once, then leave what exists now out of every later collection; call it when everything has been started."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
