"""What to do next for one Pod: ``step(view) -> Action | None``. Pure.

Called by the Pod's worker (``shell.py``) in a loop: observe, step, execute, until nothing is left to do. One action at a time, so that
the agent can die between any two and go on from what it then sees.

Guarantees, tested as properties on a model of the engine:

* it converges, from any state and after any prefix of actions;
* there is never more than one running container of a Pod: another is created only when every earlier one is removed;
* nothing is stopped or removed but for a Pod that is ending, a container that is superseded, unhealthy or not of this spec;
* a Pod that has ended (``Succeeded``, ``Failed``) never starts again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, TypeAlias

from lattice.api import pod
from nodeagent.runtime import base

BACKOFF_BASE_S: Final = 1.0
BACKOFF_CAP_S: Final = 60.0
"""Kubernetes waits 10 s to 5 min. On a home server a database that loses a race at boot should be back in seconds."""
HEALTHY_AFTER_S: Final = 60.0
"""A run of this length was healthy; the next crash counts as the first."""
_EVER: Final = 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Make the container of this attempt, without starting it."""

    restarts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """Get the image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start a container."""

    container_id: base.ContainerId


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Stop a container gracefully."""

    container_id: base.ContainerId
    grace_s: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Remove a container that does not run."""

    container_id: base.ContainerId


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm:
    """Everything of the Pod is gone from this node: free its ports and files, and tell the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing can be done now; look again at ``until_s`` (``None``: when something changes)."""

    reason: str
    message: str
    until_s: float | None = None


