"""Which container of a Pod may run when: the roles, and the orders of start and of end. Pure.

Used by ``plan.py``. Kubernetes' rules:

* init containers run one after the other, each to its end; a sidecar (an init container with ``restartPolicy: Always``) is passed when it
  has started: it runs, its postStart hook is done, its startup probe has succeeded;
* then the containers start in the order of the spec; the next one waits for a postStart hook of the one before;
* at the end all containers are stopped at once, then the sidecars one by one, the last one first, then the pause container.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lattice.api import pod
from nodeagent.runtime import base
from nodeagent.workloads import restarts
from nodeagent.workloads.actions import Wait


class Role(StrEnum):
    """What a container is in its Pod."""

    INIT = "init"
    SIDECAR = "sidecar"
    APP = "app"
    EPHEMERAL = "ephemeral"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One container of a spec, with what the worker knows of it now."""

    name: str
    role: Role
    spec_hash: str
    policy: pod.RestartPolicy
    """What counts for this container, see :func:`effective_policy`."""
    image_ready: bool = True
    """The image may be used as it is; false: pull first."""
    blocked: Wait | None = None
    """It cannot be made: configuration is missing, its image is being pulled."""
    restart_in_place: bool = False
    """What blocks is only that a new container cannot be made (the server is away, or does not know the Pod): start the old one again."""
    started: bool = False
    """It runs, its postStart hook is done, its startup probe has succeeded. Only looked at while it runs."""
    hooked: bool = False
    """It has a postStart hook."""
    unhealthy: str = ""
    """Why the running container has to be restarted; empty: it is healthy."""
    unhealthy_grace_s: float | None = None
    """Grace period of the probe that failed; ``None``: the Pod's."""


def effective_policy(role: Role, policy: pod.RestartPolicy) -> pod.RestartPolicy:
    """Return the restart policy of a container of a Pod with this policy."""
    match role:
        case Role.SIDECAR | Role.PAUSE:
            return "Always"
        case Role.EPHEMERAL:
            return "Never"
        case Role.INIT:
            return "Never" if policy == "Never" else "OnFailure"
        case Role.APP:
            return policy


def sandbox_of(container: base.Container) -> str:
    """Return the id of the container whose network a container has joined, empty: it has its own."""
    return container.labels.get(base.LABEL_SANDBOX, "")


def init_done(slot: Slot, newest: base.Container | None, history: restarts.History, sandbox: str) -> bool:
    """Return whether the next container after this init container or sidecar may start."""
    if newest is None or sandbox_of(newest) != sandbox:
        return False
    if slot.role is Role.SIDECAR:
        return newest.state is base.ContainerState.RUNNING and slot.started
    return newest.state in restarts.ENDED and history.ended == 0


def holds_next(slot: Slot, newest: base.Container | None, *, coming: bool) -> bool:
    """Return whether the container after this one waits for its postStart hook. ``coming``: it is being made or started."""
    if not slot.hooked:
        return False
    running = newest is not None and newest.state is base.ContainerState.RUNNING
    return coming or (running and not slot.started and not slot.unhealthy)


def next_to_stop(slots: Sequence[Slot], active: Mapping[str, Sequence[base.Container]]) -> list[str]:
    """Return the names of the containers whose turn it is to be stopped.

    Args:
        slots: all of the Pod, in the order of its spec.
        active: the running containers by name.
    """
    first = [slot.name for slot in slots if slot.role not in (Role.SIDECAR, Role.PAUSE)]
    known = {slot.name for slot in slots}
    stage = sorted(name for name in active if name in first or name not in known)
    if stage:
        return stage
    for slot in reversed([slot for slot in slots if slot.role is Role.SIDECAR]):
        if slot.name in active:
            return [slot.name]
    return sorted(active)
