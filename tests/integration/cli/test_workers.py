"""`lattice server --workers N` on a real etcd: one address, several processes, and what happens when one of them dies."""

import asyncio
import contextlib
import os
import signal
import ssl
from pathlib import Path

import aiohttp
import orjson
import pytest

from lattice.api import configmap, errors, meta
from lattice.client import kubeconfig
from lattice.testing.controlplane import LATTICE, ControlPlane
from lattice.testing.etcd import find_etcd
from lattice.testing.polling import eventually
from lattice.testing.processes import Process
from lattice.testing.specimens import definition, specimen

WORKERS = 3
pytestmark = [
    pytest.mark.etcd,
    pytest.mark.timeout(120),
    pytest.mark.skipif(find_etcd() is None, reason="there is no etcd: hack/test installs one"),
]


@pytest.fixture
async def plane(tmp_path):
    async with ControlPlane(tmp_path, store="etcd") as plane:
        plane.server.argv = (*plane.server.argv, "--workers", str(WORKERS))
        await plane.start_server()
        # /readyz is answered by the first process; the workers print their own line.
        await eventually(lambda: plane.server.tail(200).count("a worker serves") == WORKERS - 1, 30, "the workers to serve")
        yield plane


def children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}").exists()}


def listeners(port: int) -> int:
    """How many processes listen at the port."""
    wanted = f":{port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(fields[1].endswith(wanted) and fields[3] == "0A" for fields in map(str.split, lines))


async def fresh(plane, verb, *arguments):
    """Call on a connection of its own, so that the kernel picks a process; come back once when that one has just died."""
    for last in (False, True):
        client = plane.client_for("admin-token", keep=False)
        try:
            return await getattr(client, verb)(*arguments)
        except errors.UnavailableError:
            if last:
                raise
        except errors.AlreadyExistsError:
            if not last:
                raise
            return None  # the one that died had done it
        finally:
            await client.close()
    raise AssertionError(verb)


def made(name: str) -> configmap.ConfigMap:
    return configmap.ConfigMap(metadata=meta.ObjectMeta(name=name, namespace="default"), data={"a": name})


async def test_every_process_reads_what_any_has_written(plane):
    assert listeners(plane.port) == WORKERS
    for number in range(30):
        await fresh(plane, "create", made(f"c{number}"))
        found = await fresh(plane, "get", configmap.ConfigMap, f"c{number}", "default")
        assert found.data == {"a": f"c{number}"}
        listed = await fresh(plane, "list", configmap.ConfigMap, "default")
        assert f"c{number}" in {item.metadata.name for item in listed.items}


async def test_a_killed_worker_is_replaced_and_nobody_else_notices(plane):
    before = children(plane.server.pid)
    assert len(before) == WORKERS - 1
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    for number in range(30):
        await fresh(plane, "create", made(f"k{number}"))
    await eventually(
        lambda: len(children(plane.server.pid) - {victim}) == WORKERS - 1 and listeners(plane.port) == WORKERS, 20, "a new worker"
    )
    listed = await fresh(plane, "list", configmap.ConfigMap, "default")
    assert {f"k{number}" for number in range(30)} <= {item.metadata.name for item in listed.items}
    assert "worker 1 (process" in plane.server.tail(200) or "worker 2 (process" in plane.server.tail(200)


CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
KINDS = 4
OBJECTS = 60
WATCHERS = 8


def sessions(plane, count):
    """Clients with connections of their own: the kernel spreads them over the processes."""
    context = ssl.create_default_context(cadata=kubeconfig.load(plane.kubeconfig).ca_data.decode())
    headers = {"Authorization": "Bearer admin-token"}
    return [aiohttp.ClientSession(plane.url, headers=headers, connector=aiohttp.TCPConnector(ssl=context, limit=1)) for _ in range(count)]


