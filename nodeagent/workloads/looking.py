"""Makes what ``plan.decide`` looks at out of what the worker knows. Reads only; called by the worker of a Pod at every decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lattice.api import pod
from nodeagent.runtime import base
from nodeagent.workloads import members, order, plan, restarts, seams, spec
from nodeagent.workloads.actions import PAUSE, Wait
from nodeagent.workloads.execution import blueprint_of
from nodeagent.workloads.image import PodImages
from nodeagent.workloads.members import Member
from nodeagent.workloads.order import Role, Slot
from nodeagent.workloads.tools import Tools
from nodeagent.workloads.vitals import Vitals

DEFAULT_GRACE_S: Final = 30
_VOLUME_RETRY_S: Final = 5.0
_UNKNOWN: Final = Wait(reason="UnknownPod", message="the server does not know this Pod; its container is kept, none is made or removed")
_CONFIG: Final = "CreateContainerConfigError"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is asked for."""

    uid: str
    wanted: pod.Pod | None
    ending: bool
    """The Pod is to go: a deletion timestamp, or a tombstone."""

    def newest(self, view: plan.View, name: str) -> base.Container | None:
        """Return the container of the last attempt of this name."""
        return restarts.newest_of(view.memory.of(name), view.boxes.get(name, ()))

    def ip(self, view: plan.View) -> str:
        """Return the Pod's address, empty while it has none."""
        if self.wanted is None or not self.wanted.spec.containers:
            return ""
        holder = self.newest(view, PAUSE if view.pause is not None else self.wanted.spec.containers[0].name)
        return holder.ip if holder is not None and holder.state in restarts.ACTIVE else ""


def look(
    target: Target,
    containers: tuple[base.Container, ...],
    memory: plan.Memory,
    tools: Tools,
    images: PodImages,
    vitals: Vitals,
    *,
    now_s: float,
    busy: frozenset[str],
    stopping: Mapping[base.ContainerId, float],
) -> plan.View:
    """Return the view of a Pod now."""
    wanted = target.wanted
    finished = False
    blocked: Wait | None = None
    slots: tuple[Slot, ...] = ()
    if wanted is not None:
        finished = target.uid in tools.verdicts or tools.reporter.last(wanted).phase in ("Succeeded", "Failed")
        if not target.ending and not finished:
            if not any(container.state in (base.ContainerState.RUNNING, base.ContainerState.CREATED) for container in containers):
                _release_volumes(target.uid, tools)
            blocked = seams.first_hold(tools.holds, wanted) or tools.networks.blocked(wanted)
        slots = _slots(wanted, containers, memory, tools, images, vitals, asleep=target.ending or finished)
    return plan.View(
        ending=target.ending,
        finished=finished,
        grace_s=_grace_s(target, tools),
        slots=slots,
        containers=containers,
        memory=memory,
        now_s=now_s,
        busy=busy,
        blocked=blocked,
        stopping=dict(stopping),
    )


def _grace_s(target: Target, tools: Tools) -> float:
    wanted = target.wanted
    if wanted is None:
        return DEFAULT_GRACE_S
    set_s = wanted.metadata.deletion_grace_period_seconds if target.ending else None
    fallback = wanted.spec.termination_grace_period_seconds
    grace_s = set_s if set_s is not None else DEFAULT_GRACE_S if fallback is None else fallback
    return min(grace_s, DEFAULT_GRACE_S) if target.ending and target.uid in tools.desired.tombstones else grace_s


def _slots(
    wanted: pod.Pod,
    containers: tuple[base.Container, ...],
    memory: plan.Memory,
    tools: Tools,
    images: PodImages,
    vitals: Vitals,
    *,
    asleep: bool,
) -> tuple[Slot, ...]:
    running = {plan.name_of(container) for container in containers if container.state in restarts.ACTIVE}
    result: list[Slot] = []
    for member in members.members_of(wanted.spec):
        policy = order.effective_policy(member.role, wanted.spec.restart_policy or "Always")
        blocked, in_place = (None, False) if asleep or member.name in running else _blocked(wanted, member, tools, images)
        health = vitals.of(member.name)
        lifecycle = member.container.lifecycle
        result.append(
            Slot(
                name=member.name,
                role=member.role,
                spec_hash="" if member.role is Role.PAUSE else spec.spec_hash(wanted, member.container),
                policy=policy,
                image_ready=member.role is Role.PAUSE or images.ready(member.container, restarts=memory.of(member.name).restarts),
                blocked=blocked,
                restart_in_place=in_place,
                started=bool(health and health.started),
                hooked=lifecycle is not None and lifecycle.post_start is not None,
                unhealthy=health.unhealthy if health else "",
                unhealthy_grace_s=health.grace_s if health else None,
            )
        )
    return tuple(result)


def _blocked(wanted: pod.Pod, member: Member, tools: Tools, images: PodImages) -> tuple[Wait | None, bool]:
    """Return why a container cannot be made, and whether the one that was there may be started again instead."""
    if images.pulling(member.name):
        return Wait(reason="ContainerCreating", message=f"pulling image {member.container.image}"), False
    blocked: Wait | None = None
    try:
        blueprint = blueprint_of(wanted, member, tools)
    except spec.ConfigError as error:
        blocked = Wait(reason=error.reason, message=error.message)
    except ValueError as error:  # base64 or a quantity that the server should have refused
        blocked = Wait(reason=_CONFIG, message=str(error)[:300])
    else:
        if (used := _volume_in_use(wanted.uid, blueprint.volumes, tools)) is not None:
            return used, False
    if wanted.uid in tools.desired.unknown:
        return _UNKNOWN, True
    return blocked, not tools.desired.synced and blocked is not None and blocked.reason == _CONFIG


def _release_volumes(uid: str, tools: Tools) -> None:
    for volume in [volume for volume, holder in tools.volume_claims.items() if holder == uid]:
        del tools.volume_claims[volume]


def _volume_in_use(uid: str, volumes: tuple[str, ...], tools: Tools) -> Wait | None:
    for volume in volumes:
        user = tools.table.user_of_volume(volume, except_pod=uid)
        holder = tools.volume_claims.get(volume, uid)
        if user is not None or holder != uid:
            name = user.labels.get(base.LABEL_POD_NAME, user.name) if user is not None else f"with uid {holder}"
            text = f"waits for volume {volume}: Pod {name} on this node still uses it"
            return Wait(reason="VolumeInUse", message=text, until_s=tools.clock.monotonic() + _VOLUME_RETRY_S)
    return None
