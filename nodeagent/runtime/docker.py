"""Docker as a :class:`nodeagent.runtime.base.Runtime`: the one door to the Docker client.

Called by the agent. Requests go through aiodocker's connection handling; the calls are written out here, because its typed layer merges
log streams and hides status codes. Translation is in ``docker_values.py``, the meaning of errors in ``docker_errors.py``.

Guarantees: only the errors of ``base.py`` come out; every call has a deadline, except the event stream; an engine that restarts is
reconnected to by the next call. The end of an event stream is an error, never a normal end: Docker closes it when it stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import aiodocker
import aiohttp
import orjson

from nodeagent.runtime import base, docker_errors, docker_values

_CALL_TIMEOUT_S: Final = 60.0
"""Starting a container on a busy two-core machine was measured at up to 4 s; a minute means that the engine hangs."""
_PULL_TIMEOUT_S: Final = 3600.0
_PING_TIMEOUT_S: Final = 5.0
_INSPECTS: Final = 8
"""Inspect calls at a time within one list."""
_EXEC_OUTPUT_BYTES: Final = 16 * 1024
_EVENTS: Final = ("create", "start", "die", "oom", "stop", "destroy", "pause", "unpause")
_SUBSCRIBED: Final = base.RuntimeEvent(container_id=base.ContainerId(""), action=base.EVENT_SUBSCRIBED, labels={})


class DockerRuntime:
    """Implements ``Runtime`` on a Docker engine.

    Args:
        host: ``unix:///path`` or ``tcp://host:port``; ``None``: as the ``docker`` command would choose.
    """

    def __init__(self, host: str | None = None) -> None:
        self._docker = aiodocker.Docker(url=host)

    async def info(self) -> base.EngineInfo:
        """See ``Runtime``."""
        return docker_values.engine_info(await self._json("info", doing="ask Docker for its version"))

    async def ping(self) -> None:
        """See ``Runtime``."""
        await self._text("_ping", doing="reach Docker", timeout_s=_PING_TIMEOUT_S)

    async def list(self, labels: Mapping[str, str] | None = None) -> Sequence[base.Container]:
        """See ``Runtime``. One list call, then one inspect call a container: a list has no exit codes and no times."""
        params = {"all": "1", "filters": _filters(labels or {})}
        rows = await self._json("containers/json", params=params, doing="list containers")
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
        """See ``Runtime``."""
        return docker_values.container(await self._json(f"containers/{container_id}/json", doing=f"inspect container {container_id}"))

    async def create(self, config: base.ContainerConfig) -> base.ContainerId:
        """See ``Runtime``."""
        answer = await self._json(
            "containers/create",
            "POST",
            params={"name": config.name},
            data=orjson.dumps(docker_values.create_body(config)),
            doing=f"create container {config.name}",
        )
        return base.ContainerId(answer["Id"])

    async def start(self, container_id: base.ContainerId) -> None:
        """See ``Runtime``."""
        try:
            await self._text(f"containers/{container_id}/start", "POST", doing=f"start container {container_id}")
        except base.RuntimeFailedError as error:
            # Docker answers 404 for a program that is not in the image, and 500 for one that must not be executed.
            text = str(error).lower()
            if "no such file" in text or "permission denied" in text or "not a directory" in text:
                raise base.InvalidContainerError(str(error)) from error
            raise

    async def stop(self, container_id: base.ContainerId, *, grace_s: int) -> None:
        """See ``Runtime``."""
        try:
            await self._text(
                f"containers/{container_id}/stop",
                "POST",
                params={"t": str(grace_s)},
                doing=f"stop container {container_id}",
                timeout_s=grace_s + _CALL_TIMEOUT_S,
            )
        except base.ContainerGoneError:
            return

    async def remove(self, container_id: base.ContainerId) -> None:
        """See ``Runtime``."""
        try:
            await self._text(
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
            made = await self._json(f"containers/{container_id}/exec", "POST", data=body, doing=doing, timeout_s=None)
            start = orjson.dumps({"Detach": False, "Tty": False})
            output = await self._bytes(
                f"exec/{made['Id']}/start", "POST", data=start, doing=doing, limit_bytes=2 * _EXEC_OUTPUT_BYTES, timeout_s=None
            )
            end = await self._json(f"exec/{made['Id']}/json", doing=doing, timeout_s=None)
        if end.get("ExitCode") is None:
            raise base.RuntimeUnavailableError(f"cannot {doing}: Docker ended the stream before the command ended")
        text = docker_values.demultiplex(output)[:_EXEC_OUTPUT_BYTES].decode(errors="replace")
        return base.ExecResult(exit_code=int(end["ExitCode"]), output=text)

    async def logs(self, container_id: base.ContainerId, *, tail: int) -> str:
        """See ``Runtime``."""
        output = await self._bytes(
            f"containers/{container_id}/logs",
            params={"stdout": "1", "stderr": "1", "tail": str(tail)},
            doing=f"read the log of container {container_id}",
            limit_bytes=1024 * 1024,
        )
        return docker_values.demultiplex(output)[-docker_values.OUTPUT_LIMIT_BYTES :].decode(errors="replace")

    async def put_archive(self, container_id: base.ContainerId, path: str, tar: bytes) -> None:
        """See ``Runtime``."""
        await self._bytes(
            f"containers/{container_id}/archive",
            "PUT",
            params={"path": path},
            data=tar,
            headers={"Content-Type": "application/x-tar"},
            doing=f"copy files into container {container_id}",
        )

    async def pull(self, image: str, *, auth: Mapping[str, str] | None = None) -> None:
        """See ``Runtime``."""
        doing = f"pull image {image}"
        headers = {"X-Registry-Auth": docker_values.registry_auth(auth)} if auth else None
        params = {"fromImage": docker_values.with_tag(image)}
        async with (
            _errors(doing, pulling=True),
            asyncio.timeout(_PULL_TIMEOUT_S),
            self._docker._query("images/create", "POST", params=params, headers=headers) as response,
        ):
            async for line in response.content:
                progress = orjson.loads(line) if line.strip() else {}
                if "error" in progress:
                    raise docker_errors.classify(500, str(progress["error"]), doing=doing, pulling=True)

    async def has_image(self, image: str) -> bool:
        """See ``Runtime``."""
        try:
            await self._json(f"images/{quote(image, safe='/:@')}/json", doing=f"look for image {image}")
        except (base.ImageNotFoundError, base.InvalidContainerError):
            return False
        return True

    async def images(self) -> Sequence[base.Image]:
        """See ``Runtime``."""
        return [docker_values.image(row) for row in await self._json("images/json", doing="list images")]

    async def ensure_volume(self, name: str, *, labels: Mapping[str, str]) -> None:
        """See ``Runtime``."""
        body = orjson.dumps({"Name": name, "Labels": dict(labels)})
        await self._json("volumes/create", "POST", data=body, doing=f"create volume {name}")

    async def volumes(self, labels: Mapping[str, str]) -> Sequence[str]:
        """See ``Runtime``."""
        answer = await self._json("volumes", params={"filters": _filters(labels)}, doing="list volumes")
        return sorted(volume["Name"] for volume in answer.get("Volumes") or ())

    async def remove_volume(self, name: str) -> None:
        """See ``Runtime``."""
        try:
            await self._text(f"volumes/{quote(name, safe='')}", "DELETE", doing=f"remove volume {name}")
        except base.RuntimeFailedError as error:
            if "no such volume" not in str(error).lower():
                raise

    async def events(self) -> AsyncGenerator[base.RuntimeEvent]:
        """See ``Runtime``."""
        doing = "follow Docker's events"
        filters = orjson.dumps({"type": ["container"], "event": list(_EVENTS)}).decode()
        async with _errors(doing), self._docker._query("events", params={"filters": filters}) as response:
            try:
                yield _SUBSCRIBED
                async for line in response.content:
                    yield docker_values.event(orjson.loads(line))
            finally:
                response.close()
        raise base.RuntimeUnavailableError(f"cannot {doing}: Docker closed the stream")

    async def close(self) -> None:
        """See ``Runtime``."""
        await self._docker.close()

    async def _json(self, path: str, method: str = "GET", **options: Any) -> Any:
        return orjson.loads(await self._bytes(path, method, **options))

    async def _text(self, path: str, method: str = "GET", **options: Any) -> str:
        return (await self._bytes(path, method, **options)).decode(errors="replace")

    async def _bytes(
        self,
        path: str,
        method: str = "GET",
        *,
        doing: str,
        params: Mapping[str, str] | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = _CALL_TIMEOUT_S,
        limit_bytes: int | None = None,
    ) -> bytes:
        """Send one request and return the body, cut at ``limit_bytes``. ``timeout_s=None``: the caller has set a deadline."""
        async with (
            _errors(doing, own_deadline=timeout_s is not None),
            asyncio.timeout(timeout_s),
            self._docker._query(path, method, params=dict(params) if params else None, data=data, headers=headers) as response,
        ):
            try:
                if limit_bytes is None:
                    return await response.read()
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) >= limit_bytes:
                        break
                return bytes(body)
            finally:
                response.release()


class _errors:  # noqa: N801 - used like a function
    """``async with _errors("start container x")``: what the client library raises becomes an error of ``base.py``."""

    def __init__(self, doing: str, *, pulling: bool = False, own_deadline: bool = True) -> None:
        self._doing = doing
        self._pulling = pulling
        self._own_deadline = own_deadline

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _traceback: object) -> None:
        match error:
            case aiodocker.DockerError():
                raise docker_errors.classify(error.status, str(error.message), doing=self._doing, pulling=self._pulling) from error
            case TimeoutError() if self._own_deadline:
                raise base.RuntimeUnavailableError(f"cannot {self._doing}: Docker did not answer in time") from error
            case aiohttp.ClientError() | OSError() if not isinstance(error, TimeoutError):
                raise base.RuntimeUnavailableError(f"cannot {self._doing}: {error}") from error
            case _:
                return


def _filters(labels: Mapping[str, str]) -> str:
    """Return the ``filters`` parameter for labels; an empty value asks for the label's presence."""
    return orjson.dumps({"label": [f"{key}={value}" if value else key for key, value in sorted(labels.items())]}).decode()
