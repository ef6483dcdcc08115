"""Measures what Pods with a limit write, and ends those that write more. Pods without such limits cost nothing here.

Run by ``main.py``. Docker has no quota on the file systems that people have, so limits are kept by looking, as kubelet keeps them: a Pod
may be over for up to a period. A Pod that is ended keeps its status ``Failed`` with the reason ``Evicted``; its owner makes another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from lattice.api import errors, pod
from nodeagent.pressure import limits
from nodeagent.runtime import base
from nodeagent.workloads.seams import Verdict
from nodeagent.workloads.tools import Tools

logger = logging.getLogger(__name__)

PERIOD_S: Final = 15.0


class StorageLimits:
    """See the module's docstring.

    Args:
        tools: Pods, containers, and where verdicts go.
        poke: wakes the worker of a Pod.
    """

    def __init__(self, tools: Tools, poke: Callable[[str], None]) -> None:
        self._tools = tools
        self._poke = poke
        self.evictions = 0
        """Pods that were ended since the start."""

    async def run(self) -> None:
        """Look every 15 s, until cancelled."""
        while True:
            await self._tools.clock.sleep(PERIOD_S)
            await self.look()

    async def look(self) -> None:
        """Look at all Pods with limits now."""
        tools = self._tools
        for wanted in [*tools.desired.pods.values()]:
            if not tools.table.available or tools.desired.frozen:
                return
            if wanted.metadata.deletion_timestamp is not None or wanted.uid in tools.verdicts or not limits.is_limited(wanted):
                continue
            if tools.reporter.last(wanted).phase in ("Succeeded", "Failed"):
                continue
            try:
                message = limits.exceeded(wanted, await self._measure(wanted))
            except errors.LatticeError as error:
                logger.info(
                    "cannot measure what a Pod writes", extra={"pod": f"{wanted.namespace}/{wanted.name}", "error": str(error)[:200]}
                )
                continue
            if message and wanted.uid in tools.desired.pods:
                self._evict(wanted, message)

    def _evict(self, wanted: pod.Pod, message: str) -> None:
        self.evictions += 1
        logger.warning("ending a Pod that writes more than it may", extra={"pod": f"{wanted.namespace}/{wanted.name}", "why": message})
        self._tools.verdicts[wanted.uid] = Verdict(reason=limits.EVICTED, message=message)
        self._tools.events.say(wanted, "", "Warning", limits.EVICTED, message)
        self._poke(wanted.uid)

    async def _measure(self, wanted: pod.Pod) -> limits.Measured:
        runtime = self._tools.runtime
        written: dict[str, int] = {}
        for container in self._tools.table.of_pod(wanted.uid):
            name = container.labels.get(base.LABEL_CONTAINER, "")
            try:
                written[name] = written.get(name, 0) + await runtime.written_bytes(container.id)
            except base.ContainerGoneError:
                continue
        volumes = {f"lattice-pod-{wanted.uid}-{name}": name for name in limits.volumes_of(wanted)}
        sizes = await runtime.volume_bytes(volumes.keys()) if volumes else {}
        return limits.Measured(containers=written, volumes={volumes[volume]: size for volume, size in sizes.items()})
