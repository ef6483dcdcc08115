"""An agent that is told nonsense keeps what runs: empty lists, 404, garbage, another cluster, an older store. On a scripted server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from lattice.api import errors
from lattice.client import base as client_base
from lattice.machinery.clock import SystemClock
from lattice.testing.polling import eventually
from nodeagent.config import AgentConfig
from nodeagent.main import run_agent
from nodeagent.runtime import base
from nodeagent.runtime.fake import FakeRuntime

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "a", "namespace": "default", "uid": "uid-a"},
    "spec": {"nodeName": "n1", "containers": [{"name": "main", "image": "busybox:latest", "imagePullPolicy": "IfNotPresent"}]},
}


def bookmark(cluster: str, epoch: str) -> dict[str, Any]:
    annotations = {"k8s.io/initial-events-end": "true", "lattice.dev/cluster-id": cluster, "lattice.dev/store-epoch": epoch}
    return {"type": "BOOKMARK", "object": {"kind": "Bookmark", "metadata": {"resourceVersion": "1", "annotations": annotations}}}


class ScriptedServer:
    """A ``Transport``. Each ``script`` is one connection of the watch, after which it stays silent until the next is set."""

    def __init__(self) -> None:
        self.cluster, self.epoch = "cluster-1", "5"
        self.script: list[Any] = []
        self.fail: Exception | None = None
        self.changed = asyncio.Event()
        self.served = 0
        self.reads = 0
        self.writes: list[str] = []

    def say(self, *lines: Any, fail: Exception | None = None) -> None:
        self.script, self.fail = list(lines), fail
        self.changed.set()

    async def send(self, request: client_base.Request) -> client_base.Response:
        self.reads += request.method == "GET"
        if request.method != "GET":
            self.writes.append(f"{request.method} {request.path}")
        body = request.body or b"{}"
        if "/pods/" in request.path:
            body = orjson.dumps(POD)
        return client_base.Response(200, await self.headers(), body)

    async def stream(self, request: client_base.Request) -> AsyncGenerator[bytes]:
        self.changed.clear()
        told = False
        try:
            if self.fail is not None:
                raise self.fail
            for line in self.script:
                yield line if isinstance(line, bytes) else orjson.dumps(line)
            self.served, told = self.served + 1, True
            await self.changed.wait()
        finally:
            self.served += not told  # the agent hung up in the middle

    async def connect(self, _path: str, **_options: Any) -> client_base.Socket:
        raise errors.UnavailableError("no control line here")

    async def headers(self) -> Mapping[str, str]:
        return {"lattice-cluster-id": self.cluster, "lattice-store-epoch": self.epoch}

    async def close(self) -> None:
        return


@pytest.mark.parametrize(
    ("lines", "fail"),
    [
        pytest.param([bookmark("cluster-1", "5")], None, id="empty list"),
        pytest.param([bookmark("cluster-1", "6")], None, id="empty list after a restore"),
        pytest.param([bookmark("cluster-2", "5")], None, id="another cluster"),
        pytest.param([bookmark("cluster-1", "4")], None, id="an older store"),
        pytest.param([], None, id="nothing"),
        pytest.param([b"<html>login</html>"], None, id="garbage"),
        pytest.param([b"[]"], None, id="a list"),
        pytest.param([{"type": "BOOKMARK", "object": {"metadata": {}}}], None, id="a bookmark without its end"),
        pytest.param([], errors.NotFoundError("no such node"), id="404"),
        pytest.param([], errors.ForbiddenError("no"), id="403"),
        pytest.param([], errors.UnavailableError("down"), id="down"),
        pytest.param([{"type": "DELETED", "object": POD}, bookmark("cluster-1", "5")], None, id="deleted within a snapshot"),
        pytest.param(
            [{"type": "ADDED", "object": POD}, bookmark("cluster-1", "5"), {"type": "DELETED", "object": POD}], None, id="deleted live"
        ),
        pytest.param(
            [{"type": "ADDED", "object": {**POD, "metadata": {**POD["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}},  # type: ignore[dict-item]
             bookmark("cluster-2", "9")], None, id="another cluster's deletion",
        ),
    ],
)  # fmt: skip
async def test_it_keeps_what_runs(tmp_path: Path, lines: list[Any], fail: Exception | None) -> None:
    server, runtime, stop = ScriptedServer(), FakeRuntime(SystemClock()), asyncio.Event()
    server.say({"type": "ADDED", "object": POD}, bookmark("cluster-1", "5"))
    config = AgentConfig(name="n1", data_dir=tmp_path / "d", run_dir=tmp_path / "r", transport=server)

    async def running() -> bool:
        return [container.state for container in await runtime.list()] == [base.ContainerState.RUNNING]

    async with asyncio.TaskGroup() as group:
        agent = group.create_task(run_agent(config, stop=stop, runtime=runtime))
        await eventually(running, what="the container")
        runtime.changes.clear()
        served = server.served
        server.say(*lines, fail=fail)
        await eventually(lambda: server.served > served, what="the nonsense to be read")
        served = server.served
        server.say({"type": "ADDED", "object": POD}, bookmark("cluster-1", "6"))
        await eventually(lambda: server.served > served, what="the truth to be read")
        assert await running()
        assert runtime.changes == []
        stop.set()
        await asyncio.wait({agent}, timeout=10)
    await runtime.close()


async def test_nothing_is_written_to_another_cluster(tmp_path: Path) -> None:
    server, runtime = ScriptedServer(), FakeRuntime(SystemClock())
    config = AgentConfig(name="n1", data_dir=tmp_path / "d", run_dir=tmp_path / "r", transport=server)
    server.say({"type": "ADDED", "object": POD}, bookmark("cluster-1", "5"))
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(run_agent(config, stop=stop, runtime=runtime))
        await eventually(lambda: any(c.startswith("start lattice_default_a_main_") for c in runtime.changes), what="the container")
        stop.set()
    other, stop = ScriptedServer(), asyncio.Event()
    other.cluster = "cluster-2"
    async with asyncio.TaskGroup() as group:
        group.create_task(
            run_agent(AgentConfig(name="n1", data_dir=tmp_path / "d", run_dir=tmp_path / "r", transport=other), stop=stop, runtime=runtime)
        )

        await eventually(lambda: other.reads >= 4, what="some tries")
        stop.set()
    assert other.writes == []
    of_the_pod = [change for change in runtime.changes if " lattice_default_a_" in change]
    assert [change.split("_")[0] for change in of_the_pod] == ["create lattice", "start lattice"]
    await runtime.close()
