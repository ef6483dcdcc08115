"""Volumes of a Docker engine. A part of ``docker.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

import orjson

from nodeagent.runtime import base
from nodeagent.runtime.docker_engine import DockerEngine, filters

_SUB_PATHS: Final = (1, 45)
"""Version of the API that has them: Docker 26."""


class DockerVolumes:
    """See ``base.Runtime``."""

    _engine: DockerEngine

    async def ensure_volume(self, name: str, *, labels: Mapping[str, str], options: Mapping[str, str] | None = None) -> bool:
        """See ``Runtime``. Docker answers a second create as the first, so it is asked before."""
        if await self.volume_path(name) is not None:
            return False
        body = orjson.dumps({"Name": name, "Labels": dict(labels), "DriverOpts": dict(options or {})})
        await self._engine.json("volumes/create", "POST", data=body, doing=f"create volume {name}")
        return True

    async def volume_path(self, name: str) -> str | None:
        """See ``Runtime``."""
        try:
            answer = await self._engine.json(f"volumes/{quote(name, safe='')}", doing=f"look for volume {name}")
        except base.RuntimeFailedError as error:
            if "no such volume" in str(error).lower():
                return None
            raise
        return str(answer["Mountpoint"])

    async def has_volume_sub_paths(self) -> bool:
        """See ``Runtime``."""
        return await self._engine.api_version() >= _SUB_PATHS

    async def volumes(self, labels: Mapping[str, str]) -> Sequence[str]:
        """See ``Runtime``."""
        answer = await self._engine.json("volumes", params={"filters": filters(labels)}, doing="list volumes")
        return sorted(volume["Name"] for volume in answer.get("Volumes") or ())

    async def remove_volume(self, name: str) -> None:
        """See ``Runtime``."""
        try:
            await self._engine.text(f"volumes/{quote(name, safe='')}", "DELETE", doing=f"remove volume {name}")
        except base.RuntimeFailedError as error:
            if "no such volume" not in str(error).lower():
                raise
