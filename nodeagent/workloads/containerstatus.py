"""The status of one container, as a kubelet would write it. Pure.

Used by ``status.py``. Guarantees: "running" and "ready" are said only of what was observed; an end is told with its exit code, signal,
times and message; what waits says why.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Any, Final

from lattice.api import pod
from nodeagent.runtime import base
from nodeagent.workloads import restarts
from nodeagent.workloads.actions import Wait
from nodeagent.workloads.members import Member
from nodeagent.workloads.order import Role

_SIGKILL: Final = 137
_FIRST_SIGNAL: Final = 128
_CREATING: Final = Wait(reason="ContainerCreating", message="")
_LOST_MESSAGE: Final = "The container could not be located when the pod was terminated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of one container."""

    member: Member
    newest: base.Container | None
    """The container of the last attempt."""
    end: pod.ContainerStateTerminated | None
    """How the last attempt ended, if it has."""
    last: pod.ContainerStateTerminated | None
    """How the attempt before ended."""
    restarts: int
    """Number of the last attempt, at least 0."""
    wait: Wait | None
    """Why nothing is done now."""
    over: bool
    """It has ended and is not started again."""
    started: bool
    """Its postStart hook is done, its startup probe, if any, has succeeded; only looked at while it runs."""
    ready: bool
    """Its readiness probe, if any, succeeds; only looked at while it runs."""

    @property
    def running(self) -> bool:
        """Whether it was observed running."""
        return self.newest is not None and self.newest.state in restarts.ACTIVE

    @property
    def is_ready(self) -> bool:
        """Whether it is ready: an init container when it is done, all others while they run."""
        if self.member.role is Role.INIT:
            return not self.running and self.end is not None and self.end.exit_code == 0
        return self.running and self.started and self.ready


def terminated(container: base.Container, message: str = "") -> pod.ContainerStateTerminated:
    """Return the end of a container as the API says it. ``message``: what it left as its message, wins over the engine's."""
    code = restarts.LOST if container.exit_code is None else container.exit_code
    # Docker sets OOMKilled also when only a child was killed and the container ended well: the code decides.
    oom = container.oom_killed and code == _SIGKILL
    fields: dict[str, Any] = {
        "exit_code": code,
        "reason": "OOMKilled" if oom else "Completed" if code == 0 else "Error",
        "container_id": f"docker://{container.id}",
    }
    if (number := code - _FIRST_SIGNAL) in _SIGNALS:
        fields["signal"] = number
    if message or container.error:
        fields["message"] = message or container.error
    if container.started_at:
        fields["started_at"] = container.started_at.replace(microsecond=0)
    if container.finished_at:
        fields["finished_at"] = container.finished_at.replace(microsecond=0)
    return pod.ContainerStateTerminated(**fields)


_SIGNALS: Final = frozenset(int(number) for number in signal.Signals)


def start_error(container: base.Container, message: str) -> pod.ContainerStateTerminated:
    """Return the end of a container whose program could not be started."""
    return pod.ContainerStateTerminated(
        exit_code=restarts.START_ERROR, reason="StartError", message=message, container_id=f"docker://{container.id}"
    )


def lost(container_id: str | None) -> pod.ContainerStateTerminated:
    """Return the end of a container that is gone, and whose end nobody saw."""
    return pod.ContainerStateTerminated(
        exit_code=restarts.LOST, reason="ContainerStatusUnknown", message=_LOST_MESSAGE, container_id=container_id
    )


def container_status(seen: Seen) -> pod.ContainerStatus:
    """Return the status of one container."""
    state, last = _states(seen)
    fields: dict[str, Any] = {
        "name": seen.member.name,
        "state": state,
        "last_state": pod.ContainerState(terminated=last) if last else pod.ContainerState(),
        "ready": seen.is_ready,
        "started": seen.running and seen.started,
        "restart_count": seen.restarts,
        "image": seen.member.container.image or "",
        "image_id": (seen.newest.image_digest or seen.newest.image_id) if seen.newest else "",
    }
    if seen.newest is not None:
        fields["container_id"] = f"docker://{seen.newest.id}"
    elif seen.end is not None and seen.end.container_id:
        fields["container_id"] = seen.end.container_id
    return pod.ContainerStatus(**fields)


def _states(seen: Seen) -> tuple[pod.ContainerState, pod.ContainerStateTerminated | None]:
    if seen.newest is not None and seen.running:
        started_at = seen.newest.started_at.replace(microsecond=0) if seen.newest.started_at else None
        return pod.ContainerState(running=pod.ContainerStateRunning(started_at=started_at)), seen.last
    if seen.end is not None and (seen.over or seen.wait is None):
        return pod.ContainerState(terminated=seen.end), seen.last
    wait = seen.wait or _CREATING
    return pod.ContainerState(waiting=pod.ContainerStateWaiting(reason=wait.reason, message=wait.message or None)), seen.end or seen.last
