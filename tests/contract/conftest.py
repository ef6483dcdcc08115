"""The back ends that the contract of the store is proved for, and the engines that the contract of the runtime is proved for."""

import asyncio
import itertools
import os
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from controller.store import base
from controller.store.sqlite import open_sqlite
from lattice.machinery.clock import SystemClock
from lattice.testing.etcd import EtcdServer, find_etcd
from nodeagent.runtime import base as runtime_base
from nodeagent.runtime.docker import DockerRuntime
from nodeagent.runtime.fake import FakeRuntime

_numbers = itertools.count()


class Backend:
    """Opens stores on one set of data, and lets the back end fail."""

    name: str

    async def open(self) -> base.Store:
        raise NotImplementedError

    async def crash(self, store: base.Store) -> base.Store:
        """End the back end as hard as it can be done from here, and return a store on what it left."""
        raise NotImplementedError


class SqliteBackend(Backend):
    name = "sqlite"

    def __init__(self, directory):
        self._path = directory / "main.db"

    async def open(self):
        return await open_sqlite(self._path)

    async def crash(self, store):
        await store.close()
        return await self.open()


class EtcdBackend(Backend):
    name = "etcd"

    def __init__(self, server):
        self.server = server
        self._prefix = f"/test-{os.getpid()}-{next(_numbers)}/"

    async def open(self):
        from controller.store.etcd import EtcdConfig, EtcdStore

        return await EtcdStore.connect(EtcdConfig(endpoints=(self.server.endpoint,), prefix=self._prefix), SystemClock())

    async def crash(self, store):
        await self.server.kill9()
        await self.server.start()
        return store


@pytest.fixture(scope="session")
def etcd_server(tmp_path_factory) -> Iterator[EtcdServer]:
    if find_etcd() is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs an etcd binary: install one, or name it in LATTICE_ETCD")
        pytest.skip("needs an etcd binary")
    server = EtcdServer(tmp_path_factory.mktemp("etcd"))
    asyncio.run(server.start())
    yield server
    asyncio.run(server.stop())


@pytest.fixture(params=["sqlite", pytest.param("etcd", marks=pytest.mark.etcd)])
def backend(request, tmp_path) -> Backend:
    if request.param == "sqlite":
        return SqliteBackend(tmp_path)
    return EtcdBackend(request.getfixturevalue("etcd_server"))


@pytest.fixture
async def store(backend) -> AsyncIterator[base.Store]:
    store = await backend.open()
    try:
        yield store
    finally:
        async with asyncio.timeout(20):
            await store.close()


@pytest.fixture
def mark() -> str:
    """A label's value that is this test's own."""
    return uuid.uuid4().hex[:12]


@pytest.fixture
def fake() -> FakeRuntime:
    """The fake; a module that runs programs on it says here how they behave."""
    return FakeRuntime(SystemClock(), images=["busybox:latest"])


@pytest.fixture(params=["fake", pytest.param("docker", marks=pytest.mark.docker)])
async def runtime(request: pytest.FixtureRequest, mark: str, fake: FakeRuntime) -> AsyncIterator[runtime_base.Runtime]:
    """Each engine in turn. What a test makes with the label ``test=<mark>`` is removed."""
    if request.param == "fake":
        yield fake
        await fake.close()
        return
    host = os.environ.get("LATTICE_DOCKER_HOST")
    if not host:
        if os.environ.get("CI"):
            pytest.fail("CI must name a Docker engine in LATTICE_DOCKER_HOST (hack/docker starts one)")
        pytest.skip("LATTICE_DOCKER_HOST names no Docker engine (hack/docker starts one)")
    docker = DockerRuntime(host)
    try:
        yield docker
        for container in await docker.list({"test": mark}):
            await docker.remove(container.id)
        for network in await docker.networks({"test": mark}):
            await docker.remove_network(network.name)
        for volume in await docker.volumes({"test": mark}):
            await docker.remove_volume(volume)
    finally:
        await docker.close()
