"""Containers of a Docker engine, and facts of the engine itself. A part of ``docker.py``.

The end of an event stream is an error, never a normal end: Docker closes it when it stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import orjson

from nodeagent.runtime import base, docker_create, docker_values
from nodeagent.runtime.docker_engine import CALL_TIMEOUT_S, DockerEngine, filters

_PING_TIMEOUT_S: Final = 5.0
_INSPECTS: Final = 8
"""Inspect calls at a time within one list."""
_EXEC_OUTPUT_BYTES: Final = 16 * 1024
_EVENTS: Final = ("create", "start", "die", "oom", "stop", "destroy", "pause", "unpause")
_SUBSCRIBED: Final = base.RuntimeEvent(container_id=base.ContainerId(""), action=base.EVENT_SUBSCRIBED, labels={})


class DockerContainers:
    """See ``base.Runtime``."""

    _engine: DockerEngine
    _digests: dict[tuple[str, str], str]
    """By image id and the name that a container was made with: name and digest. Grows by an entry for each image that was used."""

    async def info(self) -> base.EngineInfo:
        """See ``Runtime``."""
        return docker_values.engine_info(await self._engine.json("info", doing="ask Docker for its version"))

    async def ping(self) -> None:
        """See ``Runtime``."""
        await self._engine.text("_ping", doing="reach Docker", timeout_s=_PING_TIMEOUT_S)

    async def list(self, labels: Mapping[str, str] | None = None) -> Sequence[base.Container]:
        """See ``Runtime``. One list call, then one inspect call a container: a list has no exit codes and no times."""
        params = {"all": "1", "filters": filters(labels or {})}
        rows = await self._engine.json("containers/json", params=params, doing="list containers")
        limit = asyncio.Semaphore(_INSPECTS)

        async def inspect(container_id: str) -> base.Container | None:
            async with limit:
                try:
                    return await self.inspect(base.ContainerId(container_id))
                except base.ContainerGoneError:
                    return None

        found = await asyncio.gather(*(inspect(row["Id"]) for row in rows))
        return [container for container in found if container is not None]

    async def inspect(self, container_id: base.ContainerId) -> base.Container:
        """See ``Runtime``. The first container of an image costs a second call, for the image's digest."""
        answer = await self._engine.json(f"containers/{container_id}/json", doing=f"inspect container {container_id}")
        container = docker_values.container(answer)
        key = (container.image_id, container.image)
        if key not in self._digests:
            self._digests[key] = await self._digest(container)
        return replace(container, image_digest=self._digests[key])

    async def _digest(self, container: base.Container) -> str:
        """Return by what name and digest the image of a container was pulled; empty: it was not, or is gone."""
        try:
            answer = await self._engine.json(f"images/{container.image_id}/json", doing=f"look for image {container.image_id}")
        except (base.ImageNotFoundError, base.InvalidContainerError, base.RuntimeFailedError):
            return ""
        return docker_values.digest_of(container.image, docker_values.image_details(answer).digests)

    async def create(self, config: base.ContainerConfig) -> base.ContainerId:
        """See ``Runtime``."""
        answer = await self._engine.json(
            "containers/create",
            "POST",
            params={"name": config.name},
            data=orjson.dumps(docker_create.create_body(config)),
            doing=f"create container {config.name}",
        )
        return base.ContainerId(answer["Id"])

    async def start(self, container_id: base.ContainerId) -> None:
        """See ``Runtime``."""
        try:
            await self._engine.text(f"containers/{container_id}/start", "POST", doing=f"start container {container_id}")
        except base.RuntimeFailedError as error:
            # Docker answers 404 for a program that is not in the image, and 500 for one that must not be executed.
            text = str(error).lower()
            if "no such file" in text or "permission denied" in text or "not a directory" in text:
                raise base.InvalidContainerError(str(error)) from error
            raise

    async def stop(self, container_id: base.ContainerId, *, grace_s: int) -> None:
        """See ``Runtime``."""
        try:
            await self._engine.text(
                f"containers/{container_id}/stop",
                "POST",
                params={"t": str(grace_s)},
                doing=f"stop container {container_id}",
                timeout_s=grace_s + CALL_TIMEOUT_S,
            )
        except base.ContainerGoneError:
            return

    async def remove(self, container_id: base.ContainerId) -> None:
        """See ``Runtime``."""
        try:
            await self._engine.text(
                f"containers/{container_id}", "DELETE", params={"force": "1", "v": "1"}, doing=f"remove container {container_id}"
            )
        except base.ContainerGoneError:
            return
        except base.RuntimeFailedError as error:
            if "already in progress" not in str(error):
                raise

    async def exec(self, container_id: base.ContainerId, command: Sequence[str], *, timeout_s: float) -> base.ExecResult:
        """See ``Runtime``."""
        doing = f"run {command[0] if command else 'nothing'} in container {container_id}"
        async with asyncio.timeout(timeout_s):
            body = orjson.dumps({"AttachStdout": True, "AttachStderr": True, "Cmd": list(command)})
            made = await self._engine.json(f"containers/{container_id}/exec", "POST", data=body, doing=doing, timeout_s=None)
            start = orjson.dumps({"Detach": False, "Tty": False})
            output = await self._engine.read(
                f"exec/{made['Id']}/start", "POST", data=start, doing=doing, limit_bytes=2 * _EXEC_OUTPUT_BYTES, timeout_s=None
            )
            end = await self._engine.json(f"exec/{made['Id']}/json", doing=doing, timeout_s=None)
        if end.get("ExitCode") is None:
            raise base.RuntimeUnavailableError(f"cannot {doing}: Docker ended the stream before the command ended")
        text = docker_values.demultiplex(output)[:_EXEC_OUTPUT_BYTES].decode(errors="replace")
        return base.ExecResult(exit_code=int(end["ExitCode"]), output=text)

    async def logs(self, container_id: base.ContainerId, *, tail: int) -> str:
        """See ``Runtime``."""
        output = await self._engine.read(
            f"containers/{container_id}/logs",
            params={"stdout": "1", "stderr": "1", "tail": str(tail)},
            doing=f"read the log of container {container_id}",
            limit_bytes=1024 * 1024,
        )
        return docker_values.demultiplex(output)[-docker_values.OUTPUT_LIMIT_BYTES :].decode(errors="replace")

    async def put_archive(self, container_id: base.ContainerId, path: str, tar: bytes) -> None:
        """See ``Runtime``."""
        await self._engine.read(
            f"containers/{container_id}/archive",
            "PUT",
            params={"path": path},
            data=tar,
            headers={"Content-Type": "application/x-tar"},
            doing=f"copy files into container {container_id}",
        )

    async def events(self) -> AsyncGenerator[base.RuntimeEvent]:
        """See ``Runtime``."""
        doing = "follow Docker's events"
        chosen = orjson.dumps({"type": ["container"], "event": list(_EVENTS)}).decode()
        async with self._engine.stream("events", doing=doing, params={"filters": chosen}) as response:
            yield _SUBSCRIBED
            async for line in response.content:
                yield docker_values.event(orjson.loads(line))
        raise base.RuntimeUnavailableError(f"cannot {doing}: Docker closed the stream")
