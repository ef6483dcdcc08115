"""Collecting what a store's watch yields, for the contract suite and the tests of the back ends.

Typed by shape, because ``lattice`` knows nothing of ``controller``: a batch has ``revision`` and ``events``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any


async def collect(batches: AsyncGenerator[Any], until: int, deadline_s: float = 20.0) -> list[Any]:
    """Return the events of a watch until it has reached a revision; close the watch.

    Raises:
        AssertionError: revisions went back, or one was torn apart between two batches.
    """
    events: list[Any] = []
    position = 0
    async with asyncio.timeout(deadline_s), aclosing(batches):
        async for batch in batches:
            assert batch.revision > position, f"revision {batch.revision} after {position}"
            for event in batch.events:
                assert position < event.revision <= batch.revision, f"event of {event.revision} between {position} and {batch.revision}"
            events.extend(batch.events)
            position = batch.revision
            if position >= until:
                break
    return events