async def test_kinds_and_their_events_are_the_same_in_every_process(plane):
    """A kind is served everywhere within a second of its definition; each watcher sees each event once, in order, wherever it is."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client) for client in sessions(plane, 2 * WATCHERS)]
        watchers, writers = clients[:WATCHERS], clients[WATCHERS:]

        async def call(client, method, path, body=None):
            headers = {"Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json"}
            async with client.request(method, path, data=b"" if body is None else orjson.dumps(body), headers=headers) as answer:
                text = await answer.read()
                return answer.status, orjson.loads(text) if answer.content_type == "application/json" else text

        for number in range(KINDS):
            group = f"w{number}.example.dev"
            status, body = await call(writers[number], "POST", CRDS, definition(group))
            assert status == 201, body

            async def served(client, group=group):
                async def answered():
                    return (await call(client, "GET", f"/apis/{group}/v1/specimens"))[0] == 200

                await eventually(answered, 1.0, f"{group} to be served", interval_s=0.02)

            await asyncio.gather(*(served(client) for client in clients))

        path = "/apis/w0.example.dev/v1/namespaces/default/specimens"
        start = (await call(writers[0], "GET", path))[1]["metadata"]["resourceVersion"]

        async def watch(client):
            seen = []
            async with client.get(f"{path}?watch=true&resourceVersion={start}") as answer:
                async for line in answer.content:
                    event = orjson.loads(line)
                    metadata = event["object"]["metadata"]
                    seen.append((event["type"], metadata["name"], int(metadata["resourceVersion"])))
                    if len(seen) == 3 * OBJECTS:
                        return seen
            raise AssertionError("the watch ended")

        async def write(number, client):
            for name in (f"o{each}" for each in range(OBJECTS) if each % len(writers) == number):
                for method, target, body in (
                    ("POST", path, specimen("w0.example.dev", name)),
                    ("PATCH", f"{path}/{name}", {"spec": {"replicas": 3}}),
                    ("DELETE", f"{path}/{name}", None),
                ):
                    status, answer = await call(client, method, target, body)
                    assert status in {200, 201}, answer

        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            watching = [group.create_task(watch(client)) for client in watchers]
            for number, client in enumerate(writers):
                group.create_task(write(number, client))
        first, *others = (task.result() for task in watching)
        assert all(other == first for other in others)
        assert [revision for _, _, revision in first] == sorted({revision for _, _, revision in first})
        for name in (f"o{each}" for each in range(OBJECTS)):
            assert [kind for kind, of, _ in first if of == name] == ["ADDED", "MODIFIED", "DELETED"]


async def test_workers_end_with_their_control_plane_however_it_ends(plane):
    workers = children(plane.server.pid)
    await plane.server.kill9()
    await eventually(lambda: listeners(plane.port) == 0, 10, "the address to be free")
    await eventually(lambda: not alive(workers), 20, "the workers to end")
    await plane.start_server()
    await fresh(plane, "create", made("again"))
    workers = children(plane.server.pid)
    await eventually(lambda: listeners(plane.port) == WORKERS, 30, "the workers to serve again")
    assert await plane.server.stop() == 0
    assert not alive(workers)


async def test_an_address_is_not_shared_with_a_stranger(plane, tmp_path):
    """Also not with another control plane of the same user, which asks the kernel to share as well."""
    arguments = ["server", "--data-dir", str(tmp_path / "other"), "--listen", f"127.0.0.1:{plane.port}", "--workers", "2"]
    arguments += ["--store", "etcd", "--etcd-endpoints", plane.etcd.endpoint]
    other = Process((*LATTICE, *arguments), log=tmp_path / "other.log")
    other.start()
    await eventually(lambda: not other.running, 20, "the other one to give up")
    assert f"cannot listen on 127.0.0.1:{plane.port}" in other.tail()


async def test_the_embedded_store_has_one_process(tmp_path):
    server = Process((*LATTICE, "server", "--data-dir", str(tmp_path / "data"), "--workers", "2"), log=tmp_path / "log")
    server.start()
    await eventually(lambda: not server.running, 20, "it to give up")
    assert "--workers 2 needs --store etcd: the embedded store belongs to one process" in server.tail()
