"""Automatic compaction: history is kept for a while, so that watches can resume, and then forgotten, so that the store does not grow.

One task per store. Running it in several processes on one etcd is harmless: compacting twice is compacting once.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Final

from controller.store import base
from lattice.machinery.clock import Clock

logger = logging.getLogger(__name__)

RETENTION_S: Final = 600.0
"""How long history is kept: a client that was away for less resumes its watch instead of listing again. kube-apiserver keeps 5 to 10
minutes; an agent behind a flaky line is away for longer than a client in a data centre."""
PERIOD_S: Final = 60.0


async def compact_for_ever(store: base.Store, clock: Clock, *, retention_s: float = RETENTION_S, period_s: float = PERIOD_S) -> None:
    """Every ``period_s``, forget what is older than ``retention_s``. Never ends; a failure is logged and tried again."""
    marks: deque[tuple[float, base.Revision]] = deque()
    while True:
        try:
            marks.append((clock.monotonic(), await store.revision()))
            due: base.Revision | None = None
            while marks and marks[0][0] <= clock.monotonic() - retention_s:
                due = marks.popleft()[1]
            if due:
                await store.compact(due)
        except base.StoreError as error:
            logger.warning("compaction failed and will be tried again", extra={"error": str(error)})
        await clock.sleep(period_s)
