"""The first road, end to end: a manifest becomes a database that answers; it survives what it must; deleted, it leaves only its data."""

from pathlib import Path

import psycopg
import pytest

from lattice.api import pod, storage, workload
from lattice.testing.polling import eventually
from lattice.testing.stories import containers_of, credentials, listens, load_workload, wait_gone, wait_no_containers, wait_phase

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
STORES = ["sqlite", pytest.param("etcd", marks=pytest.mark.etcd)]
pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(180)]


def query(port: int, secret: dict[str, str], statement: str) -> list[tuple[object, ...]]:
    options = {"user": secret["username"], "password": secret["password"], "dbname": secret["database"], "connect_timeout": 5}
    with psycopg.connect(host="127.0.0.1", port=port, **options) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


async def answers(cluster, secret: dict[str, str]) -> list[tuple[object, ...]]:
    found = await wait_phase(cluster.client, "postgres")
    return query(found.status.endpoints[0].host_port, secret, "select text from notes")


@pytest.mark.parametrize("store", STORES)
async def test_postgres_survives_and_leaves_only_its_data(make_cluster, store: str) -> None:
    cluster = await make_cluster(store)
    client = cluster.client
    manifest = load_workload(EXAMPLES / "01-postgres" / "workload.yaml")
    await client.create(manifest)
    running = await wait_phase(client, "postgres", deadline_s=90)
    port = running.status.endpoints[0].host_port
    assert running.status.endpoints[0].host_ip == "127.0.0.1"
    secret = await credentials(client, "postgres")
    query(port, secret, "create table notes (text text)")
    query(port, secret, "insert into notes values ('kept')")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        query(port, {**secret, "password": "wrong"}, "select 1")

    # The password is on no command line and in no environment that `docker inspect` shows.
    [container] = await containers_of(cluster)
    details = await cluster.engine.inspect(container["Id"])
    assert secret["password"] not in str(details)

    # Somebody removes the container by hand: back within ten seconds, on the same port, with the same data.
    await cluster.engine.remove(container["Id"])

    async def replaced() -> bool:
        now = [c for c in await containers_of(cluster) if c["Id"] != container["Id"] and c["State"] == "running"]
        found = await client.get(workload.Workload, "postgres", "default")
        return bool(now) and found.status.phase == "Running" and found.status.ready_replicas == 1 and listens(port)

    await eventually(replaced, 10, "the container to be back and the workload Running")
    assert query(port, secret, "select text from notes") == [("kept",)]

    # Agent and control plane are killed and come back: the same container goes on.
    [before] = await containers_of(cluster)
    await cluster.agents[cluster.name].kill9()
    await cluster.server.kill9()
    assert query(port, secret, "select text from notes") == [("kept",)]
    await cluster.start_server()
    await cluster.start_agent()
    await wait_phase(client, "postgres")
    [after] = await containers_of(cluster)
    assert after["Id"] == before["Id"]
    assert query(port, secret, "select text from notes") == [("kept",)]

    # Deleting the workload leaves no container, no port and no Pod; the volume stays.
    await client.delete(workload.Workload, "postgres", "default")
    await wait_gone(client, workload.Workload, "postgres")
    await wait_no_containers(cluster)

    async def no_pods() -> bool:
        return not (await client.list(pod.Pod, "default")).items

    await eventually(no_pods, 10, "the Pods to be gone")
    assert not listens(port)
    [claim] = (await client.list(storage.PersistentVolumeClaim, "default")).items
    [volume] = (await client.list(storage.PersistentVolume)).items
    assert claim.spec.volume_name == volume.name
    assert volume.spec.csi is not None
    assert volume.spec.csi.volume_handle in await cluster.engine.volumes(cluster.node_label())

    # Applied again, it finds its data and its password.
    await client.create(manifest)
    assert await answers(cluster, secret) == [("kept",)]


@pytest.mark.parametrize("store", STORES)
async def test_redis_answers_with_its_password_and_keeps_its_data(make_cluster, store: str) -> None:
    cluster = await make_cluster(store)
    await cluster.client.create(load_workload(EXAMPLES / "02-redis" / "workload.yaml"))
    running = await wait_phase(cluster.client, "redis", deadline_s=90)
    port = running.status.endpoints[0].host_port
    password = (await credentials(cluster.client, "redis"))["password"]
    assert await redis(port, "PING") == "-NOAUTH Authentication required."
    assert await redis(port, f"AUTH {password}", "SET greeting hello") == "+OK"
    [container] = await containers_of(cluster)
    details = await cluster.engine.inspect(container["Id"])
    assert password not in str(details)
    await cluster.engine.remove(container["Id"])

    async def back() -> bool:
        return listens(port) and await redis(port, f"AUTH {password}", "GET greeting") == "hello"

    await eventually(back, 15, "redis to answer with the value that was set")


async def redis(port: int, *commands: str) -> str:
    """Send inline commands and return the last line of the last answer."""
    import asyncio

    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return ""
    try:
        line = ""
        for command in commands:
            writer.write(f"{command}\r\n".encode())
            async with asyncio.timeout(5):
                line = (await reader.readline()).decode().strip()
                if line.startswith("$") and line != "$-1":
                    line = (await reader.readline()).decode().strip()
        return line
    except OSError:
        return ""
    finally:
        writer.close()
