"""The worker of one Pod: looks, asks ``plan.step`` for one action, executes it, reports; until nothing is left to do.

Started and poked by the supervisor; there is one worker a Pod and it does one thing at a time. It stops when the Pod's end is confirmed.
A failed action is kept as the Pod's waiting reason and tried again after a delay that grows; the worker itself never dies of it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, assert_never

from lattice.api import errors, names, pod, tombstone
from lattice.machinery.tasks import TaskOwner, TimeLimit
from nodeagent.images import plan as images
from nodeagent.ports import plan as ports_plan
from nodeagent.probes.shell import Health
from nodeagent.runtime import base
from nodeagent.workloads import plan, spec, status
from nodeagent.workloads.image import PodImage
from nodeagent.workloads.tools import Tools

logger = logging.getLogger(__name__)

DEFAULT_GRACE_S: Final = 30
_MAX_STEPS: Final = 50
"""Steps in one go; the longest honest series is about ten. More is a defect, and must not become a busy loop."""
_PAUSE_S: Final = 5.0
_UNKNOWN: Final = plan.Wait(
    reason="UnknownPod", message="the server does not know this Pod; its container is kept, none is made or removed"
)


class PodWorker:
    """See the module's docstring."""

    def __init__(self, uid: str, tools: Tools) -> None:
        self.uid = uid
        self._tools = tools
        self._wake = asyncio.Event()
        self._memory = plan.Memory()
        self._image = PodImage(tools, self._pull_ended)
        self._health: Health | None = None
        self._probed: base.ContainerId | None = None
        self._probes = TaskOwner(f"probes.{uid}")
        self._last: pod.ContainerStateTerminated | None = None
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
                delay_s = await self._work()
                if self._done:
                    return
                try:
                    async with TimeLimit(self._tools.clock, delay_s):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            await self._probes.stop()

    async def _work(self) -> float | None:
        """Take steps; return how long to wait, ``None``: until poked."""
        tools = self._tools
        for _ in range(_MAX_STEPS):
            wanted, ending = self._target()
            if not tools.table.available:
                return None
            containers = tools.table.of_pod(self.uid)
            if wanted is None and not ending and not containers:
                self._done = True  # nothing here, nothing wanted
                return None
            if tools.desired.frozen and (ending or not containers):
                return _PAUSE_S
            if self.uid in tools.desired.unknown and not ending and not containers:
                tools.desired.forget(self.uid)  # nothing is left to keep, and the server does not ask for it
                self._done = True
                return None
            self._adopt(wanted, containers)
            now_s = tools.clock.monotonic()
            self._memory = plan.remember(self._memory, containers, now_s)
            if ending and not self._ended_seen:
                self._memory, self._ended_seen = plan.succeeded(self._memory), True
            current = max(containers, key=lambda container: (_number(container), container.created_at), default=None)
            await self._probe(wanted, current, ending=ending)
            view = self._view(wanted, containers, ending=ending, now_s=now_s)
            action = plan.step(view)
            if wanted is not None:
                self._report(wanted, current, action, ending=ending)
            if action is None:
                return None
            if isinstance(action, plan.Wait):
                return None if action.until_s is None else max(0.0, action.until_s - now_s)
            await self._try(action, wanted)
            if self._done:
                return None
        logger.error("a Pod does not come to rest, pausing", extra={"pod_uid": self.uid})
        return _PAUSE_S

    def _target(self) -> tuple[pod.Pod | None, bool]:
        desired = self._tools.desired
        wanted = desired.pods.get(self.uid)
        deleted = wanted is not None and wanted.metadata.deletion_timestamp is not None
        return wanted, deleted or self.uid in desired.tombstones

    def _adopt(self, wanted: pod.Pod | None, containers: tuple[base.Container, ...]) -> None:
        """Once: take over from an earlier life of the agent what it had done."""
        if self._adopted:
            return
        self._adopted = True
        for container in containers:
            self._tools.ports.adopt(self.uid, container.ports)
        if wanted is not None and wanted.status.container_statuses:
            known = wanted.status.container_statuses[0]
            self._last = known.last_state.terminated
            if known.container_id:
                self._memory = plan.Memory(restarts=known.restart_count)

    def _view(self, wanted: pod.Pod | None, containers: tuple[base.Container, ...], *, ending: bool, now_s: float) -> plan.View:
        tools = self._tools
        grace_s, policy, digest, finished = DEFAULT_GRACE_S, "Always", "", False
        blocked: plan.Wait | None = None
        in_place = False
        if wanted is not None:
            set_s = wanted.metadata.deletion_grace_period_seconds if ending else None
            fallback = wanted.spec.termination_grace_period_seconds
            grace_s = set_s if set_s is not None else DEFAULT_GRACE_S if fallback is None else fallback
            policy = wanted.spec.restart_policy or "Always"
            digest = spec.spec_hash(wanted, wanted.spec.containers[0]) if wanted.spec.containers else ""
            finished = tools.reporter.last(wanted).phase in ("Succeeded", "Failed")
            if not ending:
                blocked = self._blocked(wanted, containers)
                in_place = not tools.desired.synced and blocked is not None and blocked.reason == "CreateContainerConfigError"
                if self.uid in tools.desired.unknown and (blocked is None or blocked.reason != "VolumeInUse"):
                    blocked, in_place = _UNKNOWN, True
        if ending and self.uid in tools.desired.tombstones:
            grace_s = min(grace_s, DEFAULT_GRACE_S)
        return plan.View(
            ending=ending,
            grace_s=grace_s,
            restart_policy=policy,  # type: ignore[arg-type]  # one of the literals, or the default
            finished=finished,
            spec_hash=digest,
            containers=containers,
            memory=self._memory,
            now_s=now_s,
            image_ready=self._image.ready(wanted, restarts=self._memory.restarts),
            blocked=blocked,
            restart_in_place=in_place,
            unhealthy=self._health.unhealthy if self._health else "",
        )

    def _blocked(self, wanted: pod.Pod, containers: tuple[base.Container, ...]) -> plan.Wait | None:
        tools = self._tools
        if self._image.pulling:
            return plan.Wait(reason="ContainerCreating", message=f"pulling image {wanted.spec.containers[0].image}")
        if len(wanted.spec.containers) != 1:
            text = f"the Pod has {len(wanted.spec.containers)} containers; this version runs Pods of exactly one"
            return plan.Wait(reason="Unsupported", message=text)
        try:
            blueprint = spec.make_blueprint(wanted, wanted.spec.containers[0], tools.desired.references(), tools.node)
        except spec.ConfigError as error:
            return plan.Wait(reason=error.reason, message=error.message)
        except ValueError as error:  # base64 or a quantity that the server should have refused
            return plan.Wait(reason="CreateContainerConfigError", message=str(error)[:300])
        if not any(container.state in (base.ContainerState.RUNNING, base.ContainerState.CREATED) for container in containers):
            for volume in [volume for volume, holder in tools.volume_claims.items() if holder == self.uid]:
                del tools.volume_claims[volume]
        for volume in blueprint.volumes:
            user = tools.table.user_of_volume(volume, except_pod=self.uid)
            holder = tools.volume_claims.get(volume, self.uid)
            if user is not None or holder != self.uid:
                name = user.labels.get(base.LABEL_POD_NAME, user.name) if user is not None else f"with uid {holder}"
                text = f"waits for volume {volume}: Pod {name} on this node still uses it"
                return plan.Wait(reason="VolumeInUse", message=text, until_s=tools.clock.monotonic() + _PAUSE_S)
        return None

    async def _probe(self, wanted: pod.Pod | None, current: base.Container | None, *, ending: bool) -> None:
        """Have the probes of the running container run, and no others."""
        running = current.id if current is not None and current.state is base.ContainerState.RUNNING and not ending else None
        if running == self._probed:
            return
        await self._probes.stop()
        self._probes, self._health, self._probed = TaskOwner(f"probes.{self.uid}"), None, running
        if running is not None and current is not None and wanted is not None:
            container = wanted.spec.containers[0]
            self._health = self._tools.prober.initial(container)
            if container.startup_probe or container.readiness_probe or container.liveness_probe:
                self._probes.spawn(self._tools.prober.run(current, container, self._health, self.poke), name="run")

    def _report(self, wanted: pod.Pod, current: base.Container | None, action: plan.Action | None, *, ending: bool) -> None:
        if self.uid in self._tools.desired.unknown or self._tools.desired.frozen or not wanted.spec.containers:
            return
        reporter = self._tools.reporter
        failed = self._memory.waiting
        wait = action if isinstance(action, plan.Wait) else failed if isinstance(action, plan.Start | plan.Create | plan.Remove) else None
        seen = status.Observation(
            current=current,
            restarts=max(self._memory.restarts, 0),
            wait=wait,
            ready=bool(self._health and self._health.ready) and not ending,
            started=bool(self._health and self._health.started),
            last=self._last,
        )
        now = self._tools.clock.now()
        made = status.make_status(wanted, reporter.last(wanted), seen, host_ip=self._tools.node.host_ip, now=now)
        ports = self._tools.ports.of(self.uid)
        text = spec.host_ports_text(ports) if ports else wanted.metadata.annotations.get(names.ANNOTATION_HOST_PORTS, "")
        reporter.report(wanted, made, text)

    async def _try(self, action: plan.Action, wanted: pod.Pod | None) -> None:
        """Execute an action; a failure becomes the reason to wait."""
        try:
            await self._execute(action, wanted)
            if not isinstance(action, plan.Pull | plan.Remove | plan.Create):
                self._memory = plan.succeeded(self._memory)
        except (errors.LatticeError, TimeoutError, OSError) as error:
            reason = _reason(error)
            now_s = self._tools.clock.monotonic()
            self._memory = plan.failed(self._memory, reason, str(error)[:500], now_s)
            logger.warning(
                "an action on a Pod failed",
                extra={"pod_uid": self.uid, "action": type(action).__name__, "reason": reason, "error": str(error)[:300]},
            )

    async def _execute(self, action: plan.Action, wanted: pod.Pod | None) -> None:
        tools = self._tools
        match action:
            case plan.Pull():
                assert wanted is not None
                self._image.pull(wanted)
            case plan.Create(restarts=restarts):
                assert wanted is not None
                await self._create(wanted, restarts)
            case plan.Start(container_id=container_id):
                await self._start(container_id, wanted)
            case plan.Stop(container_id=container_id, grace_s=grace_s, why=why):
                logger.info("stopping a container", extra={"container": container_id[:12], "pod_uid": self.uid, "why": why})
                await self._probes.stop()
                await tools.runtime.stop(container_id, grace_s=grace_s)
                await self._refresh(container_id)
            case plan.Remove(container_id=container_id):
                for container in tools.table.of_pod(self.uid):
                    if container.id == container_id and container.finished_at is not None:
                        self._last = status.terminated(container)
                await tools.runtime.remove(container_id)
                tools.table.drop(container_id)
            case plan.Confirm():
                await self._confirm(wanted)
            case plan.Wait():
                pass
            case _:
                assert_never(action)

    def _pull_ended(self, error: Exception | None) -> None:
        if error is None:
            self._memory = plan.succeeded(self._memory)
        else:
            reason = "ErrImagePull" if self._memory.failures == 0 else "ImagePullBackOff"
            self._memory = plan.failed(self._memory, reason, str(error)[:500], self._tools.clock.monotonic())
        self.poke()

    async def _create(self, wanted: pod.Pod, restarts: int) -> None:
        tools = self._tools
        blueprint = spec.make_blueprint(wanted, wanted.spec.containers[0], tools.desired.references(), tools.node)
        for volume in blueprint.volumes:
            tools.volume_claims[volume] = self.uid
        sticky = spec.parse_host_ports(wanted.metadata.annotations.get(names.ANNOTATION_HOST_PORTS, ""))
        ports = tools.ports.reserve(self.uid, wanted.spec.containers[0].ports, sticky)
        tools.files.write(self.uid, blueprint.files)
        owner = {base.LABEL_NODE: tools.node.uid}
        for volume in blueprint.volumes:
            await tools.runtime.ensure_volume(volume, labels={**owner, base.LABEL_VOLUME: volume})
        for volume in blueprint.scratch_volumes:
            await tools.runtime.ensure_volume(volume, labels={**owner, base.LABEL_POD_UID: self.uid})
        try:
            container_id = await tools.runtime.create(spec.with_attempt(blueprint, wanted, restarts=restarts, ports=ports))
        except base.ImageNotFoundError:
            self._image.missing()
            if images.policy_of(wanted.spec.containers[0]) == "Never":
                raise
            return
        await self._refresh(container_id)

    async def _start(self, container_id: base.ContainerId, wanted: pod.Pod | None) -> None:
        tools = self._tools
        for container in tools.table.of_pod(self.uid):
            if container.id == container_id:
                for volume in container.volumes:
                    tools.volume_claims[volume] = self.uid
        try:
            async with tools.starts:
                await tools.runtime.start(container_id)
        except (base.PortTakenError, base.InvalidContainerError) as error:
            # The container will never start as it is: make another one, with another port where the port was ours to choose.
            if isinstance(error, base.PortTakenError) and wanted is not None:
                explicit = {port.host_port for port in wanted.spec.containers[0].ports if port.host_port}
                if error.host_port not in explicit:
                    tools.ports.refuse(error.host_port)
                tools.ports.free(self.uid)
            await tools.runtime.remove(container_id)
            tools.table.drop(container_id)
            raise
        await self._refresh(container_id)

    async def _refresh(self, container_id: base.ContainerId) -> None:
        mark = self._tools.table.mark
        try:
            self._tools.table.put(await self._tools.runtime.inspect(container_id), mark=mark)
        except base.ContainerGoneError:
            self._tools.table.drop(container_id)

    async def _confirm(self, wanted: pod.Pod | None) -> None:
        """Free what the Pod had, note its end on disk, then tell the server: "gone" is never said too early, nor forgotten."""
        tools = self._tools
        if wanted is None or any(volume.empty_dir is not None for volume in wanted.spec.volumes):
            for volume in await tools.runtime.volumes({base.LABEL_POD_UID: self.uid, base.LABEL_NODE: tools.node.uid}):
                await tools.runtime.remove_volume(volume)
        tools.files.remove(self.uid)
        tools.ports.free(self.uid)
        for volume in [volume for volume, holder in tools.volume_claims.items() if holder == self.uid]:
            del tools.volume_claims[volume]
        tools.mark_ended(self.uid)
        if wanted is not None and wanted.metadata.deletion_timestamp is not None:
            try:
                await tools.client.delete(pod.Pod, wanted.name, wanted.namespace, uid=self.uid, grace_period_s=0)
            except (errors.NotFoundError, errors.ConflictError):
                logger.debug("the Pod is gone already", extra={"pod_uid": self.uid})
        if (stone := tools.desired.tombstones.get(self.uid)) is not None:
            try:
                await tools.client.delete(tombstone.Tombstone, stone.name)
            except errors.NotFoundError:
                logger.debug("the Tombstone is gone already", extra={"pod_uid": self.uid})
        tools.reporter.forget(self.uid)
        tools.desired.forget(self.uid)
        tools.desired.unsaved = True
        self._done = True


def _number(container: base.Container) -> int:
    text = container.labels.get(base.LABEL_RESTARTS, "0")
    return int(text) if text.isdigit() else 0


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
