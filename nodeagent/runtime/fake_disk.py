"""What containers use, and what is on the disk, in the fake runtime: figures are data that a test sets. A part of ``fake.py``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nodeagent.runtime import base

IMAGE_SIZE_BYTES = 1_000_000


@dataclass(slots=True)
class Figures:
    """What is measured, by the name of a container or volume; what is not named uses nothing."""

    stats: dict[str, base.ContainerStats] = field(default_factory=dict)
    written_bytes: dict[str, int] = field(default_factory=dict)
    volume_bytes: dict[str, int] = field(default_factory=dict)
    image_bytes: dict[str, int] = field(default_factory=dict)


class FakeDisk:
    """See ``base.Runtime``."""

    figures: Figures
    changes: list[str]
    _boxes: dict[base.ContainerId, Any]
    _images: set[str]
    _volumes: dict[str, dict[str, str]]

    if TYPE_CHECKING:  # the rest of the fake's

        async def _enter(self) -> None: ...
        def _box(self, container_id: base.ContainerId) -> Any: ...

    async def stats(self, container_id: base.ContainerId) -> base.ContainerStats:
        """See ``Runtime``."""
        await self._enter()
        seen = self._box(container_id).seen
        nothing = base.ContainerStats(cpu_s=0.0, memory_bytes=0, working_set_bytes=0)
        return self.figures.stats.get(seen.name, nothing) if seen.state is base.ContainerState.RUNNING else nothing

    async def written_bytes(self, container_id: base.ContainerId) -> int:
        """See ``Runtime``."""
        await self._enter()
        return self.figures.written_bytes.get(self._box(container_id).seen.name, 0)

    async def volume_bytes(self, names: Collection[str]) -> Mapping[str, int]:
        """See ``Runtime``."""
        await self._enter()
        return {name: self.figures.volume_bytes.get(name, 0) for name in names if name in self._volumes}

    async def remove_image(self, image: str) -> bool:
        """See ``Runtime``."""
        await self._enter()
        name = image.removeprefix("sha256:")
        if any(box.seen.image == name for box in self._boxes.values()):
            return False
        if name in self._images:
            self._images.discard(name)
            self.changes.append(f"remove-image {name}")
        return True
