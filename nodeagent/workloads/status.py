"""What the agent says of a Pod: a ``PodStatus`` as a kubelet would write it. Pure.

Called by the worker of a Pod after every step. Guarantees: "Running" and "ready" are said only of what was observed; conditions change
their time only when they change their status; the scheduler's condition is handed through untouched; an unchanged Pod gives an equal
status.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from lattice.api import meta, pod
from nodeagent.runtime import base
from nodeagent.workloads import plan

_OURS: Final = ("Initialized", "Ready", "ContainersReady")
_SIGKILL: Final = 137
_ENDED: Final = (base.ContainerState.EXITED, base.ContainerState.DEAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What is known of a Pod's container."""

    current: base.Container | None
    """The newest container."""
    restarts: int
    """Number of the last attempt, at least 0."""
    wait: plan.Wait | None
    """Why nothing is done now."""
    ready: bool
    """Whether the readiness probe, if any, succeeds; only looked at while it runs."""
    started: bool
    """Whether the startup probe, if any, has succeeded."""
    last: pod.ContainerStateTerminated | None
    """How the attempt before ended."""


def make_status(wanted: pod.Pod, previous: pod.PodStatus, seen: Observation, *, host_ip: str, now: datetime) -> pod.PodStatus:
    """Return the whole status.

    Args:
        wanted: the Pod.
        previous: the status that was last written.
        seen: what is observed.
        host_ip: the node's address.
        now: for times of things that change now.
    """
    if previous.phase in ("Succeeded", "Failed"):
        return previous
    spec = wanted.spec.containers[0]
    running = seen.current is not None and seen.current.state in (base.ContainerState.RUNNING, base.ContainerState.PAUSED)
    ready = running and seen.started and seen.ready
    phase = _phase(wanted, previous, seen, running=running)
    container: dict[str, Any] = {
        "name": spec.name,
        "state": _state(wanted, seen, running=running, phase=phase),
        "ready": ready,
        "started": running and seen.started,
        "restart_count": max(seen.restarts, 0),
        "image": spec.image or "",
        "image_id": seen.current.image_id if seen.current else "",
        "last_state": pod.ContainerState(terminated=seen.last) if seen.last else pod.ContainerState(),
    }
    if seen.current is not None:
        container["container_id"] = f"docker://{seen.current.id}"
    fields: dict[str, Any] = {
        "phase": phase,
        "conditions": _conditions(wanted, previous, spec.name, ready=ready, done=phase == "Succeeded", now=now),
        "host_ip": host_ip,
        "start_time": previous.start_time or now.replace(microsecond=0),
        "container_statuses": (pod.ContainerStatus(**container),),
        "qos_class": qos_class(spec),
    }
    if running and seen.current is not None and seen.current.ip:
        fields["pod_ip"] = seen.current.ip
        fields["pod_ips"] = (pod.PodIP(ip=seen.current.ip),)
    if seen.wait is not None and seen.wait.reason in ("Unsupported", "PortTaken", "VolumeInUse"):
        fields["reason"], fields["message"] = seen.wait.reason, seen.wait.message
    return pod.PodStatus(**fields)


def terminated(container: base.Container) -> pod.ContainerStateTerminated:
    """Return the end of a container as the API says it."""
    code = container.exit_code or 0
    # Docker sets OOMKilled also when only a child was killed and the container ended well: the code decides.
    oom = container.oom_killed and code == _SIGKILL
    fields: dict[str, Any] = {
        "exit_code": code,
        "reason": "OOMKilled" if oom else "Completed" if code == 0 else "Error",
        "container_id": f"docker://{container.id}",
    }
    if container.error:
        fields["message"] = container.error
    if container.started_at:
        fields["started_at"] = container.started_at.replace(microsecond=0)
    if container.finished_at:
        fields["finished_at"] = container.finished_at.replace(microsecond=0)
    return pod.ContainerStateTerminated(**fields)


def qos_class(container: pod.Container) -> str:
    """Return Kubernetes' quality-of-service class of a Pod of one container."""
    limits, requests = container.resources.limits, container.resources.requests
    if not limits and not requests:
        return "BestEffort"
    full = all(name in limits and requests.get(name, limits[name]) == limits[name] for name in ("cpu", "memory"))
    return "Guaranteed" if full else "Burstable"


def _ends(wanted: pod.Pod, seen: Observation) -> bool:
    """Whether the newest container has ended for good."""
    return (
        seen.current is not None
        and seen.current.state in _ENDED
        and not plan.restarts_after(wanted.spec.restart_policy or "Always", seen.current.exit_code)
        and wanted.metadata.deletion_timestamp is None
    )


def _phase(wanted: pod.Pod, previous: pod.PodStatus, seen: Observation, *, running: bool) -> pod.Phase:
    if _ends(wanted, seen) and seen.current is not None:
        return "Succeeded" if seen.current.exit_code == 0 else "Failed"
    was_started = seen.restarts > 0 or previous.phase == "Running" or (seen.current is not None and seen.current.state in _ENDED)
    return "Running" if running or was_started else "Pending"


def _state(wanted: pod.Pod, seen: Observation, *, running: bool, phase: pod.Phase) -> pod.ContainerState:
    current = seen.current
    if current is not None and running:
        started_at = current.started_at.replace(microsecond=0) if current.started_at else None
        return pod.ContainerState(running=pod.ContainerStateRunning(started_at=started_at))
    if current is not None and current.state in _ENDED and (phase in ("Succeeded", "Failed") or seen.wait is None):
        return pod.ContainerState(terminated=terminated(current))
    if seen.wait is not None:
        return pod.ContainerState(waiting=pod.ContainerStateWaiting(reason=seen.wait.reason, message=seen.wait.message))
    return pod.ContainerState(waiting=pod.ContainerStateWaiting(reason="ContainerCreating"))


def _conditions(
    wanted: pod.Pod, previous: pod.PodStatus, container: str, *, ready: bool, done: bool, now: datetime
) -> tuple[meta.Condition, ...]:
    kept = tuple(condition for condition in wanted.status.conditions if condition.type not in _OURS)
    before = {condition.type: condition for condition in previous.conditions}
    why = {} if ready else {"reason": "PodCompleted"} if done else {
        "reason": "ContainersNotReady", "message": f"containers with unready status: [{container}]"
    }  # fmt: skip
    made = [_condition("Initialized", "True", {}, before, now)]
    made += [_condition(name, "True" if ready else "False", why, before, now) for name in ("Ready", "ContainersReady")]
    return (*kept, *made)


def _condition(
    name: str, status: meta.ConditionStatus, why: dict[str, str], before: dict[str, meta.Condition], now: datetime
) -> meta.Condition:
    old = before.get(name)
    since = old.last_transition_time if old is not None and old.status == status else None
    return meta.Condition(type=name, status=status, last_transition_time=since or now.replace(microsecond=0), **why)
