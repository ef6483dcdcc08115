"""What the agent says of a Pod: a ``PodStatus`` as a kubelet would write it. Pure.

Called by the worker of a Pod after every decision. Guarantees: "Running" and "ready" are said only of what was observed; a Pod that has
ended is told so when none of its containers runs any more; conditions change their time only when they change their status; conditions of
other writers are handed through untouched; an unchanged Pod gives an equal status.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from lattice.api import meta, pod
from nodeagent.workloads import containerstatus, plan
from nodeagent.workloads.containerstatus import Seen
from nodeagent.workloads.order import Role
from nodeagent.workloads.seams import Verdict

OURS: Final = ("Initialized", "Ready", "ContainersReady")
"""Condition types that are the agent's."""
_ENDED: Final = ("Succeeded", "Failed")
_POD_REASONS: Final = ("Unsupported", "PortTaken", "VolumeInUse")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What is known of a Pod."""

    containers: tuple[Seen, ...]
    """In the order of the spec, without the pause container."""
    outcome: plan.Outcome
    """How it has ended by itself."""
    verdict: Verdict | None
    """Why the node has ended it."""
    any_running: bool
    """Some container of it runs, the pause container included."""
    initialized: bool
    """Its init containers are done."""
    ip: str
    """Its address; empty: it has none."""
    host_ip: str
    generation: int | None = None
    """Of the spec that this was made from."""


def make_status(wanted: pod.Pod, previous: pod.PodStatus, seen: Observation, *, now: datetime) -> pod.PodStatus:
    """Return the whole status.

    Args:
        wanted: the Pod.
        previous: the status that was last written.
        seen: what is observed.
        now: for times of things that change now.
    """
    if previous.phase in _ENDED:
        return previous
    phase = _phase(wanted, previous, seen)
    statuses = [(one.member.role, containerstatus.container_status(one)) for one in seen.containers]
    fields: dict[str, Any] = {
        "phase": phase,
        "conditions": _conditions(wanted, previous, seen, phase, now),
        "host_ip": seen.host_ip,
        "host_ips": (pod.HostIP(ip=seen.host_ip),),
        "start_time": previous.start_time or now.replace(microsecond=0),
        "init_container_statuses": tuple(status for role, status in statuses if role in (Role.INIT, Role.SIDECAR)),
        "container_statuses": tuple(status for role, status in statuses if role is Role.APP),
        "ephemeral_container_statuses": tuple(status for role, status in statuses if role is Role.EPHEMERAL),
        "qos_class": qos_class(wanted.spec),
        "observed_generation": seen.generation,
    }
    if seen.ip:
        fields["pod_ip"] = seen.ip
        fields["pod_ips"] = (pod.PodIP(ip=seen.ip),)
    waits = [one.wait for one in seen.containers if one.wait is not None and one.wait.reason in _POD_REASONS]
    if seen.verdict is not None:
        fields["reason"], fields["message"] = seen.verdict.reason, seen.verdict.message
    elif waits and phase not in _ENDED:
        fields["reason"], fields["message"] = waits[0].reason, waits[0].message
    return pod.PodStatus(**fields)


def qos_class(spec: pod.PodSpec) -> pod.QOSClass:
    """Return Kubernetes' quality-of-service class of a Pod: from the cpu and memory of all its containers but ephemeral ones."""
    containers = (*spec.init_containers, *spec.containers)
    names = ("cpu", "memory")
    said = [(container.resources.limits.get(name), container.resources.requests.get(name)) for container in containers for name in names]
    if all(limit is None and request is None for limit, request in said):
        return "BestEffort"
    return "Guaranteed" if all(limit is not None and request in (None, limit) for limit, request in said) else "Burstable"


def _phase(wanted: pod.Pod, previous: pod.PodStatus, seen: Observation) -> pod.Phase:
    if wanted.metadata.deletion_timestamp is None and not seen.any_running:
        if seen.verdict is not None:
            return "Failed"
        if seen.outcome:
            return seen.outcome
    if previous.phase == "Running":
        return "Running"
    apps = [one for one in seen.containers if one.member.role is Role.APP]
    # As kubelet's table: Pending until each container has run once, however many of them run already.
    begun = seen.initialized and all(one.running or one.end is not None or one.last is not None for one in apps)
    return "Running" if begun and apps else "Pending"


def _conditions(wanted: pod.Pod, previous: pod.PodStatus, seen: Observation, phase: pod.Phase, now: datetime) -> tuple[meta.Condition, ...]:
    kept = tuple(condition for condition in wanted.status.conditions if condition.type not in OURS)
    before = {condition.type: condition for condition in previous.conditions}
    unready = [one.member.name for one in seen.containers if one.member.role in (Role.APP, Role.SIDECAR) and not one.is_ready]
    incomplete = [one.member.name for one in seen.containers if one.member.role is Role.INIT and not one.is_ready]
    over = {"Succeeded": {"reason": "PodCompleted"}, "Failed": {"reason": "PodFailed"}}.get(phase)
    initialized: dict[str, str] = {}
    if not seen.initialized and phase != "Succeeded":
        text = f"containers with incomplete status: [{' '.join(incomplete)}]"
        initialized = {"reason": "ContainersNotInitialized", "message": text}
    elif phase == "Succeeded":
        initialized = {"reason": "PodCompleted"}
    why: dict[str, str] = {}
    if over or unready:
        why = over or {"reason": "ContainersNotReady", "message": f"containers with unready status: [{' '.join(unready)}]"}
    gate = why or _gates(wanted)
    done: meta.ConditionStatus = "False" if initialized.get("message") else "True"
    return (
        *kept,
        _condition("Initialized", done, initialized, before, now),
        _condition("Ready", "False" if gate else "True", gate, before, now),
        _condition("ContainersReady", "False" if why else "True", why, before, now),
    )


def _gates(wanted: pod.Pod) -> dict[str, str]:
    """Return why the Pod is not ready though its containers are: a readiness gate that nobody, or somebody else, has set."""
    held = {condition.type: condition.status for condition in wanted.status.conditions}
    messages: list[str] = []
    for gate in wanted.spec.readiness_gates:
        name = gate.condition_type
        if name not in held:
            messages.append(f'corresponding condition of pod readiness gate "{name}" does not exist.')
        elif held[name] != "True":
            messages.append(f'the status of pod readiness gate "{name}" is not "True", but {held[name]}')
    return {"reason": "ReadinessGatesNotReady", "message": ", ".join(messages)} if messages else {}


def _condition(
    name: str, status: meta.ConditionStatus, why: dict[str, str], before: dict[str, meta.Condition], now: datetime
) -> meta.Condition:
    old = before.get(name)
    since = old.last_transition_time if old is not None and old.status == status else None
    return meta.Condition(type=name, status=status, last_transition_time=since or now.replace(microsecond=0), **why)


def statuses_of(status: pod.PodStatus) -> Sequence[pod.ContainerStatus]:
    """Return the statuses of all containers of a Pod."""
    return (*status.init_container_statuses, *status.container_statuses, *status.ephemeral_container_statuses)
