"""What is remembered of one container of a Pod between two looks: its attempts, how the last one ended, how long to wait. Pure.

Kept by the Pod's worker, one :class:`History` for each container; read by ``plan.decide``. A new agent starts with what the Pod's status
says and loses only delays. Guarantees: an end is counted once, however often it is seen; the delay grows from 1 s by doubling to 60 s and
starts over after a run of 60 s; an attempt that never began is not counted as a restart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from lattice.api import pod
from nodeagent.runtime import base
from nodeagent.workloads.actions import Wait

BASE_S: Final = 1.0
CAP_S: Final = 60.0
"""Kubernetes waits 10 s to 5 min. On a home server a database that loses a race at boot should be back in seconds."""
HEALTHY_AFTER_S: Final = 60.0
"""A run of this length was healthy; the next crash counts as the first."""
LOST: Final = 137
"""Exit code of a container that is gone and whose end nobody saw: kubelet's ``ContainerStatusUnknown``."""
START_ERROR: Final = 128
"""Exit code of a container whose program could not be started: kubelet's ``StartError``."""
ENDED: Final = (base.ContainerState.EXITED, base.ContainerState.DEAD)
ACTIVE: Final = (base.ContainerState.RUNNING, base.ContainerState.PAUSED)
_EVER: Final = 62


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """See the module's docstring."""

    restarts: int = -1
    """Number of the last attempt that was seen; -1: none."""
    pending: bool = False
    """That attempt was made and has not begun to run."""
    ended: int | None = None
    """Exit code of that attempt, of the one before while ``pending``; ``None``: it has not ended."""
    replace: bool = False
    """Another attempt follows whatever the restart policy says."""
    crashes: int = 0
    """Ends in a row after runs that were too short to be healthy."""
    not_before_s: float = 0.0
    """Monotonic time before which no new attempt is made."""
    counted: tuple[base.ContainerId, datetime | None] | None = None
    """The run that is already counted in ``crashes``: which container, begun when. Not by its end: the engine's event and its
    inspect call tell the same end with different digits."""
    waiting: Wait | None = None
    """Why the last action failed; its ``until_s`` is the time of the next try."""
    failures: int = 0
    """Failed actions in a row, of any kind."""


def number_of(container: base.Container) -> int:
    """Return the number of a container's attempt."""
    text = container.labels.get(base.LABEL_RESTARTS, "0")
    return int(text) if text.isdigit() else 0


def in_order(containers: Sequence[base.Container]) -> list[base.Container]:
    """Return the containers of one name, the newest attempt last."""
    return sorted(containers, key=lambda container: (number_of(container), container.created_at, container.id))


def newest_of(history: History, ordered: Sequence[base.Container]) -> base.Container | None:
    """Return the container of the last attempt, ``None`` if that one is gone (an earlier one may still be there)."""
    return ordered[-1] if ordered and number_of(ordered[-1]) >= history.restarts else None


def adopted(status: pod.ContainerStatus) -> History:
    """Return what an agent's earlier life has written into the Pod's status."""
    state, last = status.state, status.last_state
    if state.running is not None:
        return History(restarts=status.restart_count)
    if (end := state.terminated or last.terminated) is not None:
        return History(restarts=status.restart_count, ended=end.exit_code)
    return History()


def remember(history: History, containers: Sequence[base.Container], now_s: float, *, busy: bool = False) -> History:
    """Return the history after a look at the containers of this name: the newest attempt and, once, its end.

    Args:
        history: what was known.
        containers: those of this name, in any order.
        now_s: monotonic.
        busy: an action is under way: what is missing now says nothing.
    """
    ordered = in_order(containers)
    newest = newest_of(history, ordered)
    if newest is None:
        if busy or history.restarts < 0:
            return history
        if history.pending:  # removed before it ran: this attempt has not taken place
            return replace(history, restarts=history.restarts - 1, pending=False)
        return history if history.ended is not None else replace(history, ended=LOST)
    number = number_of(newest)
    if newest.state is base.ContainerState.CREATED:
        if number == history.restarts and not history.pending and history.ended is not None:
            return history  # made, and refused to start: see start_failed
        return replace(history, restarts=number, pending=True)
    same = number == history.restarts and not history.pending
    history = replace(history, restarts=number, pending=False, ended=None, replace=history.replace and same)
    if newest.state not in ENDED:
        return history
    history = replace(history, ended=LOST if newest.exit_code is None else newest.exit_code)
    run = (newest.id, newest.started_at)
    if history.counted == run:
        return history
    ran_s = (newest.finished_at - newest.started_at).total_seconds() if newest.finished_at and newest.started_at else 0.0
    crashes = 1 if ran_s >= HEALTHY_AFTER_S else history.crashes + 1
    not_before_s = now_s if history.replace else now_s + backoff_s(crashes - 1)
    return replace(history, crashes=crashes, not_before_s=not_before_s, counted=run)


def restarts_after(policy: pod.RestartPolicy, exit_code: int | None) -> bool:
    """Return whether a container that ended with this code is started again."""
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def is_over(history: History, policy: pod.RestartPolicy) -> bool:
    """Return whether the container has ended and is not started again."""
    return history.ended is not None and not history.pending and not history.replace and not restarts_after(policy, history.ended)


def backoff_s(earlier: int) -> float:
    """Return the delay after ``earlier`` failures before this one."""
    return min(CAP_S, BASE_S * 2.0 ** min(max(earlier, 0), _EVER))


def must_wait(history: History, now_s: float) -> Wait | None:
    """Return why no attempt is made now: the last action failed, or the container crashes again and again."""
    failed = history.waiting
    if failed is not None and failed.until_s is not None and now_s < failed.until_s:
        return failed
    if now_s < history.not_before_s:
        text = f"back-off {backoff_s(history.crashes - 1):g}s restarting failed container"
        return Wait(reason="CrashLoopBackOff", message=text, until_s=history.not_before_s)
    return None


def failed(history: History, reason: str, message: str, now_s: float) -> History:
    """Return the history after an action failed: the next try comes after a delay that grows."""
    wait = Wait(reason=reason, message=message, until_s=now_s + backoff_s(history.failures))
    return replace(history, waiting=wait, failures=history.failures + 1)


def start_failed(history: History, now_s: float) -> History:
    """Return the history after the program could not be started: an end like any other, as in Kubernetes."""
    crashes = history.crashes + 1
    return replace(
        history, pending=False, ended=START_ERROR, crashes=crashes, not_before_s=now_s + backoff_s(crashes - 1), waiting=None, failures=0
    )


def succeeded(history: History) -> History:
    """Return the history after an action that worked."""
    return replace(history, waiting=None, failures=0) if history.failures or history.waiting else history
