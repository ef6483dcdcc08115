"""examples/04-kopf-integration: an operator that posts phase changes, each at least once and in order, whatever is killed or away."""

import contextlib
import os
import re
import runpy
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from lattice.client.client import Client
from lattice.testing.controlplane import ControlPlane
from lattice.testing.documents import blocks, commands
from lattice.testing.operators import KopfOperator
from lattice.testing.polling import eventually
from lattice.testing.processes import Process, free_port
from lattice.testing.rawobjects import Collection
from lattice.testing.stories import load_workload, wait_gone, wait_phase

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
EXAMPLE = EXAMPLES / "04-kopf-integration"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WORKLOADS = "/apis/lattice.dev/v1/namespaces/default/workloads"
LOGS = "/apis/webhooks.example.dev/v1/namespaces/default/phaselogs"
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


class Webhook:
    """A receiver on a port of its own, that can be away or answer errors."""

    def __init__(self) -> None:
        self.port = free_port()
        self.received: list[dict[str, Any]] = []
        self.answer = 204
        self.refused = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/phases"

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/phases", self._receive)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _receive(self, request: web.Request) -> web.Response:
        event = await request.json()
        assert request.content_type == "application/cloudevents+json"
        if self.answer == 204:
            self.received.append(event)
        else:
            self.refused += 1
        return web.Response(status=self.answer)

    def phases(self, name: str) -> list[tuple[str | None, str]]:
        """Return what was received of a Workload, duplicates left out."""
        events = {event["id"]: event["data"] for event in self.received if event["subject"] == f"default/{name}"}
        return [(data["from"], data["to"]) for data in events.values()]

    async def wait(self, name: str, *expected: tuple[str | None, str], deadline_s: float = 30) -> None:
        """Wait until exactly these changes were received, in order."""

        def equal() -> bool:
            assert self.phases(name) == list(expected)
            return True

        await eventually(equal, deadline_s, f"the phase changes of {name}")


@pytest.fixture
async def webhook() -> AsyncIterator[Webhook]:
    webhook = Webhook()
    await webhook.start()
    yield webhook
    await webhook.stop()


async def install(client: Client) -> None:
    """Create the operator's kind, as `kubectl apply -f phaselogs.yaml` does; an earlier test may have."""
    definition = yaml.safe_load((EXAMPLE / "phaselogs.yaml").read_text())
    definitions = Collection(client, DEFINITIONS)
    if definition["metadata"]["name"] not in [each["metadata"]["name"] for each in await definitions.list()]:
        await definitions.create(definition)


@contextlib.asynccontextmanager
async def running(plane: ControlPlane, webhook: Webhook, directory: Path) -> AsyncIterator[KopfOperator]:
    env = {"WEBHOOK_URL": webhook.url, "WEBHOOK_BACKOFF_S": "1"}
    operator = KopfOperator(EXAMPLE / "phase_webhook.py", plane.kubeconfig, directory=directory, env=env)
    operator.start()
    try:
        yield operator
    finally:
        await operator.stop()


@pytest.fixture
async def client(plane: ControlPlane) -> AsyncIterator[Client]:
    client = plane.client_for("admin-token", keep=False)
    await install(client)
    yield client
    await client.close()


@pytest.fixture
async def operator(plane: ControlPlane, client: Client, webhook: Webhook, tmp_path: Path) -> AsyncIterator[KopfOperator]:
    async with running(plane, webhook, tmp_path) as operator:
        yield operator


@pytest.fixture
def workloads(client: Client) -> Collection:
    return Collection(client, WORKLOADS)


def workload(name: str, replicas: int = 1) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "lattice.dev/v1", "kind": "Workload", "metadata": metadata, "spec": {"image": "busybox", "replicas": replicas}}


async def scale(workloads: Collection, name: str, replicas: int) -> None:
    """Change a Workload and wait for the phase that follows: without a node, that of none is Stopped, of some Deploying."""
    await workloads.patch(name, {"spec": {"replicas": replicas}})

    async def followed() -> bool:
        return (await workloads.get(name))["status"].get("phase") == ("Deploying" if replicas else "Stopped")

    await eventually(followed, 10, "the phase to follow")


async def recorded(client: Client, name: str, number: int) -> dict[str, Any]:
    """Wait until the operator has recorded so many changes of a Workload, and return its log."""

    async def enough() -> dict[str, Any]:
        logs = {log["spec"]["workload"]: log for log in await Collection(client, LOGS).list()}
        assert logs[name]["spec"]["recorded"] == number, logs[name]
        return logs[name]

    return await eventually(enough, 15, f"{number} changes of {name} to be recorded")


@pytest.mark.docker
@pytest.mark.slow
async def test_the_way_to_running_and_back_is_posted(make_cluster: Any, webhook: Webhook, tmp_path: Path) -> None:
    cluster = await make_cluster()
    await install(cluster.client)
    async with running(cluster, webhook, tmp_path):
        await Collection(cluster.client, WORKLOADS).create(workload("first", replicas=0))
        await webhook.wait("first", (None, "Stopped"))  # it watches now
        manifest = load_workload(EXAMPLES / "03-image" / "workload.yaml")
        await cluster.client.create(manifest)
        await wait_phase(cluster.client, "web")
        await eventually(lambda: webhook.phases("web")[-1:] == [("Deploying", "Running")], 20, "the news that it runs")
        phases = webhook.phases("web")
        assert phases[0][0] is None
        assert [each[0] for each in phases[1:]] == [each[1] for each in phases[:-1]], "each begins where the one before ended"
        event = webhook.received[-1]
        assert (event["specversion"], event["type"], event["subject"]) == ("1.0", "dev.lattice.workload.phase", "default/web")
        assert event["data"]["reason"] == "Complete"
        assert event["data"]["message"] == "2 of 2 replicas are ready"
        await cluster.client.delete(type(manifest), "web", "default")
        await wait_gone(cluster.client, type(manifest), "web")


