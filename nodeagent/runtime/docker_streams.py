"""Logs, exec, attach and forwarded ports of a Docker engine. A part of ``docker.py``.

Logs are asked for with times, in Docker's 8-byte frames (a terminal's log has none). A followed log that ends is asked about: Docker also
ends it, as if the container had, when the engine is stopped (measured).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

import orjson

from nodeagent.runtime import base, namespaces, streams
from nodeagent.runtime.docker_engine import DockerEngine, Hijacked

_MAX_ENTRY_BYTES: Final = 1024 * 1024
"""Docker writes entries of at most 16 KiB."""
_HEAD_BYTES: Final = 8
_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ")
_DETACH_KEYS: Final = "ctrl-@,ctrl-_,ctrl-@,ctrl-_"
"""Docker holds the first key of this sequence back to see what follows; its default begins with the shells' ctrl-p."""
_EXIT_POLL_S: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class DockerStreams:
    """See ``base.Runtime``."""

    _engine: DockerEngine

    async def inspect(self, container_id: base.ContainerId) -> base.Container:
        """See ``docker_containers.py``."""
        raise NotImplementedError

    async def follow_logs(self, container_id: base.ContainerId, query: streams.LogQuery) -> AsyncGenerator[Sequence[streams.LogEntry]]:
        """See ``Runtime``."""
        doing = f"read the log of container {container_id}"
        data = await self._engine.json(f"containers/{container_id}/json", doing=doing)
        terminal = bool((data.get("Config") or {}).get("Tty"))
        params = {"stdout": "1", "stderr": "1", "timestamps": "1", "tail": "all" if query.tail is None else str(query.tail)}
        if query.since:
            params["since"] = _since(query.since)
        if query.follow:
            params["follow"] = "1"
        split = _split_lines if terminal else _split_frames
        async with self._engine.stream(f"containers/{container_id}/logs", doing=doing, params=params) as response:
            rest = b""
            async for chunk in response.content.iter_any():
                entries, rest = split(rest + chunk)
                if entries:
                    yield entries
                if len(rest) > _MAX_ENTRY_BYTES:
                    raise base.RuntimeFailedError(f"cannot {doing}: an entry is over {_MAX_ENTRY_BYTES} bytes")
            if terminal and rest:
                yield [_entry(streams.STDOUT, rest)]
        if query.follow and (await self.inspect(container_id)).state in (base.ContainerState.RUNNING, base.ContainerState.PAUSED):
            raise base.RuntimeUnavailableError(f"cannot {doing}: Docker ended it while the container runs")

    async def open_exec(self, container_id: base.ContainerId, command: Sequence[str], *, stdin: bool, tty: bool) -> streams.Process:
        """See ``Runtime``."""
        doing = f"run {command[0] if command else 'nothing'} in container {container_id}"
        wanted = {"AttachStdin": stdin, "AttachStdout": True, "AttachStderr": not tty, "Tty": tty, "Cmd": list(command)}
        body = orjson.dumps({**wanted, "DetachKeys": _DETACH_KEYS})
        made = await self._engine.json(f"containers/{container_id}/exec", "POST", data=body, doing=doing)
        start = orjson.dumps({"Detach": False, "Tty": tty})
        connection = await self._engine.hijack(f"exec/{made['Id']}/start", data=start, tty=tty, doing=doing)
        return _DockerProcess(self._engine, connection, f"exec/{made['Id']}", tty=tty, doing=doing, ends=True)

    async def open_attach(self, container_id: base.ContainerId, *, stdin: bool) -> streams.Process:
        """See ``Runtime``."""
        doing = f"attach to container {container_id}"
        data = await self._engine.json(f"containers/{container_id}/json", doing=doing)
        if not (data.get("State") or {}).get("Running"):
            raise base.RuntimeFailedError(f"cannot {doing}: it is not running")
        terminal = bool((data.get("Config") or {}).get("Tty"))
        query = {"stream": "1", "stdout": "1", "stderr": "1", "stdin": "1" if stdin else "0", "detachKeys": _DETACH_KEYS}
        connection = await self._engine.hijack(f"containers/{container_id}/attach?{urlencode(query)}", tty=terminal, doing=doing)
        return _DockerProcess(self._engine, connection, f"containers/{container_id}", tty=terminal, doing=doing, ends=False)

    async def connect(self, container_id: base.ContainerId, port: int) -> streams.Connection:
        """See ``Runtime``. From inside the container's network where we may enter it, else by its address."""
        doing = f"connect to port {port} of container {container_id}"
        data = await self._engine.json(f"containers/{container_id}/json", doing=doing)
        state = data.get("State") or {}
        if not state.get("Running"):
            raise base.RuntimeFailedError(f"cannot {doing}: it is not running")
        networks = (data.get("NetworkSettings") or {}).get("Networks") or {}
        address = next((network["IPAddress"] for network in networks.values() if network.get("IPAddress")), "")
        return await namespaces.connect(int(state.get("Pid") or 0), str(data["Id"]), port, address=address, doing=doing)


