"""How the containers of one Pod have ended: kept while the Pod is there, told once to who wants to know. Used by the Pod's worker.

An end is noted when it is first seen: exit code and times from the engine, the message from the container's termination log, or from the
end of its log where its policy says so. The last two ends of each container are kept, also when the container is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from lattice.api import pod
from lattice.api.errors import LatticeError
from lattice.machinery.tasks import TaskOwner, TimeLimit
from nodeagent.runtime import base
from nodeagent.workloads import containerstatus, members, plan, restarts
from nodeagent.workloads.actions import PAUSE
from nodeagent.workloads.seams import Ending
from nodeagent.workloads.tools import Tools

logger = logging.getLogger(__name__)

_KEPT: Final = 2
_LOG_LINES: Final = 80
_LOG_BYTES: Final = 2048
"""Kubernetes' figures for ``FallbackToLogsOnError``."""
_LIMIT_S: Final = 10.0


class PodEndings:
    """See the module's docstring."""

    def __init__(self, uid: str, tools: Tools, changed: Callable[[], None]) -> None:
        self._uid = uid
        self._tools = tools
        self._changed = changed
        self._owner = TaskOwner(f"endings.{uid}")
        self._ends: dict[str, dict[int, pod.ContainerStateTerminated]] = {}
        """By name and number of the attempt."""
        self._told: set[tuple[base.ContainerId, str]] = set()
        """Ends that were noted: container and start. A container that was started again in place ends twice."""
        self._old: set[str] = set()
        """Container ids, as the status has them, whose end an earlier life of the agent has told."""
        self._tasks: dict[base.ContainerId, asyncio.Task[None]] = {}
        self._unread: set[base.ContainerId] = set()
        self._blamed: dict[base.ContainerId, str] = {}

    @property
    def reading(self) -> bool:
        """Whether the message of an end is still being read: a status made now would have to be made again."""
        return bool(self._unread)

    def adopt(self, known: Iterable[pod.ContainerStatus]) -> None:
        """Take over what an earlier life of the agent has written."""
        for one in known:
            waiting = one.state.running is None and one.state.terminated is None
            if one.state.terminated is not None:
                self._keep(one.name, one.restart_count, one.state.terminated)
            if one.last_state.terminated is not None:
                self._keep(one.name, one.restart_count if waiting else one.restart_count - 1, one.last_state.terminated)
        self._old = {end.container_id for ends in self._ends.values() for end in ends.values() if end.container_id}

    def end_of(self, name: str, number: int) -> pod.ContainerStateTerminated:
        """Return how an attempt ended that is known to have ended."""
        return self._ends.get(name, {}).get(number) or containerstatus.lost(None)

    def before(self, name: str, number: int) -> pod.ContainerStateTerminated | None:
        """Return how the attempt before this one ended, ``None`` if nothing is known of one."""
        found = {earlier: end for earlier, end in self._ends.get(name, {}).items() if earlier < number}
        return found[max(found)] if found else None

    def refused(self, name: str, container: base.Container, message: str) -> None:
        """Note that a program could not be started."""
        self._keep(name, restarts.number_of(container), containerstatus.start_error(container, message))

    def blame(self, container_id: base.ContainerId, why: str) -> None:
        """Note that a container is being stopped for what a probe or a hook of it said."""
        self._blamed[container_id] = why

    def look(self, wanted: pod.Pod, containers: tuple[base.Container, ...]) -> None:
        """Note the ends that were not seen before."""
        for container in containers:
            name, run = plan.name_of(container), (container.id, str(container.started_at))
            if container.state not in restarts.ENDED or container.started_at is None or run in self._told or name == PAUSE:
                continue
            self._told.add(run)
            self._unread.add(container.id)
            self._tasks[container.id] = self._owner.spawn(self._note(wanted, name, container), name=name)

    async def settled(self, container_id: base.ContainerId) -> None:
        """Wait until everybody has taken note of an end, before its container is removed."""
        if (task := self._tasks.pop(container_id, None)) is not None:
            await asyncio.wait({task})

    async def stop(self) -> None:
        """End all tasks."""
        await self._owner.stop()

    async def _note(self, wanted: pod.Pod, name: str, container: base.Container) -> None:
        message = ""
        try:
            async with TimeLimit(self._tools.clock, _LIMIT_S):
                message = await self._message(wanted, name, container)
        except (LatticeError, TimeoutError, OSError) as error:
            logger.debug("cannot read the message of an end", extra={"container": container.name, "error": str(error)[:200]})
        end = containerstatus.terminated(container, message)
        self._keep(name, restarts.number_of(container), end)
        self._unread.discard(container.id)
        self._changed()
        probe_output = self._tools.probe_failures.pop(container.id, "")
        if end.container_id in self._old:
            return
        try:
            async with TimeLimit(self._tools.clock, _LIMIT_S):
                ending = Ending(wanted=wanted, container=container, name=name, terminated=end, probe_output=probe_output)
                await self._tools.endings.ended(ending)
        except (LatticeError, TimeoutError, OSError) as error:
            logger.warning("cannot keep a record of an end", extra={"container": container.name, "error": str(error)[:200]})

    async def _message(self, wanted: pod.Pod, name: str, container: base.Container) -> str:
        found = next((member.container for member in members.members_of(wanted.spec) if member.name == name), None)
        message = self._tools.messages.read(self._uid, name, restarts.number_of(container))
        if message or found is None or found.termination_message_policy != "FallbackToLogsOnError" or container.exit_code == 0:
            return message
        log = await self._tools.runtime.logs(container.id, tail=_LOG_LINES)
        return log.encode()[-_LOG_BYTES:].decode(errors="ignore")

    def _keep(self, name: str, number: int, end: pod.ContainerStateTerminated) -> None:
        ends = self._ends.setdefault(name, {})
        ends[number] = end
        for old in sorted(ends)[:-_KEPT]:
            del ends[old]