@pytest.mark.docker
@pytest.mark.kubectl
@pytest.mark.slow
async def test_the_commands_of_its_readme_work(make_cluster: Any, kubectl: str, tmp_path: Path) -> None:
    cluster = await make_cluster()
    install_it, receive, operate, story = [commands(block) for block in blocks(EXAMPLE / "README.md", "console")]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kubectl").symlink_to(kubectl)
    env = {"KUBECONFIG": str(cluster.kubeconfig), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path)}

    def terminal(name: str, script: str) -> Process:
        return Process(["bash", "-euc", f"cd {EXAMPLES.parent}\n{script}"], log=tmp_path / f"{name}.log", env=env)

    async def run(name: str, script: str) -> str:
        process = terminal(name, script)
        process.start()
        await eventually(lambda: not process.running, 90, f"the commands to end: {script}")
        assert await process.stop() == 0, process.tail()
        return process.tail(1000)

    await run("install", install_it)
    receiver, operator = terminal("receiver", f"exec {receive}"), terminal("operator", operate)
    try:
        receiver.start()
        operator.start()
        await Collection(cluster.client, WORKLOADS).create(workload("first", replicas=0))
        await eventually(lambda: "default/first: - -> Stopped" in receiver.tail(), 20, "the operator to watch")
        table = await run("story", story)
        assert re.search(r"web-\w{8} +web +Stopped +[345]", table), table
        await eventually(lambda: "default/web: Deploying -> Stopped  Stopped: spec.replicas is 0" in receiver.tail(), 20, "the last change")
        assert "default/web: Deploying -> Running  Complete: 2 of 2 replicas are ready" in receiver.tail()
    finally:
        await operator.stop()
        await receiver.stop()


def test_a_log_does_not_grow_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_URL", "http://127.0.0.1/")
    surplus = runpy.run_path(str(EXAMPLE / "phase_webhook.py"))["surplus"]
    assert surplus([1, 2, 3], 3) == 0
    assert surplus(range(1, 26), 25) == 5, "twenty stay that were delivered"
    assert surplus(range(1, 26), 22) == 2
    assert surplus(range(1, 1000), 0) == 0
    assert surplus(range(1, 1001), 0) == 1, "the oldest goes, delivered or not"


async def test_it_leaves_no_trace_on_the_workload(
    client: Client, webhook: Webhook, operator: KopfOperator, workloads: Collection, name: str
) -> None:
    await workloads.create(workload(name))
    await webhook.wait(name, (None, "Deploying"))
    found = await workloads.get(name)
    assert "annotations" not in found["metadata"]
    assert not [each for each in found["metadata"].get("finalizers", []) if "lattice.dev" not in each]
    assert "kopf" not in found["status"]
    log = await recorded(client, name, 1)
    assert not [each for each in log["metadata"].get("annotations", {}) if "kopf" in each]


async def test_what_a_webhook_misses_is_posted_when_it_is_back(
    client: Client, webhook: Webhook, operator: KopfOperator, workloads: Collection, name: str
) -> None:
    await workloads.create(workload(name))
    await webhook.wait(name, (None, "Deploying"))
    webhook.answer = 503
    await scale(workloads, name, 0)
    await recorded(client, name, 2)
    await eventually(lambda: webhook.refused >= 2, 15, "the operator to try again")
    await webhook.stop()
    await scale(workloads, name, 1)
    await recorded(client, name, 3)
    webhook.answer = 204
    await webhook.start()
    await webhook.wait(name, (None, "Deploying"), ("Deploying", "Stopped"), ("Stopped", "Deploying"))
    await eventually(lambda: delivered(client, name, 3), 10, "the log to say so")


async def delivered(client: Client, name: str, number: int) -> bool:
    return (await recorded(client, name, number)).get("status", {}).get("delivered") == number


async def test_a_killed_operator_posts_what_it_had_recorded_and_what_happened_meanwhile(
    client: Client, webhook: Webhook, operator: KopfOperator, workloads: Collection, name: str
) -> None:
    await workloads.create(workload(name))
    await webhook.wait(name, (None, "Deploying"))
    await webhook.stop()
    await scale(workloads, name, 0)
    await recorded(client, name, 2)
    await operator.kill9()
    await scale(workloads, name, 1)
    await webhook.start()
    operator.start()
    await webhook.wait(name, (None, "Deploying"), ("Deploying", "Stopped"), ("Stopped", "Deploying"))
    await operator.kill9()
    operator.start()
    await scale(workloads, name, 0)
    await webhook.wait(name, (None, "Deploying"), ("Deploying", "Stopped"), ("Stopped", "Deploying"), ("Deploying", "Stopped"))
    ids = [event["id"] for event in webhook.received if event["subject"] == f"default/{name}"]
    uid = (await recorded(client, name, 4))["metadata"]["uid"]
    assert list(dict.fromkeys(ids)) == [f"{uid}-{number}" for number in (1, 2, 3, 4)]


async def test_what_is_not_delivered_outlives_the_workload(
    client: Client, webhook: Webhook, operator: KopfOperator, workloads: Collection, name: str
) -> None:
    await workloads.create(workload(name))
    await webhook.wait(name, (None, "Deploying"))
    await webhook.stop()
    await scale(workloads, name, 0)
    log = await recorded(client, name, 2)
    await workloads.delete(name)
    await workloads.gone(name)
    await webhook.start()
    await webhook.wait(name, (None, "Deploying"), ("Deploying", "Stopped"))
    await Collection(client, LOGS).gone(log["metadata"]["name"])
