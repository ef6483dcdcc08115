"""How this process gets memory from the system and looks for garbage: set once, when a control plane starts.

Called by ``controller/main.py``. Settings of glibc's malloc keep large bodies from staying behind as fragments: they always come
from a mapping of their own, which goes back to the system at once, and threads share few arenas. The garbage collector does not walk
what was imported and built at the start again and again. Elsewhere than on glibc the allocator is left as it is.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lattice.machinery.clock import Clock

_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_M_TRIM_THRESHOLD: Final = -1
_OWN_MAPPING_FROM_BYTES: Final = 256 * 1024
"""Blocks from here on are mapped and unmapped: bodies, and the read buffer that uvloop has for each TLS connection. glibc would raise its
own limit up to 32 MiB with the first large block that is freed. What lists are sent in is smaller (``http.py``)."""
_KEPT_FREE_BYTES: Final = 16 * 1024 * 1024
"""What stays with the process when it is free at the end of the heap. Giving it back and asking for it again costs more than all else that
happens to a list of 1,000 objects."""
_TRIM_PERIOD_S: Final = 60.0
_TRIM_GROWTH_BYTES: Final = 32 * 1024 * 1024
_STATM: Final = Path("/proc/self/statm")
_ARENAS: Final = 2
_GC_THRESHOLDS: Final = (10_000, 10, 20)
"""Allocations between collections: a request makes a few hundred objects and hardly ever a cycle."""


def _function(name: str) -> Callable[..., int] | None:
    """Return a function of glibc's malloc, ``None`` on another C library."""
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        return None
    return found


def tune_allocator() -> None:
    """Set malloc up; call it before memory is used in earnest."""
    mallopt = _function("mallopt")
    if mallopt is None:
        return
    mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING_FROM_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_FREE_BYTES)
    mallopt(_M_ARENA_MAX, _ARENAS)


def settle() -> None:
    """Collect once, then leave what exists now out of every later collection; call it when everything has been started."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


async def give_back_for_ever(clock: Clock) -> None:
    """Give free memory back to the system, also from within the heap: what a flood of connections left there.

    It is looked for when the process has grown by ``_TRIM_GROWTH_BYTES`` since the last time: looking takes 0.1 s for each GB. Garbage in
    cycles comes first: a watch that was cancelled when its kind went can hold that kind's compiled schema, a megabyte in a few objects,
    which the collector's own count of objects takes hours to notice.
    """
    trim = _function("malloc_trim")
    before = 0
    while trim is not None:
        await clock.sleep(_TRIM_PERIOD_S)
        if _resident_bytes() - before >= _TRIM_GROWTH_BYTES:
            gc.collect()
            await asyncio.to_thread(trim, _KEPT_FREE_BYTES)
            before = _resident_bytes()


def _resident_bytes() -> int:
    return int(_STATM.read_text().split()[1]) * resource.getpagesize()
