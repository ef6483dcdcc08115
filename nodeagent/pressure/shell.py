"""Watches disk, memory and process ids of the machine, and says which it is short of.

Run by ``main.py``; read by ``node.py`` (conditions) and by the images' care (disk). Reading costs less than 0.1 ms every 10 s.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lattice.machinery.clock import Clock
from nodeagent import machine
from nodeagent.facts import Fact
from nodeagent.pressure import plan

logger = logging.getLogger(__name__)

PERIOD_S: Final = 10.0
"""kubelet's housekeeping interval."""


class PressureWatch:
    """See the module's docstring.

    Args:
        thresholds: below what is short.
        paths: directories on the disk that counts, the first that exists is looked at.
        clock: measures the transition period.
    """

    def __init__(self, thresholds: plan.Thresholds, paths: Callable[[], tuple[Path, ...]], clock: Clock) -> None:
        self._thresholds = thresholds
        self._paths = paths
        self._clock = clock
        self._state = plan.State()

    async def run(self) -> None:
        """Look every 10 s until cancelled."""
        while True:
            self.look()
            await self._clock.sleep(PERIOD_S)

    def look(self) -> None:
        """Look now."""
        before, self._state = self._state, plan.judge(self._state, self.read(), self._thresholds, self._clock.monotonic())
        for name in plan.TYPES:
            if before.on(name) != self._state.on(name):
                logger.warning(
                    "pressure changed", extra={"pressure": name, "on": self._state.on(name), "why": self._state.why.get(name, "")}
                )

    def read(self) -> plan.Reading:
        """Return what is measured now."""
        disk, memory, processes = machine.disk_of(self._paths()), machine.memory(), machine.processes()
        return plan.Reading(
            disk_size_bytes=disk.size_bytes if disk else None,
            disk_free_bytes=disk.free_bytes if disk else None,
            inodes=disk.inodes if disk else None,
            inodes_free=disk.inodes_free if disk else None,
            memory_size_bytes=memory.size_bytes if memory else None,
            memory_available_bytes=memory.available_bytes if memory else None,
            pids=processes.used if processes else None,
            pids_limit=processes.limit if processes else None,
        )

    def facts(self) -> tuple[Fact, ...]:
        """Return the conditions of the Node."""
        return plan.facts(self._state)
