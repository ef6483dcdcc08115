"""Which container a stream is about, among those that this node has of a Pod. Pure.

The messages are kubelet's, for clients show them as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lattice.api import errors
from nodeagent.runtime import base

_ALIVE = (base.ContainerState.RUNNING, base.ContainerState.PAUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A container of a Pod, as a question names it."""

    pod_uid: str
    pod: str
    namespace: str
    container: str

    @classmethod
    def of(cls, question: Mapping[str, Any]) -> Target:
        """Return what a question names.

        Raises:
            errors.BadRequestError: it names none.
        """
        found = [question.get(key) for key in ("podUID", "pod", "namespace", "container")]
        if not all(isinstance(each, str) for each in found) or not found[0]:
            raise errors.BadRequestError("the question names no container of a Pod")
        return cls(pod_uid=str(found[0]), pod=str(found[1]), namespace=str(found[2]), container=str(found[3]))


def running(containers: Iterable[base.Container], target: Target) -> base.Container:
    """Return the running container. Raises ``errors.NotFoundError``."""
    alive = [each for each in _attempts(containers, target) if each.state in _ALIVE]
    if not alive:
        raise errors.NotFoundError(f'container not found ("{target.container}")')
    return alive[-1]


def reachable(containers: Iterable[base.Container], target: Target) -> base.Container:
    """Return a running container of the Pod, whichever: all share one network. Raises ``errors.NotFoundError``."""
    alive = [each for each in containers if each.state in _ALIVE]
    if not alive:
        raise errors.NotFoundError(f'no container of pod "{target.pod}" is running')
    return min(alive, key=lambda each: (not each.ip, each.created_at, each.id))


def logged(containers: Iterable[base.Container], target: Target, *, previous: bool, ended_id: str = "") -> base.Container:
    """Return the container whose log is asked for: the newest that was ever started, or the one before it.

    ``ended_id``: which one the Pod's status shows as the last that ended. While a container waits to be restarted that is the newest one.

    Raises:
        errors.BadRequestError: there is none.
    """
    begun = [each for each in _attempts(containers, target) if each.started_at is not None]
    if previous:
        if (shown := next((each for each in begun if each.id == ended_id), None)) is not None:
            return shown
        if len(begun) < 2:
            message = f'previous terminated container "{target.container}" in pod "{target.pod}" not found'
            raise errors.BadRequestError(message)
        return begun[-2]
    if not begun:
        message = f'container "{target.container}" in pod "{target.pod}" is waiting to start: ContainerCreating'
        raise errors.BadRequestError(message)
    return begun[-1]


def _attempts(containers: Iterable[base.Container], target: Target) -> list[base.Container]:
    """Return the containers of the target's name, the newest last."""
    found = [each for each in containers if each.labels.get(base.LABEL_CONTAINER) == target.container]
    return sorted(found, key=lambda each: (_restarts(each), each.created_at, each.id))


def _restarts(container: base.Container) -> int:
    text = container.labels.get(base.LABEL_RESTARTS, "0")
    return int(text) if text.isdigit() else 0
