"""A kopf operator outlives what happens to its server: kill -9, cut connections, a restored backup (410), its kind deleted and made again.

What must hold each time: without a restart of the operator, it is told of everything that happens afterwards, and of nothing twice.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lattice.api import configmap, errors
from lattice.client.client import Client
from lattice.testing.controlplane import ControlPlane
from lattice.testing.operators import KopfOperator
from lattice.testing.polling import eventually
from lattice.testing.proxy import Proxy
from lattice.testing.rawobjects import Collection
from lattice.testing.specimens import definition, specimen

STORY = Path(__file__).parent / "operators" / "story.py"
GROUP = "story.example.dev"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]


@pytest.fixture
async def client(plane: ControlPlane) -> AsyncIterator[Client]:
    client = plane.client_for("admin-token", keep=False)
    yield client
    await client.close()


@pytest.fixture
async def proxy(plane: ControlPlane) -> AsyncIterator[Proxy]:
    async with Proxy("127.0.0.1", plane.port) as proxy:
        yield proxy


@pytest.fixture
async def operator(plane: ControlPlane, proxy: Proxy, tmp_path: Path, name: str) -> AsyncIterator[KopfOperator]:
    """An operator that reaches its server through the proxy, and has seen it."""
    kubeconfig = plane.kubeconfig_for(name, "admin-token", url=f"https://127.0.0.1:{proxy.port}")
    operator = KopfOperator(STORY, kubeconfig, directory=tmp_path, env={"STORY_GROUP": GROUP})
    operator.start()
    yield operator
    await operator.stop()


@pytest.fixture
def maps(client: Client) -> Collection:
    return Collection(client, "/api/v1/namespaces/default/configmaps")


def config_map(name: str) -> dict[str, object]:
    metadata = {"name": name, "namespace": "default", "labels": {"story": GROUP}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"replicas": "1"}}


async def create(maps: Collection, operator: KopfOperator, name: str) -> None:
    """Create an object and wait until the operator is done with it."""
    await maps.create(config_map(name))
    await operator.told("created", name)

    async def handled() -> bool:
        return "kopf.zalando.org/last-handled-configuration" in (await maps.get(name))["metadata"].get("annotations", {})

    await eventually(handled, 20, "the creation to be handled")


async def change(maps: Collection, name: str, number: int) -> None:
    await maps.patch(name, {"data": {"replicas": str(number)}})


async def told_of_changes(operator: KopfOperator, name: str, numbers: list[str]) -> None:
    """Wait until the operator was told of the last change; it may skip one between, but is told of none twice and of none that was not."""

    def last() -> bool:
        return [entry["new"] for entry in operator.entries("field", name)][-1:] == numbers[-1:]

    await eventually(last, 30, f"the operator to be told of {numbers[-1]}: {operator.journal}")
    told = [entry["new"] for entry in operator.entries("field", name)]
    assert told == sorted(set(told), key=numbers.index)


async def test_the_server_is_killed_and_comes_back(plane: ControlPlane, maps: Collection, operator: KopfOperator, name: str) -> None:
    await create(maps, operator, name)
    for number in (2, 3):
        await change(maps, name, number)
        await plane.server.kill9()
        await plane.start_server()
    await create(maps, operator, f"{name}-after")
    await told_of_changes(operator, name, ["1", "2", "3"])
    await maps.delete(name)
    await operator.told("deleted", name, deadline_s=30)
    await maps.gone(name)
    assert len(operator.entries("created", name)) == len(operator.entries("startup")) == 1


async def test_its_connections_are_cut(proxy: Proxy, maps: Collection, operator: KopfOperator, name: str) -> None:
    await create(maps, operator, name)
    for number in range(2, 7):
        await eventually(proxy.cut, 10, "a connection to cut")
        await change(maps, name, number)
    async with proxy.away():  # and for a while nobody is there
        await change(maps, name, 7)
        await maps.create(config_map(f"{name}-meanwhile"))
    await operator.told("created", f"{name}-meanwhile", deadline_s=30)
    await told_of_changes(operator, name, [str(number) for number in range(1, 8)])
    assert len(operator.entries("created", name)) == 1


async def test_history_is_gone_when_it_comes_back(
    plane: ControlPlane, client: Client, proxy: Proxy, maps: Collection, operator: KopfOperator, name: str, tmp_path: Path
) -> None:
    await create(maps, operator, name)
    backup = tmp_path / "backup.lattice"
    plane.lattice("backup", str(backup))
    await maps.create(config_map(f"{name}-lost"))
    await operator.told("created", f"{name}-lost")
    position = (await client.list_raw(configmap.ConfigMap)).resource_version
    async with proxy.away():
        await plane.server.stop()
        plane.lattice("restore", str(backup), "--data-dir", str(plane.data_dir), "--replace")
        await plane.start_server()
        with pytest.raises(errors.GoneError):
            await anext(client.watch_raw(configmap.ConfigMap, resource_version=position))
        await change(maps, name, 2)
        await maps.create(config_map(f"{name}-new"))
    # Its watch begins at a revision that is not retained: it must be told so in a way that makes it list again.
    await operator.told("created", f"{name}-new", deadline_s=30)
    await told_of_changes(operator, name, ["1", "2"])
    await maps.delete(name)
    await operator.told("deleted", name)


async def test_its_kind_is_deleted_and_made_again(client: Client, operator: KopfOperator, name: str) -> None:
    definitions = Collection(client, DEFINITIONS)
    objects = Collection(client, f"/apis/{GROUP}/v1/namespaces/default/specimens")
    for life in ("first", "second", "third"):
        await definitions.create(definition(GROUP))
        await objects.create(specimen(GROUP, f"{name}-{life}"))
        await operator.told("created", f"{name}-{life}")
        await definitions.delete(f"specimens.{GROUP}")  # its objects have kopf's finalizer: the operator must see them go
        await operator.told("deleted", f"{name}-{life}")
        await definitions.gone(f"specimens.{GROUP}")
    assert len(operator.entries("startup")) == 1
