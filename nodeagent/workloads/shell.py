"""The worker of one Pod: looks, asks ``plan.decide`` what to do, executes it, reports.

Started and poked by the supervisor; there is one worker a Pod. It decides whenever something has changed; each action it begins runs as a
task of its own, one at a time for each container, so that a slow stop of one container holds up no other. It ends when the Pod's end is
confirmed. A failed action is kept as the container's waiting reason and tried again after a delay that grows; the worker never dies of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import replace
from typing import Final

from lattice.api import errors, pod
from lattice.machinery.tasks import TaskOwner, TimeLimit
from nodeagent import podevents
from nodeagent.imagecare.shell import DiskReserveError
from nodeagent.ports import plan as ports_plan
from nodeagent.runtime import base
from nodeagent.workloads import members, plan, restarts, spec, status
from nodeagent.workloads.actions import PAUSE, Action, Confirm, Create, Pull, Remove, Start, Stop, Wait
from nodeagent.workloads.endings import PodEndings
from nodeagent.workloads.execution import Executor, StartRefusedError, is_sick
from nodeagent.workloads.image import PodImages
from nodeagent.workloads.looking import Target, look
from nodeagent.workloads.reporting import PodReport
from nodeagent.workloads.seams import Verdict
from nodeagent.workloads.tools import Tools
from nodeagent.workloads.vitals import Vitals

logger = logging.getLogger(__name__)

_MANY: Final = 300
"""Actions within ``_MANY_S``; the longest honest series of a Pod is some five for each container. More is a defect, and must not become
a busy loop."""
_MANY_S: Final = 10.0
_PAUSE_S: Final = 5.0
_DEADLINE: Final = Verdict(reason=podevents.DEADLINE_EXCEEDED, message="Pod was active on the node longer than the specified deadline")


class PodWorker:
    """See the module's docstring."""

    def __init__(self, uid: str, tools: Tools) -> None:
        self.uid = uid
        self._tools = tools
        self._wake = asyncio.Event()
        self._memory = plan.Memory()
        self._owner = TaskOwner(f"pod.{uid}")
        self._images = PodImages(tools, self._pull_ended)
        self._vitals = Vitals(uid, tools, self.poke)
        self._endings = PodEndings(uid, tools, self.poke)
        self._executor = Executor(uid, tools, self._images, self._vitals)
        self._report = PodReport(uid, tools, self._vitals, self._endings)
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._stopping: dict[base.ContainerId, float] = {}
        self._recent: deque[float] = deque(maxlen=_MANY)
        self._started_s: float | None = None
        """Monotonic time of the Pod's start, for its deadline: a wall clock that jumps ends no Pod."""
        self._told: dict[str, Wait] = {}
        """The back-off of each container that an Event was written of."""
        self._ended_seen = False
        self._adopted = False
        self._done = False

    def poke(self) -> None:
        """Look again now."""
        self._wake.set()

    async def run(self) -> None:
        """Work until the Pod is gone."""
        try:
            while not self._done:
                self._wake.clear()
                delay_s = self._work()
                if self._done:
                    return
                try:
                    async with TimeLimit(self._tools.clock, delay_s):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            await self._owner.stop()
            await self._vitals.stop()
            await self._endings.stop()

    def _work(self) -> float | None:
        """Decide once and begin what was decided; return how long to wait, ``None``: until poked."""
        tools = self._tools
        target = self._target()
        if not tools.table.available:
            return None
        containers = tools.table.of_pod(self.uid)
        if target.wanted is None and not target.ending and not containers and not self._under_way:
            self._done = True  # nothing here, nothing wanted
            return None
        if tools.desired.frozen and target.ending:
            return _PAUSE_S
        if self.uid in tools.desired.unknown and not target.ending and not containers and not self._under_way:
            tools.desired.forget(self.uid)  # nothing is left to keep, and the server does not ask for it
            self._done = True
            return None
        self._adopt(target.wanted, containers)
        now_s = tools.clock.monotonic()
        deadline_s = self._judge(target.wanted, now_s)
        if target.ending and not self._ended_seen:
            # What failed before says nothing of the end: it is tried at once.
            cleared = {name: restarts.succeeded(history) for name, history in self._memory.histories.items()}
            self._memory, self._ended_seen = replace(self._memory, histories=cleared), True
        view = look(
            target, containers, self._memory, tools, self._images, self._vitals,
            now_s=now_s, busy=frozenset(self._under_way), stopping=self._stopping,
        )  # fmt: skip
        self._memory = plan.remember(self._memory, view)
        view = replace(view, memory=self._memory)
        self._follow(target, view)
        if target.wanted is not None:
            self._endings.look(target.wanted, containers)
        decision = plan.decide(view)
        if self._is_spinning(decision, now_s):
            return _PAUSE_S
        for action in decision.actions:
            self._begin(action, target.wanted, now_s)
        if target.wanted is not None:
            self._tell_delays(target.wanted, decision)
            self._report.make(target, view, decision)
        until_s = min((time_s for time_s in (decision.until_s, deadline_s) if time_s is not None), default=None)
        return None if until_s is None else max(0.0, until_s - now_s)

    def _target(self) -> Target:
        desired = self._tools.desired
        wanted = desired.pods.get(self.uid)
        deleted = wanted is not None and wanted.metadata.deletion_timestamp is not None
        return Target(uid=self.uid, wanted=wanted, ending=deleted or self.uid in desired.tombstones)

    def _adopt(self, wanted: pod.Pod | None, containers: tuple[base.Container, ...]) -> None:
        """Once: take over from an earlier life of the agent what it had done."""
        if self._adopted:
            return
        self._adopted = True
        for container in containers:
            self._tools.ports.adopt(self.uid, container.ports)
        if wanted is None:
            return
        known = status.statuses_of(self._tools.reporter.last(wanted))
        self._memory = plan.Memory(histories={one.name: restarts.adopted(one) for one in known})
        self._endings.adopt(known)

    def _judge(self, wanted: pod.Pod | None, now_s: float) -> float | None:
        """Note when the Pod's deadline is over; return when it is, ``None`` if it has none."""
        if wanted is None or wanted.spec.active_deadline_seconds is None or self.uid in self._tools.verdicts:
            return None
        if self._started_s is None:
            begun = self._tools.reporter.last(wanted).start_time
            ago_s = (self._tools.clock.now() - begun).total_seconds() if begun is not None else 0.0
            self._started_s = now_s - max(0.0, ago_s)
        deadline_s = self._started_s + wanted.spec.active_deadline_seconds
        if now_s < deadline_s or self._tools.reporter.last(wanted).phase in ("Succeeded", "Failed"):
            return deadline_s if now_s < deadline_s else None
        self._tools.verdicts[self.uid] = _DEADLINE
        self._tools.events.say(wanted, "", "Normal", _DEADLINE.reason, _DEADLINE.message)
        self.poke()
        return None

    def _follow(self, target: Target, view: plan.View) -> None:
        """Have probes and hooks run for what runs and is to go on running."""
        following: set[str] = set()
        if target.wanted is not None and not target.ending and not view.finished:
            ip = target.ip(view)
            for member in members.members_of(target.wanted.spec):
                newest = target.newest(view, member.name)
                if newest is None or newest.state is not base.ContainerState.RUNNING or member.name == PAUSE:
                    continue
                if newest.id not in self._stopping:
                    following.add(member.name)
                    self._vitals.follow(target.wanted, member.container, newest, ip)
        self._vitals.keep_only(following)

    def _tell_delays(self, wanted: pod.Pod, decision: plan.Decision) -> None:
        """Write kubelet's Event of each back-off, once."""
        for name, wait in decision.waits.items():
            if wait.reason not in ("CrashLoopBackOff", "ImagePullBackOff") or self._told.get(name) == wait:
                continue
            self._told[name] = wait
            if wait.reason == "ImagePullBackOff":
                image = next(member.container.image for member in members.members_of(wanted.spec) if member.name == name)
                self._tools.events.say(wanted, name, "Normal", podevents.BACK_OFF, f'Back-off pulling image "{image}"')
            else:
                text = f"Back-off restarting failed container {name} in pod {wanted.name}_{wanted.namespace}({wanted.uid})"
                self._tools.events.say(wanted, name, "Warning", podevents.BACK_OFF, text)

    def _is_spinning(self, decision: plan.Decision, now_s: float) -> bool:
        if len(self._recent) == _MANY and now_s - self._recent[0] < _MANY_S and decision.actions:
            logger.error("a Pod does not come to rest, pausing", extra={"pod_uid": self.uid})
            self._recent.clear()
            return True
        return False

    def _begin(self, action: Action, wanted: pod.Pod | None, now_s: float) -> None:
        self._recent.append(now_s)
        if isinstance(action, Pull):
            self._pull(action, wanted, now_s)
            return
        hook = True
        if isinstance(action, Stop):
            hook = action.container_id not in self._stopping  # a stop that overtakes another runs no hook
            self._stopping[action.container_id] = now_s + action.grace_s
            if is_sick(action):
                self._endings.blame(action.container_id, action.why)
            if action.replace:
                self._note(action.name, replace(self._memory.of(action.name), replace=True))
        if (earlier := self._under_way.pop(action.name, None)) is not None:
            earlier.cancel()
        task = self._owner.spawn(self._try(action, wanted, hook=hook), name=f"{type(action).__name__}.{action.name}")
        self._under_way[action.name] = task
        task.add_done_callback(lambda done: self._ended(action, done))

    def _ended(self, action: Action, task: asyncio.Task[None]) -> None:
        if self._under_way.get(action.name) is task:
            del self._under_way[action.name]
            if isinstance(action, Stop):
                self._stopping.pop(action.container_id, None)
        self.poke()

    async def _try(self, action: Action, wanted: pod.Pod | None, *, hook: bool) -> None:
        """Execute an action; a failure becomes the reason to wait."""
        try:
            await self._execute(action, wanted, hook=hook)
            if not isinstance(action, Remove | Create):
                self._note(action.name, restarts.succeeded(self._memory.of(action.name)))
        except StartRefusedError as error:
            self._note(action.name, restarts.start_failed(self._memory.of(action.name), self._tools.clock.monotonic()))
            self._endings.refused(action.name, error.container, str(error)[:500])
        except (errors.LatticeError, TimeoutError, OSError) as error:
            reason = _reason(error)
            self._note(action.name, restarts.failed(self._memory.of(action.name), reason, str(error)[:500], self._tools.clock.monotonic()))
            logger.warning(
                "an action on a Pod failed",
                extra={"pod_uid": self.uid, "action": type(action).__name__, "reason": reason, "error": str(error)[:300]},
            )
            if isinstance(action, Create | Start):
                event = podevents.FAILED_SANDBOX if action.name == PAUSE else podevents.FAILED
                self._tools.events.say(wanted, action.name, "Warning", event, f"Error: {reason}: {str(error)[:500]}")

    async def _execute(self, action: Action, wanted: pod.Pod | None, *, hook: bool) -> None:
        match action:
            case Create():
                assert wanted is not None
                await self._executor.create(action, wanted)
            case Start():
                await self._executor.start(action, wanted)
            case Stop():
                await self._executor.stop(action, wanted, hook=hook)
            case Remove(container_id=container_id):
                await self._endings.settled(container_id)
                await self._executor.remove(container_id)
            case Confirm():
                await self._executor.confirm(wanted)
                self._done = True
            case Pull():
                raise AssertionError("pulls are begun, not executed")

    def _pull(self, action: Pull, wanted: pod.Pod | None, now_s: float) -> None:
        assert wanted is not None
        container = next(member.container for member in members.members_of(wanted.spec) if member.name == action.name)
        try:
            self._images.pull(wanted, container)
        except errors.LatticeError as error:
            self._note(action.name, restarts.failed(self._memory.of(action.name), _reason(error), str(error)[:500], now_s))
            self._tools.events.say(wanted, action.name, "Warning", podevents.FAILED, f"Error: {_reason(error)}: {str(error)[:500]}")
        self.poke()

    def _pull_ended(self, name: str, error: Exception | None) -> None:
        history = self._memory.of(name)
        if error is None:
            self._note(name, restarts.succeeded(history))
        else:
            first = "RegistryUnavailable" if isinstance(error, base.RegistryUnavailableError) else "ErrImagePull"
            reason = first if history.failures == 0 else "ImagePullBackOff"
            if isinstance(error, DiskReserveError):
                reason = "DiskReserve"
            self._note(name, restarts.failed(history, reason, str(error)[:500], self._tools.clock.monotonic()))
        self.poke()

    def _note(self, name: str, history: restarts.History) -> None:
        self._memory = replace(self._memory, histories={**self._memory.histories, name: history})


def _reason(error: BaseException) -> str:
    """Return the waiting reason of a failed action, as a kubelet names it where it has one."""
    match error:
        case base.PortTakenError() | ports_plan.NoPortError():
            return "PortTaken"
        case base.RuntimeUnavailableError():
            return "DockerUnavailable"
        case base.ImageNotFoundError():
            return "ErrImageNeverPull"
        case base.NameTakenError():
            return "ContainerNameTaken"
        case spec.ConfigError():
            return error.reason
        case base.InvalidContainerError():
            return "RunContainerError"
        case errors.ApiError() | errors.UnavailableError():
            return "ServerUnavailable"
        case _:
            return "CreateContainerError"
