"""Images of a Docker engine. A part of ``docker.py``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import quote

import orjson

from nodeagent.runtime import base, docker_errors, docker_values
from nodeagent.runtime.docker_engine import DockerEngine

_PULL_TIMEOUT_S: Final = 3600.0


class DockerImages:
    """See ``base.Runtime``."""

    _engine: DockerEngine

    async def pull(self, image: str, *, auth: Mapping[str, str] | None = None, progress: Callable[[int], None] | None = None) -> None:
        """See ``Runtime``. Docker cancels a pull whose client goes away."""
        layers: dict[str, int] = {}
        doing = f"pull image {image}"
        headers = {"X-Registry-Auth": docker_values.registry_auth(auth)} if auth else None
        params = {"fromImage": docker_values.with_tag(image)}
        try:
            async with (
                asyncio.timeout(_PULL_TIMEOUT_S),
                self._engine.stream("images/create", "POST", doing=doing, params=params, headers=headers, pulling=True) as response,
            ):
                async for line in response.content:
                    said = orjson.loads(line) if line.strip() else {}
                    if "error" in said:
                        raise docker_errors.classify(500, str(said["error"]), doing=doing, pulling=True)
                    if progress is not None and said.get("status") == "Downloading":
                        layers[str(said.get("id"))] = int((said.get("progressDetail") or {}).get("total") or 0)
                        progress(sum(layers.values()))
        except TimeoutError as error:
            raise base.RuntimeUnavailableError(f"cannot {doing}: it took longer than {_PULL_TIMEOUT_S:.0f} s") from error

    async def has_image(self, image: str) -> bool:
        """See ``Runtime``."""
        return await self.inspect_image(image) is not None

    async def inspect_image(self, image: str) -> base.ImageDetails | None:
        """See ``Runtime``."""
        try:
            answer = await self._engine.json(f"images/{quote(image, safe='/:@')}/json", doing=f"look for image {image}")
        except (base.ImageNotFoundError, base.InvalidContainerError):
            return None
        return docker_values.image_details(answer)

    async def images(self) -> Sequence[base.Image]:
        """See ``Runtime``."""
        return [docker_values.image(row) for row in await self._engine.json("images/json", doing="list images")]

    async def import_image(self, image: str, tar: bytes, *, entrypoint: Sequence[str]) -> None:
        """See ``Runtime``."""
        name, _, tag = image.rpartition(":")
        changes = f"ENTRYPOINT {orjson.dumps(list(entrypoint)).decode()}"
        params = {"fromSrc": "-", "repo": name, "tag": tag, "changes": changes}
        headers = {"Content-Type": "application/x-tar"}
        doing = f"import image {image}"
        answer = await self._engine.read("images/create", "POST", params=params, data=tar, headers=headers, doing=doing)
        for line in answer.splitlines():
            progress = orjson.loads(line) if line.strip() else {}
            if "error" in progress:
                raise docker_errors.classify(500, str(progress["error"]), doing=doing)
