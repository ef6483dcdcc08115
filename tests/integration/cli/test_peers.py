"""Streams where several processes serve one etcd: the node's line, its streams and the client each end up at any of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lattice.api import errors, meta, node, pod
from lattice.client import kubeconfig
from lattice.client.base import Request
from lattice.client.client import Client
from lattice.client.http import HttpTransport
from lattice.machinery.clock import SystemClock
from lattice.testing.controlplane import LATTICE, ControlPlane
from lattice.testing.etcd import find_etcd
from lattice.testing.polling import eventually
from lattice.testing.processes import Process, free_port
from nodeagent.config import AgentConfig
from nodeagent.main import run_agent
from nodeagent.runtime import base
from nodeagent.runtime.fake import FakeRuntime

WORKERS = 3
LOG = "/api/v1/namespaces/default/pods/web/log"
EXEC = "/api/v1/namespaces/default/pods/web/exec?command=cat&stdin=true&stdout=true"
pytestmark = [
    pytest.mark.etcd,
    pytest.mark.timeout(180),
    pytest.mark.skipif(find_etcd() is None, reason="there is no etcd: hack/test installs one"),
]


class Plane(ControlPlane):
    def users(self) -> tuple[str, ...]:
        return (*super().users(), 'node1-token,system:node:node1,3,"system:nodes"')


class Other:
    """A second `lattice server` on the same etcd, with a data directory and certificates of its own."""

    def __init__(self, plane: Plane) -> None:
        assert plane.etcd is not None
        self.port = free_port()
        directory = plane.directory / "other"
        directory.mkdir()
        self.kubeconfig = directory / "kubeconfig"
        argv = (*LATTICE, "server", "--data-dir", str(directory / "data"), "--listen", f"127.0.0.1:{self.port}", "--token-file")
        argv += (
            str(plane.token_file),
            "--kubeconfig-out",
            str(self.kubeconfig),
            "--store",
            "etcd",
            "--etcd-endpoints",
            plane.etcd.endpoint,
        )
        self.process = Process((*argv, "--advertise-address", "127.0.0.1"), log=directory / "log")

    def client(self) -> Client:
        return Client(
            HttpTransport(f"https://127.0.0.1:{self.port}", ca_data=kubeconfig.load(self.kubeconfig).ca_data, token="admin-token")
        )


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with Plane(tmp_path, store="etcd") as plane:
        plane.server.argv = (*plane.server.argv, "--workers", str(WORKERS))
        await plane.start_server()
        await eventually(lambda: plane.server.tail(200).count("a worker serves") == WORKERS - 1, 30, "the workers to serve")
        yield plane


@pytest.fixture
async def other(plane: Plane) -> AsyncIterator[Other]:
    other = Other(plane)
    other.process.start()
    await eventually(lambda: "ready:" in other.process.tail(200), 30, "the second server")
    yield other
    await other.process.stop()


@pytest.fixture
async def runtime(plane: Plane, tmp_path: Path) -> AsyncIterator[FakeRuntime]:
    """A node with a running Pod ``web``; its agent connects to whichever process the kernel picks."""
    runtime = FakeRuntime(SystemClock())
    stop = asyncio.Event()
    transport = HttpTransport(plane.url, ca_data=kubeconfig.load(plane.kubeconfig).ca_data, token="node1-token")
    config = AgentConfig(name="node1", data_dir=tmp_path / "agent", run_dir=tmp_path / "run", transport=transport)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(run_agent(config, stop=stop, runtime=runtime))
        try:
            admin = plane.client_for("admin-token")
            container = {"name": "main", "image": "busybox:latest", "imagePullPolicy": "IfNotPresent"}
            body = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"containers": [container]}}
            made = await admin.create(pod.Pod.model_validate(body))
            with contextlib.suppress(errors.ConflictError):  # the scheduler may have been faster
                await admin.bind("web", "default", "node1", uid=made.uid)
            await eventually(lambda: running(runtime), 30, "the container")
            (container_seen,) = await runtime.list({base.LABEL_POD_NAME: "web"})
            runtime.say(container_seen.id, "hello\n")
            yield runtime
        finally:
            stop.set()
            await asyncio.wait({task}, timeout=15)
            await transport.close()
            await runtime.close()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def running(runtime: FakeRuntime) -> bool:
    found = await runtime.list({base.LABEL_POD_NAME: "web"})
    return [each.state for each in found] == [base.ContainerState.RUNNING]


@asynccontextmanager
async def fresh(plane: Plane, other: Other, number: int) -> AsyncIterator[Client]:
    """A client on a connection of its own, to each server in turn, and there to the process that the kernel picks."""
    client = plane.client_for("admin-token", keep=False) if number % 2 else other.client()
    try:
        yield client
    finally:
        await client.close()


async def exec_cat(client: Client, sent: bytes) -> bytes:
    socket = await client.transport.connect(Request("GET", EXEC), protocols=["v5.channel.k8s.io"])
    await socket.send(b"\0" + sent)
    await socket.send(b"\xff\0")
    written = b""
    async with asyncio.timeout(30):
        while (message := await socket.receive()) is not None:
            assert isinstance(message, bytes)
            if message[0] == 3:
                assert json.loads(message[1:])["status"] == "Success"
                break
            written += message[1:]
    await socket.close()
    return written


async def test_streams_find_the_process_that_holds_the_line(plane: Plane, other: Other, runtime: FakeRuntime) -> None:
    async def readable() -> bool:
        async with fresh(plane, other, 0) as client:
            return await client.send("GET", LOG) == b"hello\n"

    async def first() -> bool:
        try:
            return await readable()
        except errors.ServiceUnavailableError:
            return False

    await eventually(first, 30, "the node's line")
    for number in range(24):
        async with fresh(plane, other, number) as client:
            assert await client.send("GET", LOG) == b"hello\n"
            assert await exec_cat(client, b"x" * 100_000) == b"x" * 100_000
    # Every process that is not the first one dies; the agent's line and the clients go to those that are left, and to their successors.
    for child in children(plane.server.pid):
        os.kill(child, signal.SIGKILL)

    async def again() -> bool:
        for number in range(6):
            try:
                async with fresh(plane, other, number) as client:
                    if await exec_cat(client, b"after") != b"after":
                        return False
            except (errors.ServiceUnavailableError, errors.TimeoutStatusError, errors.UnavailableError):
                return False
        return True

    await eventually(again, 90, "streams to work again", interval_s=0.5)


async def test_a_node_that_is_away_is_said_by_every_process(plane: Plane, other: Other) -> None:
    admin = plane.client_for("admin-token")
    body = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    await admin.create(node.Node(metadata=meta.ObjectMeta(name="node1"), spec=node.NodeSpec(provider_id="lattice://x")))
    made = await admin.create(pod.Pod.model_validate(body))
    with contextlib.suppress(errors.ConflictError):  # the scheduler may have been faster
        await admin.bind("web", "default", "node1", uid=made.uid)
    for number in range(4):
        async with fresh(plane, other, number) as client:
            with pytest.raises(errors.ServiceUnavailableError, match="node1 is not connected"):
                await client.send("GET", LOG)


async def test_only_peers_use_the_paths_of_peers(plane: Plane) -> None:
    for token, refused in (("alice-token", errors.ForbiddenError), ("node1-token", errors.ForbiddenError), ("x", errors.UnauthorizedError)):
        client = plane.client_for(token, keep=False)
        with pytest.raises(refused):
            await client.send("POST", "/lattice/v1/peers/ask/node1", body=b"{}")
        with pytest.raises(refused):
            await client.transport.connect(Request("GET", "/lattice/v1/peers/streams", {"node": "node1", "id": "x"}))
        await client.close()
