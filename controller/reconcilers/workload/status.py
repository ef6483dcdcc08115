"""A Workload's status, from what was observed of its Pods. "Running" is said of nothing that the agent did not report ready.

Called by the plan. The sentences name the first thing that the Workload waits for; they stay the same while the cause stays the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from controller.reconcilers.workload import naming, template
from controller.reconcilers.workload.replicas import is_finished, is_ready, label_number
from lattice.api import conditions, meta, names, pod, workload

_CRASHES_UNTIL_FAILED = 3
"""Ends of a container after which a Workload counts as Failed: one that comes back at once was restarted, no more."""
_FAILED_REASONS = frozenset({"CrashLoopBackOff", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "ErrImageNeverPull"})
"""Waiting reasons after which a person should look: the agent goes on trying, and the phase follows when it succeeds."""


def stalled_status(
    owner: workload.Workload, pods: Sequence[pod.Pod], problem: template.SpecProblem, now: datetime
) -> workload.WorkloadStatus:
    """Return the status of a Workload that the user must change. Its Pods, if any, go on."""
    ready = sum(is_ready(p) for p in pods)
    return _make(
        owner,
        pods,
        "Failed",
        now,
        digest="",
        available=_condition("Available", ready > 0 and ready >= owner.spec.replicas, problem.reason, problem.message),
        progressing=_condition("Progressing", False, problem.reason, problem.message),
        stalled=_condition("Stalled", True, problem.reason, problem.message),
    )


def waiting_status(owner: workload.Workload, pods: Sequence[pod.Pod], message: str, now: datetime) -> workload.WorkloadStatus:
    """Return the status of a Workload that waits for something other than its Pods."""
    return _make(
        owner,
        pods,
        "Validating",
        now,
        digest="",
        available=_condition("Available", False, "NotReady", message),
        progressing=_condition("Progressing", True, "WaitingForDependency", message),
        stalled=_NOT_STALLED,
    )


def pods_status(owner: workload.Workload, pods: Sequence[pod.Pod], digest: str, now: datetime) -> workload.WorkloadStatus:
    """Return the status that the Pods show."""
    wanted = owner.spec.replicas
    current = [p for p in pods if p.metadata.labels.get(names.LABEL_TEMPLATE_HASH) == digest and p.metadata.deletion_timestamp is None]
    ready = sum(is_ready(p) for p in pods)
    served = {label_number(p, names.LABEL_ORDINAL) for p in current if is_ready(p)} >= set(range(wanted))
    settled = served and len(pods) == wanted
    phase: workload.WorkloadPhase
    if wanted == 0:
        phase = "Deploying" if pods else "Stopped"
        reason, message = ("Stopping", f"waiting for {len(pods)} pods to end") if pods else ("Stopped", "spec.replicas is 0")
        return _make(
            owner, pods, phase, now, digest=digest,
            available=_condition("Available", False, reason, message),
            progressing=_condition("Progressing", bool(pods), reason, message), stalled=_NOT_STALLED,
        )  # fmt: skip
    available_message = f"{min(ready, wanted)} of {wanted} replicas are ready"
    available = _condition("Available", ready >= wanted, "AllReady" if ready >= wanted else "NotReady", available_message)
    if settled:
        progressing = _condition("Progressing", False, "Complete", available_message)
        return _make(owner, pods, "Running", now, digest=digest, available=available, progressing=progressing, stalled=_NOT_STALLED)
    reason, message = _first_wait(pods, wanted)
    failed = reason in _FAILED_REASONS and not served
    phase = "Running" if served and not _is_rolling(pods, digest) else "Failed" if failed else "Deploying"
    return _make(
        owner, pods, phase, now, digest=digest, available=available,
        progressing=_condition("Progressing", not failed, reason, message), stalled=_NOT_STALLED,
    )  # fmt: skip


def explain(p: pod.Pod) -> tuple[str, str]:
    """Return reason and sentence for what a Pod that is not ready waits for."""
    if p.metadata.deletion_timestamp is not None:
        return "Terminating", f"pod {p.name}: waiting for its end"
    if is_finished(p):
        return p.status.reason or "PodFailed", f"pod {p.name}: {p.status.message or 'has ended'}"
    scheduled = conditions.get_condition(p.status.conditions, "PodScheduled")
    if not p.spec.node_name:
        if scheduled is not None and scheduled.status == "False":
            return scheduled.reason or "Unschedulable", f"pod {p.name}: {scheduled.message}"
        return "Scheduling", f"pod {p.name}: waiting for the scheduler"
    for container in p.status.container_statuses:
        waiting = container.state.waiting
        if waiting is not None and waiting.reason == "CrashLoopBackOff" and container.restart_count < _CRASHES_UNTIL_FAILED - 1:
            return "Restarting", f"pod {p.name}: its container ended and is started again"
        if waiting is not None and waiting.reason:
            return waiting.reason, f"pod {p.name}: {waiting.reason}" + (f": {waiting.message}" if waiting.message else "")
        ended = container.state.terminated
        if ended is not None:
            return ended.reason or "Error", f"pod {p.name}: its container ended with exit code {ended.exit_code}"
    if p.status.phase in (None, "Pending", "Unknown"):
        return "Starting", f"pod {p.name}: {p.status.message or f'waiting for the agent of node {p.spec.node_name}'}"
    observed = conditions.get_condition(p.status.conditions, "Ready")
    detail = f": {observed.message}" if observed is not None and observed.message else ""
    return "WaitingForReadiness", f"pod {p.name}: runs and is not ready yet{detail}"


def _first_wait(pods: Sequence[pod.Pod], wanted: int) -> tuple[str, str]:
    waits = [explain(p) for p in sorted(pods, key=lambda p: (label_number(p, names.LABEL_ORDINAL), p.name)) if not is_ready(p)]
    for wait in waits:  # an ending Pod is the least interesting thing to wait for
        if wait[0] != "Terminating":
            return wait
    if waits:
        return waits[0]
    return "CreatingPods", f"{len(pods)} of {wanted} pods exist"


def _is_rolling(pods: Sequence[pod.Pod], digest: str) -> bool:
    return any(p.metadata.labels.get(names.LABEL_TEMPLATE_HASH) != digest for p in pods)


def _condition(condition_type: str, holds: bool, reason: str, message: str) -> meta.Condition:
    return meta.Condition(type=condition_type, status="True" if holds else "False", reason=reason, message=message)


_NOT_STALLED = _condition("Stalled", False, "Progressing", "")


def _make(
    owner: workload.Workload,
    pods: Sequence[pod.Pod],
    phase: workload.WorkloadPhase,
    now: datetime,
    *,
    digest: str,
    available: meta.Condition,
    progressing: meta.Condition,
    stalled: meta.Condition,
) -> workload.WorkloadStatus:
    generation = owner.metadata.generation
    wanted = [meta.changed(condition, observed_generation=generation) for condition in (available, progressing, stalled)]
    return workload.WorkloadStatus(
        phase=phase,
        replicas=len(pods),
        ready_replicas=sum(is_ready(p) for p in pods),
        updated_replicas=sum(p.metadata.labels.get(names.LABEL_TEMPLATE_HASH) == digest for p in pods),
        observed_generation=generation,
        conditions=conditions.merge_conditions(owner.status.conditions, wanted, now),
        endpoints=_endpoints(pods),
        credentials_secret=naming.credentials(owner.name) if owner.spec.preset is not None and phase != "Validating" and digest else None,
        selector=f"{names.LABEL_WORKLOAD}={naming.label_value(owner.name)}",
    )


def _endpoints(pods: Sequence[pod.Pod]) -> tuple[workload.WorkloadEndpoint, ...]:
    found = [endpoint for p in pods if is_ready(p) for item in _published(p) if (endpoint := _endpoint(p, item)) is not None]
    return tuple(sorted(found, key=lambda e: (e.pod_name, e.container_port, e.protocol, e.host_port)))


def _published(p: pod.Pod) -> list[Any]:
    try:
        items = json.loads(p.metadata.annotations.get(names.ANNOTATION_HOST_PORTS, "[]"))
    except ValueError:
        return []
    return items if isinstance(items, list) else []


def _endpoint(p: pod.Pod, item: Any) -> workload.WorkloadEndpoint | None:
    """Return an endpoint, ``None`` where the annotation, which users can write too, is not what the agent writes."""
    if not isinstance(item, dict):
        return None
    try:
        return workload.WorkloadEndpoint.model_validate({**item, "podName": p.name, "nodeName": p.spec.node_name or ""})
    except ValidationError:
        return None