Action: TypeAlias = Create | Pull | Start | Stop | Remove | Confirm | Wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a worker remembers of its Pod between steps. A new agent starts with an empty one and loses only delays."""

    restarts: int = -1
    """Number of the last attempt that was seen or made; -1: none."""
    crashes: int = 0
    """Ends in a row after runs that were too short to be healthy."""
    not_before_s: float = 0.0
    """Monotonic time before which no new attempt is made."""
    waiting: Wait | None = None
    """Why the last action failed; its ``until_s`` is the time of the next try."""
    counted: tuple[base.ContainerId, datetime | None] | None = None
    """The end that is already counted in ``crashes``: which container, when."""
    failures: int = 0
    """Failed actions in a row, of any kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything that a step looks at."""

    ending: bool
    """The Pod is to go: a deletion timestamp, or a tombstone."""
    grace_s: int
    restart_policy: pod.RestartPolicy
    finished: bool
    """The server has recorded that the Pod has ended."""
    spec_hash: str
    containers: tuple[base.Container, ...]
    """The containers of this Pod, in any order."""
    memory: Memory
    now_s: float
    image_ready: bool
    """The image may be used as it is; false: pull first."""
    blocked: Wait | None = None
    """No container may be started: configuration is missing, or its volume is in use."""
    restart_in_place: bool = False
    """What blocks is only that a new container cannot be made (the server is away, or does not know the Pod): start the old one again."""
    unhealthy: str = ""
    """Why the running container has to be restarted; empty: it is healthy."""


def step(view: View) -> Action | None:
    """Return the next action, ``None`` when the Pod is as it should be."""
    ordered = sorted(view.containers, key=lambda container: (_restarts(container), container.created_at, container.id))
    if view.ending:
        return _end(ordered, view)
    for superseded in ordered[:-1]:
        return _put_away(superseded, view, "superseded by a newer attempt")
    if not ordered:
        return None if view.finished else _first(view, view.memory.restarts + 1)
    current = ordered[-1]
    match current.state:
        case base.ContainerState.RUNNING:
            if current.labels.get(base.LABEL_SPEC_HASH) != view.spec_hash:
                return Stop(container_id=current.id, grace_s=view.grace_s, why="its spec has changed")
            if view.unhealthy:
                return Stop(container_id=current.id, grace_s=view.grace_s, why=view.unhealthy)
            return None
        case base.ContainerState.PAUSED:
            return None  # somebody paused it by hand: it is not ours to undo
        case base.ContainerState.CREATED:
            return _begin(current, view)
        case base.ContainerState.EXITED | base.ContainerState.DEAD:
            return _again(current, view)


def _end(ordered: list[base.Container], view: View) -> Action:
    delayed = view.memory.waiting
    if delayed is not None and delayed.until_s is not None and view.now_s < delayed.until_s:
        return delayed
    for container in ordered:
        return _put_away(container, view, "the Pod is deleted")
    return Confirm()


def _put_away(container: base.Container, view: View, why: str) -> Action:
    if container.state in (base.ContainerState.RUNNING, base.ContainerState.PAUSED):
        return Stop(container_id=container.id, grace_s=view.grace_s, why=why)
    return Remove(container_id=container.id)


def _first(view: View, restarts: int) -> Action:
    """Make a container where there is none."""
    if (wait := _must_wait(view)) is not None:
        return wait
    return Create(restarts=restarts) if view.image_ready else Pull()


def _begin(current: base.Container, view: View) -> Action:
    """Start what an interrupted step has created, unless it is of another spec."""
    if current.labels.get(base.LABEL_SPEC_HASH) != view.spec_hash:
        return Remove(container_id=current.id)
    if (wait := _must_wait(view)) is not None:
        return wait
    return Start(container_id=current.id)


def _again(current: base.Container, view: View) -> Action | None:
    """Restart what has ended, where the policy says so, by a new container with a fresh filesystem."""
    outdated = current.labels.get(base.LABEL_SPEC_HASH) != view.spec_hash
    if view.finished or not (outdated or restarts_after(view.restart_policy, current.exit_code)):
        return None
    if view.restart_in_place and not outdated and view.blocked is not None:
        late = replace(view, blocked=None)
        return _must_wait(late) or Start(container_id=current.id)
    return _must_wait(view) or Remove(container_id=current.id)


def _must_wait(view: View) -> Wait | None:
    if view.blocked is not None:
        return view.blocked
    failed = view.memory.waiting
    if failed is not None and failed.until_s is not None and view.now_s < failed.until_s:
        return failed
    if view.now_s < view.memory.not_before_s:
        return Wait(
            reason="CrashLoopBackOff",
            message=f"back-off {backoff_s(view.memory.crashes - 1):g}s restarting failed container",
            until_s=view.memory.not_before_s,
        )
    return None


def restarts_after(policy: pod.RestartPolicy, exit_code: int | None) -> bool:
    """Return whether a container that ended with this code is started again."""
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def backoff_s(earlier: int) -> float:
    """Return the delay after ``earlier`` failures before this one."""
    return min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2.0 ** min(max(earlier, 0), _EVER))


def remember(memory: Memory, containers: tuple[base.Container, ...], now_s: float) -> Memory:
    """Return the memory after looking at the containers: their number, and, once for each, an end."""
    if not containers:
        return memory
    newest = max(containers, key=lambda container: (_restarts(container), container.created_at, container.id))
    memory = replace(memory, restarts=max(memory.restarts, _restarts(newest)))
    if newest.state not in (base.ContainerState.EXITED, base.ContainerState.DEAD) or memory.counted == (newest.id, newest.finished_at):
        return memory
    ran_s = (newest.finished_at - newest.started_at).total_seconds() if newest.finished_at and newest.started_at else 0.0
    crashes = 1 if ran_s >= HEALTHY_AFTER_S else memory.crashes + 1
    return replace(memory, crashes=crashes, not_before_s=now_s + backoff_s(crashes - 1), counted=(newest.id, newest.finished_at))


def failed(memory: Memory, reason: str, message: str, now_s: float) -> Memory:
    """Return the memory after an action failed: the next try comes after a delay that grows."""
    wait = Wait(reason=reason, message=message, until_s=now_s + backoff_s(memory.failures))
    return replace(memory, waiting=wait, failures=memory.failures + 1)


def succeeded(memory: Memory) -> Memory:
    """Return the memory after an action that worked."""
    return replace(memory, waiting=None, failures=0) if memory.failures or memory.waiting else memory


def _restarts(container: base.Container) -> int:
    text = container.labels.get(base.LABEL_RESTARTS, "0")
    return int(text) if text.isdigit() else 0
