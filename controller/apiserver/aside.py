"""Work on large bodies, beside the event loop: one request of three megabytes must not keep all others waiting.

What a write does between its body and the store is ordinary Python, and its time grows with the object. Small objects, nearly all, are
worked on where they arrive, at once. Large ones go through one thread, one after the other, so that however many come, the event loop
shares the interpreter with one of them only. Whatever is called here must not touch what belongs to the loop: caches, the store, streams.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")

LARGE_BYTES: Final = 64 * 1024
"""From here on an object may take more than some ten milliseconds."""
_SWITCH_S: Final = 0.001
_thread: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="large-objects")


async def aside(size_bytes: int, work: Callable[[], T]) -> T:
    """Return what ``work`` returns, or raise what it raises; beside the loop if ``size_bytes``, what it works on, is large."""
    if size_bytes < LARGE_BYTES:
        return work()
    return await asyncio.get_running_loop().run_in_executor(_thread, _yielding, work)


def _yielding(work: Callable[[], T]) -> T:
    """Run ``work`` in a thread that gives the interpreter away five times as willingly as threads do by themselves.

    The loop asks for it several times for each request that it answers meanwhile.
    """
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        return work()
    finally:
        sys.setswitchinterval(usual_s)
