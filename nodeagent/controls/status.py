"""What the local API says of the node: one document from what the agent knows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lattice.api import pod
from lattice.version import VERSION
from nodeagent.controls.pause import Paused
from nodeagent.controls.stamps import stamp
from nodeagent.facts import Fact
from nodeagent.runtime import base

API_VERSION = "v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a Pod uses now."""

    cpu_millis: int = 0
    memory_bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"cpuMillis": self.cpu_millis, "memoryBytes": self.memory_bytes}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Everything that the document is made of."""

    name: str
    uid: str
    now: datetime
    connected: bool
    """Whether the server has been heard, and is believed."""
    server_problem: str
    engine_problem: str
    engine: str
    """``docker 20.10``, empty while not known."""
    paused: Paused | None
    facts: Sequence[Fact]
    capacity: Mapping[str, str]
    allocatable: Mapping[str, str]
    pods: Sequence[tuple[pod.Pod, pod.PodStatus]]
    """Pods bound here, with the newest status of each."""
    containers: Iterable[base.Container]
    unknown: frozenset[str]
    images_wanted: Mapping[str, str]
    """Images named in the settings: ``present``, ``pulling``, or why not."""
    usage: Mapping[str, Usage] = field(default_factory=dict)
    """Pod uid to what it uses."""
    failures: int = 0


def make(seen: Seen) -> dict[str, Any]:
    """Return the document."""
    pods = [_pod(each, status, seen.usage.get(each.uid)) for each, status in sorted(seen.pods, key=lambda pair: _key(pair[0]))]
    known = {each.uid for each, _ in seen.pods}
    strange = sorted(
        {
            (each.labels.get(base.LABEL_POD_NAMESPACE, "?"), each.labels.get(base.LABEL_POD_NAME, "?"))
            for each in seen.containers
            if each.labels.get(base.LABEL_POD_UID) not in known or each.labels.get(base.LABEL_POD_UID) in seen.unknown
        }
    )
    return {
        "apiVersion": API_VERSION,
        "agent": VERSION,
        "node": {"name": seen.name, "uid": seen.uid},
        "time": stamp(seen.now),
        "server": {"connected": seen.connected, "problem": seen.server_problem},
        "engine": {"name": seen.engine, "problem": seen.engine_problem},
        "paused": seen.paused.to_dict() if seen.paused is not None else None,
        "conditions": [{"type": fact.type, "status": fact.status, "reason": fact.reason, "message": fact.message} for fact in seen.facts],
        "capacity": dict(seen.capacity),
        "allocatable": dict(seen.allocatable),
        "pods": pods,
        "unknownPods": [f"{namespace}/{name}" for namespace, name in strange],
        "images": [{"image": image, "state": state} for image, state in sorted(seen.images_wanted.items())],
        "failures": seen.failures,
    }


def _key(each: pod.Pod) -> tuple[str, str]:
    return each.metadata.namespace or "", each.name


def _pod(each: pod.Pod, status: pod.PodStatus, usage: Usage | None) -> dict[str, Any]:
    containers = [
        {"name": one.name, "image": one.image, "ready": one.ready, "restarts": one.restart_count, "state": _state(one.state)}
        for one in status.container_statuses
    ]
    return {
        "namespace": each.metadata.namespace,
        "name": each.name,
        "uid": each.uid,
        "phase": status.phase or "Pending",
        "deleting": each.metadata.deletion_timestamp is not None,
        "containers": containers,
        "usage": usage.to_dict() if usage is not None else None,
    }


def _state(state: pod.ContainerState) -> str:
    if state.running is not None:
        return "running"
    if state.terminated is not None:
        return f"terminated: {state.terminated.reason or ''} (exit code {state.terminated.exit_code})"
    if state.waiting is not None:
        return f"waiting: {state.waiting.reason or ''}"
    return "unknown"
