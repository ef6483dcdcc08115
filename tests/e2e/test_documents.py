"""The programs in docs/how-to/use-kubernetes-clients.md and in README.md run as they stand there."""

import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lattice.client.client import Client
from lattice.testing.controlplane import ControlPlane
from lattice.testing.documents import blocks
from lattice.testing.operators import KopfOperator
from lattice.testing.polling import eventually
from lattice.testing.processes import Process
from lattice.testing.rawobjects import Collection
from lattice.testing.stories import sleeper

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAMS = blocks(REPOSITORY / "docs" / "how-to" / "use-kubernetes-clients.md", "python")
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

PRINTED = {
    "from kubernetes import client, config, watch": ["{'color': 'blue', 'size': 'large'}", r"(ADDED|MODIFIED) web Deploying"],
    "from kubernetes import config, dynamic": [r"\[\('my-pipeline', 'Apply'\)"],
    "from kubernetes_asyncio import client": [r"ADDED {'color': 'blue'}"],
    "import kr8s": [r"\['settings'\]", "Deploying"],
    "from lightkube import Client": [r"\[\('web', 2\)\]"],
}
"""A line of the program, and what it prints."""


@pytest.fixture
async def client(plane: ControlPlane) -> AsyncIterator[Client]:
    client = plane.client_for("admin-token", keep=False)
    yield client
    await client.close()


def program_with(line: str) -> str:
    [program] = [each for each in PROGRAMS if re.search(f"^{re.escape(line)}", each, re.MULTILINE)]
    return program


def test_every_program_is_known_here() -> None:
    assert len(PROGRAMS) == len(PRINTED) + 1  # and kopf's


async def run(program: str, plane: ControlPlane, directory: Path) -> str:
    """Run a program to its end and return what it printed."""
    (directory / "program.py").write_text(program)
    environment = {"KUBECONFIG": str(plane.kubeconfig), "HOME": str(directory)}
    process = Process([sys.executable, str(directory / "program.py")], log=directory / "log", env=environment)
    process.start()
    await eventually(lambda: not process.running, 60, "the program to end")
    assert await process.stop() == 0, process.tail()
    return process.tail()


@pytest.mark.parametrize("line", PRINTED, ids=lambda line: line.split()[1])
async def test_a_program_of_the_page_runs(plane: ControlPlane, client: Client, tmp_path: Path, line: str) -> None:
    await Collection(client, "/apis/lattice.dev/v1/namespaces/default/workloads").gone("web")
    printed = await run(program_with(line), plane, tmp_path)
    for pattern in PRINTED[line]:
        assert re.search(pattern, printed), printed


@pytest.mark.docker
@pytest.mark.slow
async def test_the_program_of_the_readme_runs(make_cluster: Any, tmp_path: Path) -> None:
    cluster = await make_cluster()
    await cluster.client.create(sleeper("db"))
    [program] = blocks(REPOSITORY / "README.md", "python")
    assert (await run(program, cluster, tmp_path)).splitlines()[-1] == "db Running"


async def test_the_operator_of_the_page_runs(plane: ControlPlane, client: Client, tmp_path: Path, name: str) -> None:
    (tmp_path / "workloads.py").write_text(program_with("import kopf"))
    operator = KopfOperator(tmp_path / "workloads.py", plane.kubeconfig, directory=tmp_path)
    operator.start()
    workloads = Collection(client, "/apis/lattice.dev/v1/namespaces/default/workloads")
    manifest = {"apiVersion": "lattice.dev/v1", "kind": "Workload", "metadata": {"name": name}, "spec": {"image": "busybox"}}
    try:
        await workloads.create(manifest)
        await eventually(lambda: f"{name}: None -> Deploying" in operator.tail(), 20, "the operator to see the phase")
        events = Collection(client, "/api/v1/namespaces/default/events")
        query = {"fieldSelector": f"involvedObject.name={name},reason=Noted"}
        [event] = await eventually(lambda: events.list(**query), 10, "the event")
        assert event["reportingComponent"] == "workload-notes"
        await workloads.patch(name, {"spec": {"replicas": 0}})
        await eventually(lambda: f"{name}: Deploying -> Stopped" in operator.tail(), 20, "the operator to see the next phase")
    finally:
        await operator.stop()
    await workloads.delete(name)
