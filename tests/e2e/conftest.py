"""A whole Lattice in separate processes for each test, on the real engine that `hack/test` started."""

import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from lattice.testing.cluster import LocalCluster
from lattice.testing.controlplane import ControlPlane
from lattice.testing.kubectl import Kubectl
from lattice.testing.rawobjects import Collection
from lattice.testing.replay import unpack
from nodeagent.volumes.paths import GuardedPaths


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


def _let_go(cluster: LocalCluster) -> None:
    """Unmount and remove what agents keep in /run for Pods that are still there when they are stopped."""
    for identity in cluster.node_uids() if os.geteuid() == 0 else ():
        run_directory = Path("/run/lattice") / identity
        GuardedPaths(run_directory).remove_all()
        shutil.rmtree(run_directory, ignore_errors=True)


@pytest.fixture
async def make_cluster(tmp_path: Path, docker_host: str) -> AsyncIterator[Callable[..., LocalCluster]]:
    """Build clusters that are torn down at the end of the test, started or not."""
    async with AsyncExitStack() as stack:

        async def make(store: str = "sqlite", *, directory: str = "lattice", start: bool = True, **options: str) -> LocalCluster:
            cluster = LocalCluster(tmp_path / directory, docker_host=docker_host, store=store, **options)
            stack.callback(_let_go, cluster)
            await stack.enter_async_context(cluster)
            if start:
                await cluster.start()
            return cluster

        yield make


@pytest.fixture
async def cluster(make_cluster) -> LocalCluster:
    return await make_cluster()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    """One control plane without a node for all tests of a module, which use names of their own in it."""
    async with ControlPlane(tmp_path_factory.mktemp("plane")) as plane:
        await plane.start_server()
        yield plane


@pytest.fixture
def name() -> str:
    """Return a name for an object that no other test has."""
    return f"t{secrets.token_hex(4)}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def specimens(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Define the kind that the recordings are about, and return the folder with the manifests that they were made with."""
    directory = tmp_path_factory.mktemp("recordings")
    unpack(directory)
    definitions = Collection(plane.client_for("admin-token"), "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    await definitions.create(yaml.safe_load((directory / "crd.yaml").read_text()))
    return directory


@pytest_asyncio.fixture(loop_scope="module")
async def k(kubectl: str, plane: ControlPlane, specimens: Path, tmp_path: Path, name: str) -> Kubectl:
    """Return kubectl in a namespace of its own, in a folder with the manifests s1.yaml and s2.yaml of the Specimen ``web``."""
    await Collection(plane.client_for("admin-token"), "/api/v1/namespaces").create({"metadata": {"name": name}})
    for manifest in ("s1.yaml", "s2.yaml"):
        (tmp_path / manifest).write_text((specimens / manifest).read_text())
    return Kubectl(kubectl, plane.kubeconfig, directory=tmp_path, cache=plane.directory / "kube-cache", namespace=name)
