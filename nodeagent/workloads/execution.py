"""Executes what ``plan.decide`` asks for, for one Pod. Called by its worker, as one task for each action.

An action that fails raises; the worker keeps the reason and tries again. What is started, stopped or removed here is put into the table of
containers at once, so that the next decision sees it. Events are those of a kubelet.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from lattice.api import errors, names, pod, tombstone
from lattice.machinery.clock import Clock
from nodeagent import podevents
from nodeagent.images import plan as images
from nodeagent.probes.checks import Target
from nodeagent.runtime import base
from nodeagent.runtime.pause import ensure_pause_image
from nodeagent.workloads import members, restarts, spec
from nodeagent.workloads.actions import PAUSE, Create, Start, Stop
from nodeagent.workloads.image import PodImages
from nodeagent.workloads.members import Member
from nodeagent.workloads.order import Role
from nodeagent.workloads.tools import Tools
from nodeagent.workloads.vitals import Vitals

logger = logging.getLogger(__name__)

_MESSAGE_PATH: Final = "/dev/termination-log"
_AFTER_HOOK_S: Final = 2.0
"""What is left to end in after a preStop hook has used the grace period up (kubelet's figure)."""


class StartRefusedError(errors.LatticeError):
    """The program cannot be started: it is not in the image, or must not be executed. Counts as an end."""

    def __init__(self, message: str, container: base.Container) -> None:
        super().__init__(message)
        self.container = container


class Executor:
    """See the module's docstring."""

    def __init__(self, uid: str, tools: Tools, images_of_pod: PodImages, vitals: Vitals) -> None:
        self._uid = uid
        self._tools = tools
        self._images = images_of_pod
        self._vitals = vitals

    @property
    def _clock(self) -> Clock:
        return self._tools.clock

    async def create(self, action: Create, wanted: pod.Pod) -> None:
        """Make a container."""
        tools, member = self._tools, self._member(wanted, action.name)
        blueprint = blueprint_of(wanted, member, tools)
        for volume in blueprint.volumes:
            tools.volume_claims[volume] = self._uid
        blueprint = await tools.volumes.prepare(self._uid, blueprint)
        config = spec.with_attempt(blueprint, wanted, restarts=action.restarts, ports=())
        config = spec.with_address(await self._in_network(config, member, wanted))
        if member.role is not Role.PAUSE:
            config = self._with_message(config, member, action.restarts)
        try:
            container_id = await tools.runtime.create(config)
        except base.ImageNotFoundError:
            if member.role is Role.PAUSE:
                await ensure_pause_image(tools.runtime)
                container_id = await tools.runtime.create(config)
            else:
                self._images.missing(member.container)
                if images.policy_of(member.container) == "Never":
                    raise
                return
        try:
            await tools.volumes.settle(blueprint, container_id)
        except BaseException:
            await tools.runtime.remove(container_id)  # with the wrong owners it must not start
            raise
        if member.role is not Role.PAUSE:
            if not self._images.was_pulled(member.name):
                text = f'Container image "{member.container.image}" already present on machine'
                tools.events.say(wanted, member.name, "Normal", podevents.PULLED, text)
            tools.events.say(wanted, member.name, "Normal", podevents.CREATED, f"Created container: {member.name}")
        await self._refresh(container_id)

    def _with_message(self, config: base.ContainerConfig, member: Member, attempt: int) -> base.ContainerConfig:
        """Return the configuration with the file for the message of the container's end."""
        target = member.container.termination_message_path or _MESSAGE_PATH
        source = str(self._tools.messages.prepare(self._uid, member.name, attempt))
        return replace(config, mounts=(*config.mounts, base.Mount(kind="bind", target=target, source=source)))

    async def _in_network(self, config: base.ContainerConfig, member: Member, wanted: pod.Pod) -> base.ContainerConfig:
        """Return the configuration with a network of its own, or in that of the Pod's pause container or only container."""
        tools = self._tools
        holder = self._holder(wanted)
        if member.role is Role.PAUSE or (holder is None and member.role is not Role.EPHEMERAL):
            sticky = spec.parse_host_ports(wanted.metadata.annotations.get(names.ANNOTATION_HOST_PORTS, ""))
            ports = tools.ports.reserve(self._uid, members.published_ports(wanted.spec), sticky)
            if ports:
                config = replace(config, ports=ports, labels={**config.labels, base.LABEL_HOST_PORTS: spec.host_ports_text(ports)})
            return await tools.networks.attach(wanted, config)
        if holder is None:
            raise base.ContainerGoneError("the container whose network this one joins does not run")
        target = getattr(member.container, "target_container_name", None)
        seen = self._running(target) if target else None
        return members.joined(
            config,
            holder,
            is_pause=members.needs_pause(wanted.spec),
            share_processes=bool(wanted.spec.share_process_namespace),
            target=seen.id if seen is not None else None,
        )

    def _holder(self, wanted: pod.Pod) -> base.Container | None:
        """Return the running container that holds the Pod's network; ``None``, where the one to be made will hold it."""
        if members.needs_pause(wanted.spec):
            return self._running(PAUSE)
        return self._running(wanted.spec.containers[0].name)

    def _running(self, name: str) -> base.Container | None:
        found = [box for box in self._tools.table.of_pod(self._uid) if box.labels.get(base.LABEL_CONTAINER) == name]
        return next((box for box in found if box.state is base.ContainerState.RUNNING), None)

    async def start(self, action: Start, wanted: pod.Pod | None) -> None:
        """Start a container.

        Raises:
            StartRefusedError: its program cannot be started.
        """
        tools, container_id = self._tools, action.container_id
        before = next((box for box in tools.table.of_pod(self._uid) if box.id == container_id), None)
        for volume in before.volumes if before is not None else ():
            tools.volume_claims[volume] = self._uid
        if wanted is not None and before is not None and not before.labels.get(base.LABEL_SANDBOX):
            await tools.networks.check(wanted)
        self._vitals.was_started(container_id)
        try:
            async with tools.starts:
                await tools.runtime.start(container_id)
            await self._refresh(container_id)
            self._check_started(before)
        except (base.RuntimeUnavailableError, base.ContainerGoneError):
            raise
        except errors.LatticeError as error:
            # It will never start as it is: make another one, with another port where the port was ours to choose.
            self._note_port(error, wanted)
            await self._refresh(container_id)
            await tools.runtime.remove(container_id)
            tools.table.drop(container_id)
            if isinstance(error, base.InvalidContainerError) and before is not None:
                self._say(wanted, action.name, "Warning", podevents.FAILED, f"Error: {error}")
                raise StartRefusedError(str(error), before) from error
            raise
        if action.name != PAUSE:
            self._say(wanted, action.name, "Normal", podevents.STARTED, f"Started container {action.name}")

    def _check_started(self, before: base.Container | None) -> None:
        """An engine that was restarted may hold a container for running that it neither shows as running nor starts again."""
        after = next((box for box in self._tools.table.of_pod(self._uid) if before is not None and box.id == before.id), None)
        if before is None or after is None:
            return
        if after.state is base.ContainerState.CREATED or (after.state in restarts.ENDED and after.started_at == before.started_at):
            raise base.RuntimeFailedError(f"the engine did not start container {after.name}, though it said so: it is replaced")

    def _note_port(self, error: errors.LatticeError, wanted: pod.Pod | None) -> None:
        if isinstance(error, base.PortTakenError) and wanted is not None:
            explicit = {port.host_port for port in members.published_ports(wanted.spec) if port.host_port}
            if error.host_port not in explicit:
                self._tools.ports.refuse(error.host_port)
            self._tools.ports.free(self._uid)

    async def stop(self, action: Stop, wanted: pod.Pod | None, *, hook: bool) -> None:
        """Stop a container: its preStop hook (``hook``), its stop signal, SIGKILL, all within the grace period."""
        tools = self._tools
        logger.info("stopping a container", extra={"container": action.container_id[:12], "pod_uid": self._uid, "why": action.why})
        if is_sick(action):
            tools.probe_failures[action.container_id] = self._vitals.probe_failure(action.name) or action.why
        self._vitals.leave(action.name)
        member = self._find(wanted, action.name)
        if action.name != PAUSE:
            why = f"Container {action.name} {action.why}, will be restarted" if is_sick(action) else f"Stopping container {action.name}"
            self._say(wanted, action.name, "Normal", podevents.KILLING, why)
        left_s = action.grace_s
        before = member.container.lifecycle.pre_stop if member is not None and member.container.lifecycle is not None else None
        if hook and before is not None and member is not None and left_s > 0:
            begun_s = self._clock.monotonic()
            target = Target(container_id=action.container_id, ip=self._ip(wanted), ports=member.container.ports)
            outcome = await tools.prober.checker.hook(target, before, timeout_s=left_s)
            if outcome.success is False:
                self._say(wanted, action.name, "Warning", podevents.FAILED_PRE_STOP, f"PreStopHook failed: {outcome.message}")
            left_s = max(min(_AFTER_HOOK_S, left_s), left_s - (self._clock.monotonic() - begun_s))
        await tools.runtime.stop(action.container_id, grace_s=round(left_s))
        await self._refresh(action.container_id)

    def _ip(self, wanted: pod.Pod | None) -> str:
        holder = self._holder(wanted) if wanted is not None else None
        return holder.ip if holder is not None else ""

    async def remove(self, container_id: base.ContainerId) -> None:
        """Remove a container."""
        await self._tools.runtime.remove(container_id)
        self._tools.table.drop(container_id)

    async def confirm(self, wanted: pod.Pod | None) -> None:
        """Free what the Pod had, note its end on disk, then tell the server: "gone" is never said too early, nor forgotten."""
        tools = self._tools
        await tools.volumes.remove(self._uid)
        await tools.networks.detach(wanted, self._uid)
        tools.messages.remove(self._uid)
        tools.ports.free(self._uid)
        for volume in [volume for volume, holder in tools.volume_claims.items() if holder == self._uid]:
            del tools.volume_claims[volume]
        tools.mark_ended(self._uid)
        if wanted is not None and wanted.metadata.deletion_timestamp is not None:
            try:
                await tools.client.delete(pod.Pod, wanted.name, wanted.namespace, uid=self._uid, grace_period_s=0)
            except (errors.NotFoundError, errors.ConflictError):
                logger.debug("the Pod is gone already", extra={"pod_uid": self._uid})
        if (stone := tools.desired.tombstones.get(self._uid)) is not None:
            try:
                await tools.client.delete(tombstone.Tombstone, stone.name)
            except errors.NotFoundError:
                logger.debug("the Tombstone is gone already", extra={"pod_uid": self._uid})
        tools.reporter.forget(self._uid)
        tools.desired.forget(self._uid)
        tools.verdicts.pop(self._uid, None)
        tools.desired.unsaved = True

    async def _refresh(self, container_id: base.ContainerId) -> None:
        mark = self._tools.table.mark
        try:
            self._tools.table.put(await self._tools.runtime.inspect(container_id), mark=mark)
        except base.ContainerGoneError:
            self._tools.table.drop(container_id)

    def _say(self, wanted: pod.Pod | None, name: str, event_type: podevents.EventType, reason: str, message: str) -> None:
        self._tools.events.say(wanted, name, event_type, reason, message)

    def _member(self, wanted: pod.Pod, name: str) -> Member:
        found = self._find(wanted, name)
        assert found is not None, name
        return found

    def _find(self, wanted: pod.Pod | None, name: str) -> Member | None:
        found = members.members_of(wanted.spec) if wanted is not None else ()
        return next((member for member in found if member.name == name), None)


def is_sick(action: Stop) -> bool:
    """Return whether a container is stopped for what a probe or hook of it said."""
    return action.why.startswith("failed ") or action.why == "FailedPostStartHook"


def blueprint_of(wanted: pod.Pod, member: Member, tools: Tools) -> spec.Blueprint:
    """Return what to create for a container of a Pod; the pause container is one without anything in it.

    Raises:
        spec.ConfigError: something it needs is missing or not supported.
    """
    if member.role is Role.PAUSE:
        bare = spec.make_blueprint(members.without_containers(wanted), member.container, tools.desired.references(), tools.node)
        return spec.with_memory(members.as_pause(bare), wanted)
    return spec.make_blueprint(wanted, member.container, tools.desired.references(), tools.node, _address(wanted, tools))


def _address(wanted: pod.Pod, tools: Tools) -> spec.Address:
    """Return the address of the container that holds the Pod's network; a container that will hold it gets its own with its network."""
    holders = [box for box in tools.table.of_pod(wanted.uid) if box.ip and not box.labels.get(base.LABEL_SANDBOX)]
    return spec.Address(ip=holders[-1].ip if holders and members.needs_pause(wanted.spec) else "")
