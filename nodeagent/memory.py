"""How the agent keeps small: it is a guest on somebody's machine.

Called by ``main.py``. glibc is told to use one arena (the agent's threads are few and short) and to give free memory back early; once
everything runs, what the start has left over is collected and given back, and what will stay is taken out of later collections. Where
there is no glibc, only the last part happens. What is not needed on most nodes is imported when it is (h2, for gRPC probes).
"""

from __future__ import annotations

import ctypes
import gc
import linecache
from collections.abc import Callable
from typing import Final

from lattice.machinery.clock import Clock

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_TRIM_BYTES: Final = 128 * 1024
_OWN_MAPPING_FROM_BYTES: Final = 128 * 1024
"""glibc's first value; setting it keeps glibc from raising it, after which large blocks would stay in the heap."""
_SETTLED_AFTER_S: Final = 20.0
"""By then the first snapshot, list and status are done."""
_TRIM_PERIOD_S: Final = 600.0


def _function(name: str) -> Callable[..., int] | None:
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        return None
    return found


def tune() -> None:
    """Set malloc up; call it before memory is used in earnest."""
    if (mallopt := _function("mallopt")) is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING_FROM_BYTES)


async def keep_small(clock: Clock) -> None:
    """Give back what is free, when the agent has settled and from then on every ten minutes; until cancelled."""
    trim = _function("malloc_trim")
    await clock.sleep(_SETTLED_AFTER_S)
    linecache.clearcache()  # sources that pydantic read for the docstrings of fields
    gc.collect()
    gc.freeze()
    while True:
        gc.collect()
        if trim is not None:
            trim(0)  # about a millisecond: the heap is small
        await clock.sleep(_TRIM_PERIOD_S)
