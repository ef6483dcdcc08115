"""``GET /metrics`` of the agent, on the address that the owner has set; without one, nothing listens.

Containers are measured when somebody scrapes, as for ``kubectl top`` and shared with it. While Docker is away their metrics are left out;
the rest is answered. Plain HTTP without a login: what is listened on is the owner's decision (127.0.0.1, or a network of their own).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from lattice.api import errors
from lattice.machinery.exposition import CONTENT_TYPE, Metric, Sample, process_samples, render
from lattice.version import VERSION
from nodeagent import machine
from nodeagent.facts import Fact
from nodeagent.imagecare.shell import ImageCare
from nodeagent.metrics import table
from nodeagent.pressure.storage import StorageLimits
from nodeagent.usage.shell import PAUSE, Measurement, UsageMeter
from nodeagent.workloads.tools import Tools

logger = logging.getLogger(__name__)

Samples = dict[Metric, list[Sample]]
_SHUTDOWN_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What is told of."""

    tools: Tools
    meter: UsageMeter
    images: ImageCare
    storage: StorageLimits
    facts: Callable[[], Iterable[Fact]]
    """Pressures."""
    connected: Callable[[], bool]
    paths: Callable[[], tuple[Path, ...]]
    """Directories on the disk of Docker."""


class MetricsServer:
    """See the module's docstring.

    Args:
        address: ``HOST:PORT``, ``None``: nothing is served.
        sources: what is told of.
    """

    def __init__(self, address: str | None, sources: Sources) -> None:
        self._address = address
        self._sources = sources

    async def run(self) -> None:
        """Serve until cancelled. An address that cannot be had is no reason to end: what runs here needs the agent."""
        if self._address is None:
            return
        host, _, port = self._address.rpartition(":")
        runner = web.ServerRunner(web.Server(self._answer, access_log=None), shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, host.strip("[]"), int(port)).start()
            logger.info("serving metrics", extra={"address": self._address})
            await asyncio.Event().wait()
        except OSError as error:
            logger.warning("cannot serve metrics", extra={"address": self._address, "error": str(error)[:200]})
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if request.path.rstrip("/") != "/metrics":
            return web.Response(status=404, text="the metrics are at /metrics\n")
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=405, text="only GET\n", headers={"Allow": "GET, HEAD"})
        return web.Response(body=render(await self.collect()), headers={"Content-Type": CONTENT_TYPE})

    async def collect(self) -> Mapping[Metric, list[Sample]]:
        """Return all samples."""
        found = {**_of_agent(self._sources), **_of_machine(self._sources.paths()), **process_samples()}
        try:
            found |= _of_containers(await self._sources.meter.measure())
        except errors.LatticeError as error:
            logger.debug("containers cannot be measured", extra={"error": str(error)[:200]})
        return found


def _of_containers(measured: Measurement) -> Samples:
    found: Samples = {}
    for each in measured.containers:
        namespace, pod, _ = each.pod
        where, stats = (namespace, pod, each.name), each.stats
        if stats.received_bytes or stats.sent_bytes:  # of the container that has the Pod's network
            found.setdefault(table.CONTAINER_RECEIVED, []).append(Sample(stats.received_bytes, where))
            found.setdefault(table.CONTAINER_SENT, []).append(Sample(stats.sent_bytes, where))
        if each.name == PAUSE:
            continue
        started = each.container.started_at
        values = {
            table.CONTAINER_CPU: stats.cpu_s,
            table.CONTAINER_WORKING_SET: stats.working_set_bytes,
            table.CONTAINER_MEMORY: stats.memory_bytes,
            table.CONTAINER_PROCESSES: stats.pids,
            **({table.CONTAINER_START: round(started.timestamp(), 3)} if started is not None else {}),
        }
        for metric, value in values.items():
            found.setdefault(metric, []).append(Sample(value, where))
    return found


def _of_machine(paths: tuple[Path, ...]) -> Samples:
    found: Samples = {
        table.NODE_CPU: [Sample(spent, (core, mode)) for core, modes in machine.cpu_modes().items() for mode, spent in modes.items()]
    }
    if (load := machine.load()) is not None:
        found[table.NODE_LOAD] = [Sample(load)]
    if (memory := machine.memory()) is not None:
        found[table.NODE_MEMORY_TOTAL] = [Sample(memory.size_bytes)]
        found[table.NODE_MEMORY_AVAILABLE] = [Sample(memory.available_bytes)]
    if (disk := machine.disk_of(paths)) is not None:
        where = (str(paths[0]),)
        found[table.NODE_DISK_SIZE] = [Sample(disk.size_bytes, where)]
        found[table.NODE_DISK_AVAILABLE] = [Sample(disk.free_bytes, where)]
        found[table.NODE_INODES] = [Sample(disk.inodes, where)]
        found[table.NODE_INODES_FREE] = [Sample(disk.inodes_free, where)]
    return found


def _of_agent(sources: Sources) -> Samples:
    tools = sources.tools
    phases = Counter(tools.reporter.last(each).phase or "Pending" for each in tools.desired.pods.values())
    states = Counter(container.state.value for container in tools.table.ours())
    return {
        table.INFO: [Sample(1, (tools.node.name, VERSION))],
        table.CONNECTED: [Sample(int(sources.connected()))],
        table.ENGINE: [Sample(int(tools.table.available))],
        table.PODS: [Sample(phases[phase], (phase,)) for phase in ("Pending", "Running", "Succeeded", "Failed")],
        table.CONTAINERS: [Sample(states[state], (state,)) for state in ("created", "running", "paused", "exited", "dead")],
        table.PRESSURE: [Sample(int(fact.status == "True"), (fact.type,)) for fact in sources.facts()],
        table.IMAGES_COLLECTED: [Sample(sources.images.removed)],
        table.IMAGES_COLLECTED_BYTES: [Sample(sources.images.removed_bytes)],
        table.EVICTIONS: [Sample(sources.storage.evictions)],
        table.STATUS_WRITES: [Sample(tools.reporter.writes)],
    }
