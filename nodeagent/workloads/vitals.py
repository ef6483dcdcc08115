"""Probes and postStart hooks of the containers of one Pod that run now. Used by the Pod's worker alone.

One task for each running container: first its postStart hook, if it was started by this agent a moment ago, then its probes. The task ends
with the container. A container that was already running when the agent began is taken to have had its hook.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from lattice.api import pod
from lattice.machinery.tasks import TaskOwner
from nodeagent import podevents
from nodeagent.probes.checks import Target
from nodeagent.probes.shell import Health, Kind, Patient
from nodeagent.runtime import base
from nodeagent.workloads.tools import Tools

logger = logging.getLogger(__name__)

_HOOK_LIMIT_S = 24 * 3600.0
"""Kubernetes sets no limit to a postStart hook; a Pod that is deleted meanwhile is stopped."""


@dataclass(slots=True)
class _Watched:
    container_id: base.ContainerId
    health: Health
    task: asyncio.Task[None] | None = None
    probe_failure: str = ""


class Vitals:
    """See the module's docstring.

    Args:
        uid: of the Pod.
        tools: of the node.
        changed: called after every change.
    """

    def __init__(self, uid: str, tools: Tools, changed: Callable[[], None]) -> None:
        self._tools = tools
        self._changed = changed
        self._owner = TaskOwner(f"vitals.{uid}")
        self._watched: dict[str, _Watched] = {}
        self._fresh: set[base.ContainerId] = set()
        """Started by this agent, postStart hook not begun."""

    def of(self, name: str) -> Health | None:
        """Return what is known of a running container, ``None``: nothing."""
        watched = self._watched.get(name)
        return watched.health if watched is not None else None

    def probe_failure(self, name: str) -> str:
        """Return what the liveness or startup probe of a running container said when it last failed, empty: it did not."""
        watched = self._watched.get(name)
        return watched.probe_failure if watched is not None else ""

    def was_started(self, container_id: base.ContainerId) -> None:
        """Note that a container is being started by this agent: its postStart hook is due."""
        self._fresh.add(container_id)

    def follow(self, wanted: pod.Pod, container: pod.Container, running: base.Container, ip: str) -> None:
        """Have hook and probes of a running container run. Idempotent."""
        watched = self._watched.get(container.name)
        if watched is not None and watched.container_id == running.id:
            return
        self.leave(container.name)
        health = self._tools.prober.initial(container)
        watched = self._watched[container.name] = _Watched(running.id, health)
        hook = container.lifecycle.post_start if container.lifecycle is not None and running.id in self._fresh else None
        self._fresh.discard(running.id)
        if hook is None and not (container.startup_probe or container.readiness_probe or container.liveness_probe):
            return
        if hook is not None:
            health.started = health.ready = False
        target = Target(container_id=running.id, ip=ip, ports=container.ports)

        def failed(kind: Kind, message: str) -> None:
            if kind != "Readiness":
                watched.probe_failure = f"{kind} probe failed: {message}"
            self._tools.events.say(wanted, container.name, "Warning", podevents.UNHEALTHY, f"{kind} probe failed: {message}")

        patient = Patient(target=target, spec=container, health=health, changed=self._changed, failed=failed)
        watched.task = self._owner.spawn(self._watch(wanted, patient, hook), name=container.name)

    def leave(self, name: str) -> None:
        """Stop watching a container: it has ended, or is to."""
        watched = self._watched.pop(name, None)
        if watched is not None and watched.task is not None:
            watched.task.cancel()

    def keep_only(self, names: set[str]) -> None:
        """Stop watching all others."""
        for name in set(self._watched) - names:
            self.leave(name)

    async def stop(self) -> None:
        """End all tasks."""
        await self._owner.stop()

    async def _watch(self, wanted: pod.Pod, patient: Patient, hook: pod.LifecycleHandler | None) -> None:
        if hook is not None:
            outcome = await self._tools.prober.checker.hook(patient.target, hook, timeout_s=_HOOK_LIMIT_S)
            if outcome.success is False:
                text = f"PostStartHook failed: {outcome.message}"
                self._tools.events.say(wanted, patient.spec.name, "Warning", podevents.FAILED_POST_START, text)
                patient.health.unhealthy = "FailedPostStartHook"
                patient.changed()
                return
            fresh = self._tools.prober.initial(patient.spec)
            patient.health.started, patient.health.ready = fresh.started, fresh.ready
            patient.changed()
        await self._tools.prober.run(patient)
