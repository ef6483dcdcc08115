"""Where other parts of the agent take part in a Pod's life: protocols, and what holds where there is no such part.

Called by the worker of each Pod, through ``Tools``. An implementation may raise any ``LatticeError``: the action has then failed, the
error's sentence becomes the container's waiting reason, and it is tried again after a delay that grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lattice.api import pod
from nodeagent.runtime import base
from nodeagent.workloads.actions import Wait


class Networks(Protocol):
    """The network of each namespace, and the rules that isolate it (``nodeagent/networks``)."""

    def blocked(self, wanted: pod.Pod) -> Wait | None:
        """Return why no container of this Pod may be started now, ``None``: it may. Asked before every start; must not block."""
        ...

    async def attach(self, wanted: pod.Pod, config: base.ContainerConfig) -> base.ContainerConfig:
        """Ensure the network of the Pod's namespace, and return the configuration with network, address and names.

        Called once for each container that has a network of its own: the pause container, or the Pod's only one. The address of a Pod
        stays the same as long as the Pod is there.
        """
        ...

    async def check(self, wanted: pod.Pod) -> None:
        """Ensure network and rules right before a container with a network of its own is started. Raises if they cannot be had."""
        ...

    async def detach(self, wanted: pod.Pod | None, pod_uid: str) -> None:
        """Give the address of a Pod back: none of its containers is left. Idempotent."""
        ...


class EngineNetwork:
    """Implements ``Networks`` by the engine's own default network."""

    def blocked(self, wanted: pod.Pod) -> Wait | None:
        """See ``Networks``."""
        return None

    async def attach(self, wanted: pod.Pod, config: base.ContainerConfig) -> base.ContainerConfig:
        """See ``Networks``."""
        return config

    async def check(self, wanted: pod.Pod) -> None:
        """See ``Networks``."""

    async def detach(self, wanted: pod.Pod | None, pod_uid: str) -> None:
        """See ``Networks``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """A container that has ended, right after it was seen."""

    wanted: pod.Pod
    container: base.Container
    name: str
    """Its name in the Pod."""
    terminated: pod.ContainerStateTerminated
    """As the status says it."""
    probe_output: str
    """Why it was stopped, where a probe did it; empty otherwise."""


class Endings(Protocol):
    """Who wants to know of ends (``nodeagent/failures`` keeps a record of failures)."""

    async def ended(self, ending: Ending) -> None:
        """Note an end. The container is there until this returns; called once for each end that the agent lives to see."""
        ...


class NoEndings:
    """Implements ``Endings`` by doing nothing."""

    async def ended(self, ending: Ending) -> None:
        """See ``Endings``."""


class Holds(Protocol):
    """Who may hold starts on this node (pause, pressure). ``Tools.holds`` has all of them."""

    def __call__(self, wanted: pod.Pod) -> Wait | None:
        """Return why no container of this Pod may be started now, ``None``: it may."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The Pod is ended by the node: all its containers are stopped, its phase becomes ``Failed`` with this reason (``Evicted``)."""

    reason: str
    message: str


def first_hold(holds: Sequence[Holds], wanted: pod.Pod) -> Wait | None:
    """Return the first reason not to start a Pod, ``None`` if there is none."""
    return next((wait for hold in holds if (wait := hold(wanted)) is not None), None)