class _DockerProcess:
    """A program behind a hijacked connection."""

    def __init__(self, engine: DockerEngine, connection: Hijacked, path: str, *, tty: bool, doing: str, ends: bool) -> None:
        self._engine = engine
        self._connection = connection
        self._path = path
        self._tty = tty
        self._doing = doing
        self._ends = ends

    async def read(self) -> tuple[int, bytes] | None:
        """See ``Process``."""
        return await self._connection.read()

    async def write(self, data: bytes) -> None:
        """See ``Process``."""
        await self._connection.write(data)

    async def close_input(self) -> None:
        """See ``Process``."""
        await self._connection.close_input()

    async def resize(self, *, width: int, height: int) -> None:
        """See ``Process``."""
        if not self._tty or width < 1 or height < 1:
            return
        try:
            await self._engine.text(f"{self._path}/resize", "POST", params={"w": str(width), "h": str(height)}, doing=self._doing)
        except (base.RuntimeFailedError, base.ContainerGoneError, base.InvalidContainerError):
            return  # it has just ended, or not quite begun: the next size comes with the next change

    async def exit_code(self) -> int | None:
        """See ``Process``. Docker notes the code a moment after the output has ended; a program may also close its output and go on."""
        if not self._ends:
            return None
        for attempt in range(10**9):
            end = await self._engine.json(f"{self._path}/json", doing=self._doing)
            if not end.get("Running") and end.get("ExitCode") is not None:
                return int(end["ExitCode"])
            if not end.get("Running") and attempt >= len(_EXIT_POLL_S):
                break
            await asyncio.sleep(_EXIT_POLL_S[min(attempt, len(_EXIT_POLL_S) - 1)])  # noqa: TID251 - real time of a real engine
        raise base.RuntimeUnavailableError(f"cannot {self._doing}: Docker does not know how it ended")

    async def close(self) -> None:
        """See ``Process``."""
        await self._connection.close()


def _since(text: str) -> str:
    """Return a time as Docker reads it: seconds since 1970 and their nanoseconds."""
    if "T" not in text:
        return text
    seconds, _, nanoseconds = text.removesuffix("Z").partition(".")
    return f"{int(datetime.fromisoformat(f'{seconds}+00:00').timestamp())}.{nanoseconds or '0':0<9}"


def _split_frames(data: bytes) -> tuple[list[streams.LogEntry], bytes]:
    """Return the whole entries of framed output, and what is left."""
    entries, position, size = [], 0, len(data)
    while position + _HEAD_BYTES <= size:
        end = position + _HEAD_BYTES + int.from_bytes(data[position + 4 : position + _HEAD_BYTES], "big")
        if end > size:
            break
        channel = streams.STDERR if data[position] == streams.STDERR else streams.STDOUT
        entries.append(_entry(channel, data[position + _HEAD_BYTES : end]))
        position = end
    return entries, data[position:]


def _split_lines(data: bytes) -> tuple[list[streams.LogEntry], bytes]:
    """Return the whole lines of a terminal's output, and what is left."""
    *lines, rest = data.split(b"\n")
    return [_entry(streams.STDOUT, line + b"\n") for line in lines], rest


def _entry(channel: int, data: bytes) -> streams.LogEntry:
    found = _TIME.match(data)
    if found is None:  # as the engine writes about itself
        return streams.LogEntry(channel, "", data)
    return streams.LogEntry(channel, found.group()[:-1].decode(), data[found.end() :])
