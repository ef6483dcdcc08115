"""What users get wrong, and what breaks under them: each gives one clear sentence, and nothing is lost."""

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lattice.api import configmap, errors, event, meta, node, workload
from lattice.testing.cluster import LocalCluster
from lattice.testing.polling import eventually
from lattice.testing.processes import free_port
from lattice.testing.stories import sleeper, wait_phase

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(120)]


async def says(cluster: LocalCluster, name: str, sentence: str, *, deadline_s: float = 20) -> workload.Workload:
    """Wait until a condition of the Workload contains the sentence."""

    async def said() -> workload.Workload | None:
        found = await cluster.client.get(workload.Workload, name, "default")
        messages = [f"{c.type} {c.reason}: {c.message}" for c in found.status.conditions]
        assert any(sentence in message for message in messages), messages
        return found

    found = await eventually(said, deadline_s, f"{name} to say {sentence!r}")
    assert found is not None
    return found


async def test_what_cannot_be_understood_is_refused_with_the_field(cluster: LocalCluster) -> None:
    path = "/apis/lattice.dev/v1/namespaces/default/workloads"
    head = b'"apiVersion":"lattice.dev/v1","kind":"Workload","metadata":{"name":"a"}'
    strict = {"fieldValidation": "Strict"}
    with pytest.raises(errors.BadRequestError, match=r'unknown field "spec\.replics"'):
        await cluster.client.send("POST", path, query=strict, body=b'{%s,"spec":{"image":"x","replics":2}}' % head)
    with pytest.raises(errors.InvalidError, match=r"spec\.replicas"):
        await cluster.client.send("POST", path, body=b'{%s,"spec":{"image":"x","replicas":"two"}}' % head)
    with pytest.raises(errors.InvalidError):
        await cluster.client.create(workload.Workload(metadata=meta.ObjectMeta(name="a", namespace="default")))
    with pytest.raises(errors.BadRequestError):
        await cluster.client.send("POST", path, body=b"{not json")
    assert not (await cluster.client.list(workload.Workload, "default")).items


async def test_impossible_resources_are_explained(cluster: LocalCluster) -> None:
    await cluster.client.create(sleeper("huge", resources={"requests": {"cpu": "1000", "memory": "64Ti"}}))
    await says(cluster, "huge", "0/1 nodes are available")
    found = await says(cluster, "huge", "Insufficient cpu")
    assert found.status.phase in {"Pending", "Validating", "Deploying"}

    async def reported() -> bool:
        events = await cluster.client.list(event.Event, "default")
        return any(e.reason == "FailedScheduling" and "Insufficient" in (e.message or "") for e in events.items)

    await eventually(reported, 10, "a FailedScheduling event")
    await cluster.client.patch(workload.Workload, "huge", "default", {"spec": {"resources": {"requests": {"cpu": "10m", "memory": "8Mi"}}}})
    await wait_phase(cluster.client, "huge")


async def test_an_unknown_preset_version_says_which_there_are(cluster: LocalCluster) -> None:
    manifest = {"metadata": {"name": "db", "namespace": "default"}, "spec": {"preset": {"name": "postgresql", "version": "9"}}}
    await cluster.client.create(workload.Workload.model_validate(manifest))
    found = await says(cluster, "db", "13, 14, 15")
    assert found.status.phase == "Failed"


async def test_a_missing_image_is_named(cluster: LocalCluster) -> None:
    await cluster.client.create(sleeper("ghost", image="no-such-image.invalid/ghost:1"))
    await says(cluster, "ghost", "no-such-image.invalid/ghost:1", deadline_s=40)
    await cluster.client.patch(workload.Workload, "ghost", "default", {"spec": {"image": "busybox:latest"}})
    await wait_phase(cluster.client, "ghost")


async def test_a_taken_port_is_named_and_used_once_it_is_free(cluster: LocalCluster) -> None:
    port = free_port()
    with socket.socket() as foreign:
        foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        foreign.bind(("127.0.0.1", port))
        foreign.listen()
        await cluster.client.create(sleeper("web", ports=[{"containerPort": 80, "hostPort": port}]))
        await says(cluster, "web", str(port))
    await wait_phase(cluster.client, "web")


async def test_without_docker_the_agent_waits_and_says_so(make_cluster, tmp_path: Path, docker_host: str) -> None:
    cluster = await make_cluster(start=False)
    await cluster.start_server()
    cluster.client = cluster.client_for("admin-token")
    later = Path(f"/tmp/lattice-e2e-{free_port()}.sock")
    try:
        cluster.docker_host = f"unix://{later}"
        agent = await cluster.start_agent(wait=False)

        async def not_ready() -> bool:
            found = await cluster.client.get(node.Node, cluster.name)
            ready = [c for c in found.status.conditions if c.type == "Ready"]
            return bool(ready) and ready[0].status == "False" and "ocker" in ready[0].message

        async def tried() -> bool:
            try:
                return await not_ready()
            except errors.NotFoundError:
                return False

        await eventually(tried, 20, "the node to be NotReady because of Docker")
        assert agent.running
        await cluster.client.create(sleeper("early"))
        later.symlink_to(docker_host.removeprefix("unix://"))  # the engine comes up
        await cluster.wait_node()
        await wait_phase(cluster.client, "early")
    finally:
        later.unlink(missing_ok=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


async def test_a_full_store_refuses_writes_clearly_and_loses_nothing(make_cluster, small_disk: Path) -> None:
    cluster = await make_cluster(start=False)
    cluster.data_dir = small_disk / "server"
    argv = [str(cluster.data_dir) if part == str(cluster.directory / "server") else part for part in cluster.server.argv]
    cluster.server.argv = tuple(argv)
    await cluster.start_server()
    client = cluster.client_for("admin-token")
    written: dict[str, str] = {}
    refused: errors.ApiError | None = None
    for number in range(100):
        made = configmap.ConfigMap(metadata=meta.ObjectMeta(name=f"c{number}", namespace="default"), data={"v": f"{number}" * 100_000})
        try:
            await client.create(made)
        except errors.ApiError as error:
            refused = error
            break
        written[made.name] = made.data["v"]
    assert refused is not None
    assert "full" in refused.message or "space" in refused.message
    assert written, "not even one fitted"
    stored = {item.name: item.data["v"] for item in (await client.list(configmap.ConfigMap, "default")).items}
    assert written.items() <= stored.items()
    await cluster.server.kill9()
    await cluster.start_server()
    stored = {item.name: item.data["v"] for item in (await client.list(configmap.ConfigMap, "default")).items}
    assert written.items() <= stored.items()
