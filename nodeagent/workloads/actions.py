"""What ``plan.decide`` can ask for: values, printable, without behaviour.

Every action is about one container of the Pod and names it by the name of its spec; the pause container's name is :data:`PAUSE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from nodeagent.runtime import base

PAUSE: Final = "POD"
"""Label value of the pause container: upper case, so that it is no name of a container in a spec (those are DNS labels)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Make the container of this attempt, without starting it."""

    name: str
    restarts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """Get the image of a container."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start a container."""

    name: str
    container_id: base.ContainerId


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Stop a container gracefully: its preStop hook, its stop signal, SIGKILL after ``grace_s`` in all."""

    name: str
    container_id: base.ContainerId
    grace_s: float
    why: str
    replace: bool = False
    """Another one follows whatever the restart policy says: its spec has changed, or its network is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Remove a container that does not run."""

    name: str
    container_id: base.ContainerId


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm:
    """Everything of the Pod is gone from this node: free its ports and files, and tell the server."""

    name: str = PAUSE


Action: TypeAlias = Create | Pull | Start | Stop | Remove | Confirm


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing can be done now; look again at ``until_s`` (monotonic; ``None``: when something changes)."""

    reason: str
    message: str
    until_s: float | None = None
