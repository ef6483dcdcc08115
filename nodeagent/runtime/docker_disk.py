"""What containers use, and what images and volumes take of the disk, on a Docker engine. A part of ``docker.py``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from nodeagent.runtime import base, docker_errors
from nodeagent.runtime.docker_engine import DockerEngine

_DISK_TIMEOUT_S: Final = 300.0
"""The engine walks through the files to know how large they are."""


class DockerDisk:
    """See ``base.Runtime``."""

    _engine: DockerEngine

    if TYPE_CHECKING:  # of the part for volumes

        async def volume_path(self, name: str) -> str | None:
            """See ``Runtime``."""
            ...

    async def stats(self, container_id: base.ContainerId) -> base.ContainerStats:
        """See ``Runtime``. ``one-shot`` spares the engine the second sample, a second later, that it takes for its own rate."""
        doing = f"measure container {container_id}"
        params = {"stream": "false", "one-shot": "true"}
        return container_stats(await self._engine.json(f"containers/{container_id}/stats", params=params, doing=doing))

    async def written_bytes(self, container_id: base.ContainerId) -> int:
        """See ``Runtime``."""
        path = f"containers/{container_id}/json"
        doing = f"measure the files of container {container_id}"
        answer = await self._engine.json(path, params={"size": "true"}, doing=doing, timeout_s=_DISK_TIMEOUT_S)
        return int(answer.get("SizeRw") or 0) + _log_bytes(str(answer.get("LogPath") or ""))

    async def volume_bytes(self, names: Collection[str]) -> Mapping[str, int]:
        """See ``Runtime``. The agent looks itself where it may; the engine would look at all volumes, and at all images."""
        found: dict[str, int] = {}
        for name in names:
            path = await self.volume_path(name)
            size = await asyncio.to_thread(tree_bytes, Path(path)) if path is not None else 0
            if size is None:
                return await self._volume_bytes_of_engine(names)
            if path is not None:
                found[name] = size
        return found

    async def _volume_bytes_of_engine(self, names: Collection[str]) -> Mapping[str, int]:
        params = {"type": "volume"} if await self._engine.api_version() >= (1, 42) else None
        answer = await self._engine.json("system/df", params=params, doing="measure volumes", timeout_s=_DISK_TIMEOUT_S)
        sizes = {volume["Name"]: int((volume.get("UsageData") or {}).get("Size", -1)) for volume in answer.get("Volumes") or ()}
        return {name: sizes[name] for name in names if sizes.get(name, -1) >= 0}

    async def remove_image(self, image: str) -> bool:
        """See ``Runtime``."""
        try:
            await self._engine.read(f"images/{quote(image, safe='/:@')}", "DELETE", doing=f"remove image {image}")
        except base.ImageNotFoundError:
            return True
        except (base.RuntimeFailedError, base.InvalidContainerError, base.NameTakenError) as error:
            if docker_errors.is_in_use(str(error)):
                return False
            raise
        return True


def container_stats(data: Mapping[str, Any]) -> base.ContainerStats:
    """Return the value of an answer of ``GET /containers/<id>/stats``."""
    memory = data.get("memory_stats") or {}
    details = memory.get("stats") or {}
    usage = int(memory.get("usage") or 0)
    # cgroup v1 counts those below a cgroup under total_..., v2 has no other.
    inactive = int(details.get("total_inactive_file", details.get("inactive_file", 0)))
    networks = (data.get("networks") or {}).values()
    return base.ContainerStats(
        cpu_s=int(((data.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage") or 0) / 1e9,
        memory_bytes=usage,
        working_set_bytes=max(usage - inactive, 0),
        pids=int((data.get("pids_stats") or {}).get("current") or 0),
        received_bytes=sum(int(network.get("rx_bytes") or 0) for network in networks),
        sent_bytes=sum(int(network.get("tx_bytes") or 0) for network in networks),
    )


def _log_bytes(path: str) -> int:
    """Return how large a container's log files are, as far as this process may look; they are bounded by rotation anyway."""
    if not path:
        return 0
    log = Path(path)
    try:
        return sum(found.stat().st_size for found in log.parent.glob(f"{log.name}*"))
    except OSError:
        return 0


def tree_bytes(root: Path) -> int | None:
    """Return what a directory takes of the disk, ``None`` if this process may not look at all of it, or it is not on this machine."""
    total = 0
    directories = [str(root)]
    while directories:
        directory = directories.pop()
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    try:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
                        if entry.is_dir(follow_symlinks=False):
                            directories.append(entry.path)
                    except FileNotFoundError:  # gone meanwhile
                        continue
        except FileNotFoundError:
            if directory == str(root):
                return None
        except OSError:
            return None
    return total
