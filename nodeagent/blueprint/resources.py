"""Limits of a container. Pure.

Limits are hard: a quota on CPU time, memory without swap. Requests only weigh: a share of CPU time while it is short, and who is ended
first when memory is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lattice.api import pod, quantity
from nodeagent.runtime import base

_GPU: Final = "nvidia.com/gpu"
_MIN_SHARES: Final = 2
_SHARES_PER_CORE: Final = 1024
"""The kernel's weights; 2 is its least (Kubernetes: ``MilliCPUToShares``)."""
_BEST_EFFORT_OOM: Final = 1000
_LEAST_OOM: Final = 3
"""Kubernetes' ``GetContainerOOMScoreAdjust``: Guaranteed Pods are ended last, BestEffort ones first, others the later the more they
request. Guaranteed ones get no score (0) instead of -997: the order is the same, and an engine without CAP_SYS_RESOURCE (rootless, or in
a container) cannot lower a score, so that the container would not start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits as a container's configuration says them."""

    cpu_millis: int | None
    cpu_shares: int | None
    memory_bytes: int | None
    oom_score_adj: int | None
    gpus: base.GpuRequest | None


def make_limits(wanted: pod.Pod, container: pod.Container, memory_capacity_bytes: int) -> Limits:
    """Return the limits of a container.

    Args:
        wanted: the Pod.
        container: one of its containers.
        memory_capacity_bytes: what the Node offers; 0: not known.
    """
    limits = container.resources.limits
    request = pod.effective_request(container, "cpu")
    count = quantity.to_units(limits[_GPU]) if _GPU in limits else 0
    return Limits(
        cpu_millis=quantity.to_millis(limits["cpu"]) if "cpu" in limits else None,
        cpu_shares=max(_MIN_SHARES, quantity.to_millis(request) * _SHARES_PER_CORE // 1000) if request else _MIN_SHARES,
        memory_bytes=quantity.to_units(limits["memory"]) if "memory" in limits else None,
        oom_score_adj=_oom_score(wanted, container, memory_capacity_bytes),
        gpus=base.GpuRequest(count=count) if count else None,
    )


def _oom_score(wanted: pod.Pod, container: pod.Container, capacity_bytes: int) -> int | None:
    everyone = (*wanted.spec.containers, *wanted.spec.init_containers)
    if all(_is_full(one) for one in everyone):
        return None
    if not any(one.resources.limits or one.resources.requests for one in everyone):
        return _BEST_EFFORT_OOM
    request = quantity.to_units(pod.effective_request(container, "memory") or "0")
    if not capacity_bytes:
        return _BEST_EFFORT_OOM - 1
    score = 1000 - 1000 * request // capacity_bytes
    return min(max(score, _LEAST_OOM), _BEST_EFFORT_OOM - 1)


def _is_full(container: pod.Container) -> bool:
    """Return whether both limits are set and requested whole."""
    limits, requests = container.resources.limits, container.resources.requests
    return all(name in limits and requests.get(name, limits[name]) == limits[name] for name in ("cpu", "memory"))
