"""Measures what the node and its Pods use, when somebody asks: ``kubectl top`` through the server, Prometheus, the owner.

One measurement asks the engine once for each running container, which costs it some milliseconds each; so answers are kept for 5 s, and
who asks meanwhile waits for the one that is under way. Nothing is measured while nobody asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from lattice.api import errors
from lattice.machinery.clock import Clock
from nodeagent import machine
from nodeagent.runtime import base
from nodeagent.usage import plan
from nodeagent.workloads.observed import ContainerTable

PAUSE: Final = "POD"
"""Label of the container that only holds a Pod's network; nobody asked for it, so nobody is shown it."""
_ASKED: Final = 8
"""Containers whose figures are asked for at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerUsage:
    """A container with what it uses; ``usage`` is ``None`` before there are two samples of it."""

    container: base.Container
    stats: base.ContainerStats
    usage: plan.Usage | None

    @property
    def pod(self) -> tuple[str, str, str]:
        """Namespace, name and uid of its Pod."""
        labels = self.container.labels
        return tuple(labels.get(key, "") for key in (base.LABEL_POD_NAMESPACE, base.LABEL_POD_NAME, base.LABEL_POD_UID))  # type: ignore[return-value]  # three of them

    @property
    def name(self) -> str:
        """Name of the container within its Pod."""
        return self.container.labels.get(base.LABEL_CONTAINER, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Everything at one moment."""

    at: datetime
    at_s: float
    node: plan.Usage | None
    containers: tuple[ContainerUsage, ...]


class UsageMeter:
    """See the module's docstring.

    Args:
        runtime: the engine.
        table: the containers of this node.
        clock: time.
    """

    def __init__(self, runtime: base.Runtime, table: ContainerTable, clock: Clock) -> None:
        self._runtime = runtime
        self._table = table
        self._clock = clock
        self._lock = asyncio.Lock()
        self._node: plan.Sample | None = None
        self._samples: dict[base.ContainerId, plan.Sample] = {}
        """The sample before, of containers that were running then."""
        self._last: Measurement | None = None

    async def measure(self) -> Measurement:
        """Return what is used now, measured at most 5 s ago.

        Raises:
            base.RuntimeUnavailableError: the engine does not answer.
        """
        async with self._lock:
            now_s = self._clock.monotonic()
            if self._last is not None and now_s - self._last.at_s < plan.FRESH_S:
                return self._last
            running = self._running()
            usable = {found: sample for found, sample in self._samples.items() if plan.is_usable(sample, now_s)}
            before = {found.id: usable[found.id] for found in running if found.id in usable}
            node_before = self._node if self._node is not None and plan.is_usable(self._node, now_s) else None
            missing = [found for found in running if found.id not in before]
            if missing or node_before is None:  # the first look, or one after a long time: two samples for one answer
                node_before = node_before or self._machine()
                before.update({found: sample for found, (_, sample) in (await self._ask(missing)).items()})
                await self._clock.sleep(plan.SETTLE_S)
            self._last = await self._finish(running, before, node_before)
            return self._last

    async def answer(self, _question: Mapping[str, Any]) -> dict[str, Any]:
        """Answer the server's question ``usage``."""
        found = await self.measure()
        pods: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for each in found.containers:
            if each.usage is not None and each.name and each.name != PAUSE:
                pods.setdefault(each.pod, []).append({"name": each.name, **_said(each.usage)})
        return {
            "at": found.at.isoformat(),
            "node": _said(found.node) if found.node is not None else None,
            "pods": [
                {"namespace": namespace, "name": name, "uid": uid, "containers": sorted(containers, key=lambda one: one["name"])}
                for (namespace, name, uid), containers in sorted(pods.items())
            ],
        }

    def _running(self) -> list[base.Container]:
        if not self._table.available:
            raise base.RuntimeUnavailableError("Docker does not answer, so nothing can be measured")
        return [container for container in self._table.ours() if container.state is base.ContainerState.RUNNING]

    async def _finish(
        self, running: list[base.Container], before: Mapping[base.ContainerId, plan.Sample], node_before: plan.Sample | None
    ) -> Measurement:
        asked = await self._ask(running)
        node = self._machine()
        self._samples = {container_id: sample for container_id, (_, sample) in asked.items()}
        self._node = node
        return Measurement(
            at=self._clock.now(),
            at_s=self._clock.monotonic(),
            node=plan.usage(node_before, node) if node is not None else None,
            containers=tuple(
                ContainerUsage(container=each, stats=asked[each.id][0], usage=plan.usage(before.get(each.id), asked[each.id][1]))
                for each in running
                if each.id in asked
            ),
        )

    async def _ask(self, containers: list[base.Container]) -> dict[base.ContainerId, tuple[base.ContainerStats, plan.Sample]]:
        limit = asyncio.Semaphore(_ASKED)

        async def one(container: base.Container) -> tuple[base.ContainerStats, plan.Sample] | None:
            async with limit:
                try:
                    stats = await self._runtime.stats(container.id)
                except base.RuntimeUnavailableError:
                    raise
                except errors.LatticeError:  # it ended a moment ago
                    return None
            sample = plan.Sample(at_s=self._clock.monotonic(), cpu_s=stats.cpu_s, memory_bytes=stats.working_set_bytes)
            return stats, sample

        found = await asyncio.gather(*(one(container) for container in containers))
        return {container.id: pair for container, pair in zip(containers, found, strict=True) if pair is not None}

    def _machine(self) -> plan.Sample | None:
        cpu_s, memory = machine.cpu_seconds(), machine.memory()
        if cpu_s is None or memory is None:
            return None
        return plan.Sample(at_s=self._clock.monotonic(), cpu_s=cpu_s, memory_bytes=memory.size_bytes - memory.available_bytes)


def _said(usage: plan.Usage) -> dict[str, Any]:
    return {"cpuNanocores": usage.cpu_nanocores, "memoryBytes": usage.memory_bytes, "windowSeconds": usage.window_s}
