"""A second pair of eyes on a Docker engine, for tests and benchmarks: raw HTTP over its socket, nothing shared with the product's door.

What the agent claims is checked against this. Only what tests need: list, inspect, remove, kill, volumes, events, create and start.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import aiohttp
import orjson


class EngineError(Exception):
    """The engine answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Engine:
    """One Docker engine.

    Args:
        host: ``unix:///path/to/docker.sock``.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Engine:
        connector = aiohttp.UnixConnector(
            path=self.host.removeprefix("unix://"), limit=16, force_close=True
        )  # an engine that is restarted would close those that are kept
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120))
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Send a request and return the decoded answer.

        Raises:
            EngineError: the answer is an error.
        """
        assert self._session is not None
        async with self._session.request(method, f"http://engine{path}", params=query, json=body, headers=headers) as answer:
            data = await answer.read()
            if answer.status >= 400:
                raise EngineError(answer.status, data.decode(errors="replace"))
            if not data or "json" not in answer.content_type:
                return data
            try:
                return orjson.loads(data)
            except orjson.JSONDecodeError:
                return data  # a stream of objects, one a line

    async def containers(self, label: str | None = None) -> list[dict[str, Any]]:
        """Return all containers, running or not, those with the label ``key`` or ``key=value``."""
        filters = orjson.dumps({"label": [label]} if label else {}).decode()
        found: list[dict[str, Any]] = await self.call("GET", "/containers/json", query={"all": "1", "filters": filters})
        return found

    async def inspect(self, container_id: str) -> dict[str, Any]:
        """Return everything about a container."""
        found: dict[str, Any] = await self.call("GET", f"/containers/{container_id}/json")
        return found

    async def remove(self, container_id: str) -> None:
        """As ``docker rm -f -v``. Gone already is fine."""
        try:
            await self.call("DELETE", f"/containers/{container_id}", query={"force": "1", "v": "1"})
        except EngineError as error:
            if error.status not in {404, 409}:  # 409: its removal is under way
                raise

    async def create(self, config: Mapping[str, Any], *, name: str | None = None) -> str:
        """Make a container and return its id."""
        made = await self.call("POST", "/containers/create", query={"name": name} if name else None, body=config)
        return str(made["Id"])

    async def start(self, container_id: str) -> None:
        """Start a container."""
        await self.call("POST", f"/containers/{container_id}/start")

    async def exec(self, container_id: str, *argv: str) -> tuple[int, str]:
        """Run a command in a container and return its exit code and what it printed, on a terminal's one stream."""
        made = await self.call("POST", f"/containers/{container_id}/exec", body={"Cmd": argv, "AttachStdout": True, "Tty": True})
        output = await self.call("POST", f"/exec/{made['Id']}/start", body={"Detach": False, "Tty": True})
        ended = await self.call("GET", f"/exec/{made['Id']}/json")
        return int(ended["ExitCode"]), bytes(output).decode(errors="replace")

    async def volumes(self, label: str) -> list[str]:
        """Return the names of the volumes with a label."""
        filters = orjson.dumps({"label": [label]}).decode()
        found = await self.call("GET", "/volumes", query={"filters": filters})
        return [volume["Name"] for volume in found.get("Volumes") or ()]

    async def remove_volume(self, name: str) -> None:
        """Remove a volume. Gone already is fine."""
        try:
            await self.call("DELETE", f"/volumes/{name}", query={"force": "1"})
        except EngineError as error:
            if error.status != 404:
                raise

    async def networks(self, label: str) -> list[str]:
        """Return the names of the networks with a label."""
        found = await self.call("GET", "/networks", query={"filters": orjson.dumps({"label": [label]}).decode()})
        return [network["Name"] for network in found]

    async def events(self, *, since: str | None = None, until: str | None = None) -> AsyncGenerator[dict[str, Any]]:
        """Yield the engine's events; with both times (Unix seconds) the stream ends."""
        assert self._session is not None
        query = {key: value for key, value in (("since", since), ("until", until)) if value}
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.get("http://engine/events", params=query, timeout=timeout) as answer:
            async for line in answer.content:
                yield orjson.loads(line)

    async def clean(self, label: str) -> None:
        """Remove every container, volume and network with a label."""
        for container in await self.containers(label):
            await self.remove(container["Id"])
        for volume in await self.volumes(label):
            await self.remove_volume(volume)
        for network in await self.networks(label):
            await self.call("DELETE", f"/networks/{network}")


def remove_rules(node_uid: str) -> None:
    """Remove the packet filter rules of a node, where this process and the engine live in one network namespace and may do so."""
    if program := shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
        subprocess.run([program, "delete", "table", "inet", f"lattice_{node_uid[:8]}"], check=False, capture_output=True)  # noqa: S603
