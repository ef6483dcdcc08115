"""What the agent knows of the containers on its engine, kept right against slow answers.

Written by the supervisor (lists, events) and by the workers (what they just did); read by the workers. Each entry carries the number of
its last change; a list or inspect that was asked before that change does not overwrite it, so that an answer that was overtaken neither
hides a new container nor brings a removed one back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from nodeagent.runtime import base


class ContainerTable:
    """Containers of Pods, by id. Those of another node's agent on the same engine are kept too: they may hold a volume."""

    def __init__(self, node_uid: str) -> None:
        self._node_uid = node_uid
        self._containers: dict[base.ContainerId, base.Container] = {}
        self._changed: dict[base.ContainerId, int] = {}
        """Change number of present and of removed containers; forgotten with the next list."""
        self._count = 0
        self.available = False
        """The engine answers and its containers have been listed."""

    @property
    def mark(self) -> int:
        """The number of the last change: take it before asking, and hand it in with the answer."""
        return self._count

    def get(self, container_id: base.ContainerId) -> base.Container | None:
        """Return what is known of a container."""
        return self._containers.get(container_id)

    def put(self, container: base.Container, *, mark: int | None = None) -> bool:
        """Note a container. With ``mark``: unless something newer is known. Return whether it was noted."""
        if mark is not None and self._changed.get(container.id, -1) > mark:
            return False
        self._count += 1
        self._containers[container.id] = container
        self._changed[container.id] = self._count
        return True

    def drop(self, container_id: base.ContainerId) -> None:
        """Note that a container is gone."""
        self._count += 1
        self._containers.pop(container_id, None)
        self._changed[container_id] = self._count

    def replace_all(self, containers: Iterable[base.Container], *, mark: int) -> None:
        """Take a whole list in, keeping what changed after it was asked for."""
        newer = {container_id: number for container_id, number in self._changed.items() if number > mark}
        kept = {container_id: self._containers[container_id] for container_id in newer if container_id in self._containers}
        listed = {container.id: container for container in containers if container.id not in newer}
        self._containers = {**listed, **kept}
        self._changed = newer

    def of_pod(self, pod_uid: str) -> tuple[base.Container, ...]:
        """Return this node's containers of a Pod."""
        return tuple(container for container in self.ours() if container.labels.get(base.LABEL_POD_UID) == pod_uid)

    def ours(self) -> list[base.Container]:
        """Return this node's containers."""
        return [container for container in self._containers.values() if container.labels.get(base.LABEL_NODE) == self._node_uid]

    def user_of_volume(self, volume: str, *, except_pod: str) -> base.Container | None:
        """Return a running container of another Pod, known or unknown, that mounts a volume."""
        for container in self._containers.values():
            active = container.state in (base.ContainerState.RUNNING, base.ContainerState.PAUSED)
            if active and volume in container.volumes and container.labels.get(base.LABEL_POD_UID) != except_pod:
                return container
        return None


def end_told_by(event: base.RuntimeEvent, known: base.Container | None) -> base.Container | None:
    """Return a container as it is after the event of its end, ``None`` where the event does not tell it surely.

    An inspect call waits some 60 ms for the engine to clean up after an end (measured); the event is there before. Not trusted: an end by
    SIGKILL under a memory limit, because the event does not say whether it was the kernel's; and the end of an earlier run.
    """
    if event.action != "die" or event.exit_code is None or event.at is None or known is None:
        return None
    if known.state is not base.ContainerState.RUNNING or (event.exit_code == _SIGKILL and known.memory_limited):
        return None
    if known.started_at is None or event.at < known.started_at:
        return None
    return replace(known, state=base.ContainerState.EXITED, exit_code=event.exit_code, finished_at=event.at, ip="")


_SIGKILL: Final = 137
