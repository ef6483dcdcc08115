"""A whole Lattice in separate processes for each test, on the real engine that `hack/test` started."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from lattice.testing.cluster import LocalCluster


def _required(variable: str, what: str) -> str:
    value = os.environ.get(variable, "")
    if not value:
        sentence = f"{variable} is not set: {what}; run hack/test, which sets everything up"
        if os.environ.get("CI"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    return value


@pytest.fixture
def docker_host() -> str:
    return _required("LATTICE_DOCKER_HOST", "no Docker engine for tests")


@pytest.fixture
def kubectl() -> str:
    return _required("LATTICE_KUBECTL", "no real kubectl, 1.30 or newer")


@pytest.fixture
async def make_cluster(tmp_path: Path, docker_host: str) -> AsyncIterator[Callable[..., LocalCluster]]:
    """Build clusters that are torn down at the end of the test, started or not."""
    async with AsyncExitStack() as stack:

        async def make(store: str = "sqlite", *, directory: str = "lattice", start: bool = True, **options: str) -> LocalCluster:
            cluster = LocalCluster(tmp_path / directory, docker_host=docker_host, store=store, **options)
            await stack.enter_async_context(cluster)
            if start:
                await cluster.start()
            return cluster

        yield make


@pytest.fixture
async def cluster(make_cluster) -> LocalCluster:
    return await make_cluster()
