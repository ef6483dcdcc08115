"""`lattice server --workers N` on a real etcd: one address, several processes, and what happens when one of them dies."""

import os
import signal
from pathlib import Path

import pytest

from lattice.api import configmap, errors, meta
from lattice.testing.controlplane import LATTICE, ControlPlane
from lattice.testing.etcd import find_etcd
from lattice.testing.polling import eventually
from lattice.testing.processes import Process

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
