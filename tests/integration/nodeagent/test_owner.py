"""The owner's controls through the local socket, against a real API server: status, pause, prune, leave, failures, images pulled ahead."""

from __future__ import annotations

import asyncio
import io
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from controller.apiserver.inprocess import InProcessTransport
from controller.apiserver.request import User
from controller.apiserver.server import ApiServer
from controller.store.opening import StoreConfig, open_stores
from lattice.api import configmap, errors, event, lease, node, pod
from lattice.cli import localapi, main
from lattice.client.client import Client
from lattice.machinery.clock import SystemClock
from lattice.testing.polling import eventually
from nodeagent.config import AgentConfig
from nodeagent.main import run_agent
from nodeagent.runtime import base
from nodeagent.runtime.fake import FakeRuntime, Program

IMAGE = "busybox:latest"
SECRET = "sw0rdfish-9"


class Dead:
    """A server that does not answer: implements ``Transport``."""

    async def send(self, _request: object) -> Any:
        raise errors.UnavailableError("no answer")

    async def stream(self, _request: object) -> AsyncIterator[bytes]:
        raise errors.UnavailableError("no answer")
        yield b""

    async def connect(self, _request: object, **_more: object) -> Any:
        raise errors.UnavailableError("no answer")

    async def headers(self) -> dict[str, str]:
        return {}

    async def close(self) -> None:
        pass


@dataclass
class World:
    api: ApiServer
    admin: Client
    runtime: FakeRuntime
    root: Path
    settings: dict[str, Any] = field(default_factory=dict)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def agent(self, **settings: Any) -> AsyncIterator[localapi.LocalAgent]:
        stop = asyncio.Event()
        transport = InProcessTransport(self.api, User("system:node:n1", groups=("system:nodes",)))
        settings = {"transport": transport, **settings}
        config = AgentConfig(name="n1", data_dir=self.root / "agent", run_dir=self.root / "run", **settings)
        self.ended.clear()

        async def run() -> None:
            await run_agent(config, stop=stop, runtime=self.runtime)
            self.ended.set()

        async with asyncio.TaskGroup() as group:
            task = group.create_task(run())
            try:
                await eventually(lambda: config.socket_path().exists() or task.done(), 20, "the agent to listen")
                async with localapi.connect(config.socket_path()) as owner:
                    yield owner
            finally:
                stop.set()
                await asyncio.wait({task}, timeout=10)
                assert task.done()

    async def bind(
        self, name: str, command: tuple[str, ...] = ("sleep",), *, owned: bool = False, probe: Any = None, **spec: Any
    ) -> pod.Pod:
        owners = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "keeper", "uid": "u", "controller": True}] if owned else []
        container = {"name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": list(command), "livenessProbe": probe}
        body = {
            "metadata": {"name": name, "namespace": "default", "ownerReferences": owners},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 1, **spec},
        }
        made = await self.admin.create(pod.Pod.model_validate(body))
        await self.admin.bind(name, "default", "n1", uid=made.uid)
        return made

    async def until(self, name: str, state: str, what: str = "") -> pod.Pod:
        """Wait until the container of a Pod is ``running``, ``waiting`` or ``terminated`` (for the reason ``what``)."""

        async def look() -> pod.Pod:
            found = await self.admin.get(pod.Pod, name, "default")
            assert found.status.container_statuses, found.status.to_dict()
            seen = getattr(found.status.container_statuses[0].state, state)
            assert seen is not None and what in (getattr(seen, "reason", "") or ""), found.status.to_dict()  # noqa: PT018
            return found

        return await eventually(look, 20, f"Pod {name} to be {state} {what}")

    async def running(self) -> set[str]:
        found = await self.runtime.list({base.LABEL_POD_UID: ""})
        return {each.labels[base.LABEL_POD_NAME] for each in found if each.state is base.ContainerState.RUNNING}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        runtime = FakeRuntime(clock, images=[IMAGE, base.NETWORK_HELPER_IMAGE])
        stack.push_async_callback(runtime.close)
        stores = await open_stores(StoreConfig(data_dir=tmp_path / "store"), clock)
        stack.push_async_callback(stores.close)
        api = ApiServer({"main": stores.main, "ephemeral": stores.ephemeral}, {}, clock=clock)
        await api.start()
        stack.push_async_callback(api.stop)
        yield World(api, Client(InProcessTransport(api, User("admin", groups=("system:masters",)))), runtime, tmp_path)


async def until_connected(owner: localapi.LocalAgent) -> dict[str, Any]:
    async def look() -> dict[str, Any]:
        found = await owner.ask("GET", "/v1/status")
        assert found["server"]["problem"] in ("", "does not answer now"), found
        return found

    return await eventually(look, 20, "the agent to hear its server")


async def test_status_and_settings_say_what_is(world: World) -> None:
    async with world.agent(cpu="2", max_pods=7, sources={"cpu": "flag --cpu"}) as owner:
        mode = stat.S_IMODE((world.root / "agent" / "agent.sock").stat().st_mode)
        assert mode == 0o600
        await until_connected(owner)
        await world.bind("p")
        await world.until("p", "running")
        found = await owner.ask("GET", "/v1/status")
        assert found["node"]["name"] == "n1"
        assert [(each["namespace"], each["name"], each["phase"]) for each in found["pods"]] == [("default", "p", "Running")]
        assert found["pods"][0]["containers"][0]["state"] == "running"
        assert (found["paused"], found["unknownPods"]) == (None, [])
        settings = {row["name"]: (row["value"], row["source"]) for row in (await owner.ask("GET", "/v1/settings"))["settings"]}
        assert settings["cpu"] == ("2", "flag --cpu")
        assert settings["maxPods"] == (7, "default")
        with pytest.raises(errors.BadRequestError, match="reason is a text"):
            await owner.ask("POST", "/v1/pause", {"reason": "a\nb"})
        with pytest.raises(errors.BadRequestError, match="resume takes nothing"):
            await owner.ask("POST", "/v1/resume", {"stop": True})
    assert not (world.root / "agent" / "agent.sock").exists()


async def test_a_pause_holds_what_is_new_outlives_the_agent_and_stops_all_on_request(world: World) -> None:
    async with world.agent() as owner:
        await until_connected(owner)
        await world.bind("old")
        await world.until("old", "running")
        await owner.ask("POST", "/v1/pause", {"reason": "game night"})
        await world.bind("new")
        waiting = await world.until("new", "waiting", "NodePaused")
        assert "game night" in (waiting.status.container_statuses[0].state.waiting.message or "")
        [old] = [each for each in await world.runtime.list({base.LABEL_POD_UID: ""}) if each.labels[base.LABEL_POD_NAME] == "old"]
        world.runtime.end(old.id, exit_code=1)  # what ran goes on: it is started again
        await world.until("old", "running")

        async def shown() -> bool:
            found = await world.admin.get(node.Node, "n1")
            assert [(each.status, each.reason) for each in found.status.conditions if each.type == "Paused"] == [("True", "PausedByOwner")]
            return True

        await eventually(shown, 20, "the Node to show the pause")
    async with world.agent() as owner:
        assert (await until_connected(owner))["paused"]["reason"] == "game night"
        await owner.ask("POST", "/v1/pause", {"stop": True})
        await world.until("old", "waiting", "NodePaused")
        assert await world.running() == set()
        assert (await owner.ask("GET", "/v1/failures"))["failures"][-1]["exitCode"] == 1  # the stop for the pause is no failure
        assert len((await owner.ask("GET", "/v1/failures"))["failures"]) == 1
        assert (await owner.ask("POST", "/v1/resume", {}))["resumed"] is True
        await world.until("old", "running")
        await world.until("new", "running")

        async def gone() -> bool:
            found = await world.admin.get(node.Node, "n1")
            return all(each.type != "Paused" for each in found.status.conditions)

        await eventually(gone, 20, "the Node to show no pause")


async def test_prune_removes_what_was_shown_and_only_what_the_server_does_not_know(world: World) -> None:
    async with world.agent() as owner:
        await until_connected(owner)
        await world.bind("known")
        await world.until("known", "running")
        uid = orjson.loads((world.root / "agent" / "node.json").read_bytes())["uuid"]
        labels = {base.LABEL_NODE: uid, base.LABEL_POD_UID: "gone", base.LABEL_POD_NAMESPACE: "default", base.LABEL_POD_NAME: "ghost"}
        for name, held in (("ghost", labels), ("foreign", {}), ("other", {**labels, base.LABEL_NODE: "another"})):
            made = await world.runtime.create(base.ContainerConfig(name=name, image=IMAGE, labels=held))
            await world.runtime.start(made)
        await world.runtime.ensure_volume("data", labels={base.LABEL_NODE: uid, base.LABEL_VOLUME: "data"})
        await world.runtime.ensure_volume("foreign", labels={})

        async def listed() -> dict[str, Any]:
            found = await owner.ask("GET", "/v1/prune")
            assert [(each["kind"], each["name"], each["data"]) for each in found["items"]] == [
                ("container", "default/ghost", False),
                ("volume", "data", True),
            ]
            return found

        found = await eventually(listed, 20, "the ghost to be listed")
        with pytest.raises(errors.ConflictError, match="look again"):
            await owner.ask("POST", "/v1/prune", {"digest": "0000"})
        assert "ghost" in await world.running()
        lines = (await owner.ask("POST", "/v1/prune", {"digest": found["digestWithoutData"]}))["lines"]
        assert lines == ["container default/ghost removed"]
        names = {each.name for each in await world.runtime.list()}
        assert {"foreign", "other"} <= names
        assert "ghost" not in names
        assert await world.runtime.volumes({}) == ["data", "foreign"]
        again = await owner.ask("GET", "/v1/prune")
        await owner.ask("POST", "/v1/prune", {"digest": again["digest"], "data": True})
        assert await world.runtime.volumes({}) == ["foreign"]
        await world.until("known", "running")


async def test_the_command_line_shows_asks_and_does_nothing_where_nobody_answers(world: World, monkeypatch, capsys) -> None:
    async def lattice(*arguments: str, stdin: str = "") -> tuple[int, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        verb, *rest = arguments
        code = await asyncio.to_thread(main.run, ["node", verb, "--data-dir", str(world.root / "agent"), *rest])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    async with world.agent() as owner:
        await until_connected(owner)
        uid = orjson.loads((world.root / "agent" / "node.json").read_bytes())["uuid"]
        for name in ("data", "more"):
            await world.runtime.ensure_volume(name, labels={base.LABEL_NODE: uid, base.LABEL_VOLUME: name})
        code, said = await lattice("prune")
        assert (code, "2 volume(s) with data" in said, "nothing else to prune" in said) == (0, True, True)
        code, said = await lattice("prune", "--volumes", "--dry-run")
        assert (code, "volume     data (the server has no PersistentVolume" in said) == (0, True)
        code, said = await lattice("prune", "--volumes", stdin="")
        assert (code, "nothing was done: say --yes" in said) == (2, True)
        code, said = await lattice("prune", "--volumes", stdin="n\n")
        assert code == 0
        assert await world.runtime.volumes({}) == ["data", "more"]
        code, said = await lattice("prune", "--volumes", stdin="y\n")
        assert (code, "volume data removed" in said) == (0, True)
        assert await world.runtime.volumes({}) == []
        code, said = await lattice("status")
        assert (code, "No Pods run here." in said) == (0, True)
        code, said = await lattice("status", "--settings")
        assert (code, "maxPods" in said) == (0, True)
        code, said = await lattice("status", "--failures")
        assert (code, "no failures on record" in said) == (0, True)
        assert (await lattice("status", "--failures", "--settings"))[0] == 2
        code, said = await lattice("pause", "--reason", "a\tb")
        assert (code, "printable" in said) == (1, True)
        assert (await lattice("resume")) == (0, "was not paused\n")
    code, said = await lattice("status")
    assert (code, "no agent answers at" in said) == (1, True)


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "/v1/pause", b"{", 400),
        ("POST", "/v1/pause", b"[]", 400),
        ("POST", "/v1/pause", b'{"stop": "yes"}', 400),
        ("POST", "/v1/pause", b'{"reason": "' + b"x" * 100_000 + b'"}', 400),
        ("POST", "/v1/prune", b"{}", 400),
        ("POST", "/v1/leave", b'{"digest": "x", "force": 1}', 400),
        ("POST", "/v1/leave", b'{"digest": "x"}', 409),
        ("POST", "/v1/status", b"{}", 405),
        ("GET", "/v2/status", None, 404),
    ],
)
async def test_what_is_no_order_changes_nothing(world: World, method: str, path: str, body: bytes | None, code: int) -> None:
    async with world.agent() as owner:
        await until_connected(owner)
        connector = aiohttp.UnixConnector(path=str(world.root / "agent" / "agent.sock"))
        async with aiohttp.ClientSession(connector=connector) as session, session.request(method, f"http://a{path}", data=body) as answer:
            assert answer.status == code
        assert (await owner.ask("GET", "/v1/status"))["paused"] is None


async def test_a_socket_with_a_long_path_is_reached(world: World) -> None:
    path = world.root / ("d" * 60) / ("e" * 60) / "agent.sock"
    async with world.agent(api_socket=path) as owner:
        assert (await owner.ask("GET", "/v1/status"))["node"]["name"] == "n1"


async def test_prune_waits_for_a_server_that_was_heard(world: World) -> None:
    async with world.agent() as owner:
        await until_connected(owner)
        await world.bind("p")
        await world.until("p", "running")
    async with world.agent(transport=Dead()) as owner:
        with pytest.raises(errors.ServiceUnavailableError, match="has not been heard"):
            await owner.ask("GET", "/v1/prune")
        assert await world.running() == {"p"}


async def test_leave_moves_the_pods_away_and_removes_what_is_ours(world: World) -> None:
    async with world.agent() as owner:
        await until_connected(owner)
        for number in range(8):  # so many that the removal gate would hold them back
            await world.bind(f"p{number}", owned=True)
            await world.until(f"p{number}", "running")
        await world.bind("alone")
        await world.until("alone", "running")
        foreign = await world.runtime.create(base.ContainerConfig(name="foreign", image=IMAGE, labels={}))
        uid = orjson.loads((world.root / "agent" / "node.json").read_bytes())["uuid"]
        await world.runtime.ensure_volume("data", labels={base.LABEL_NODE: uid, base.LABEL_VOLUME: "data"})
        found = await owner.ask("GET", "/v1/leave")
        with pytest.raises(errors.ConflictError, match=r"default/alone.*--force"):
            _ = [line async for line in owner.lines("/v1/leave", {"digest": found["digest"]})]
        assert len(await world.running()) == 9
        lines = [line async for line in owner.lines("/v1/leave", {"digest": found["digest"], "force": True})]
        assert "no Pod is left" in lines
        assert "node n1 deleted" in lines
        assert lines[-1] == "kept, with their data: data"
        await asyncio.wait_for(world.ended.wait(), 20)
    assert [each.id for each in await world.runtime.list()] == [foreign]
    assert await world.runtime.volumes({}) == ["data"]
    for kind, namespace in ((node.Node, None), (lease.Lease, "kube-node-lease")):
        with pytest.raises(errors.NotFoundError):
            await world.admin.get(kind, "n1", namespace)
    assert {path.name for path in (world.root / "agent").iterdir()} == {"lock", "left.json", "node.json"}
    with pytest.raises(BaseExceptionGroup) as caught:
        async with world.agent():
            pytest.fail("an agent that has left does not come back by itself")
    assert "has left its cluster" in str(caught.value.exceptions[0])


async def test_a_machine_leaves_a_server_that_is_gone_for_good(world: World) -> None:
    async with world.agent() as owner:
        await until_connected(owner)
        for number in range(3):
            await world.bind(f"p{number}")
            await world.until(f"p{number}", "running")
    async with world.agent(transport=Dead()) as owner:

        async def listed() -> dict[str, Any]:
            found = await owner.ask("GET", "/v1/leave")
            assert len([each for each in found["items"] if each["kind"] == "container"]) == 3
            return found

        found = await eventually(listed, 20, "the engine to be looked at")
        with pytest.raises(errors.ServiceUnavailableError):  # asked to tell the server, which does not answer
            _ = [line async for line in owner.lines("/v1/leave", {"digest": found["digest"], "force": True})]
        assert await world.running() == {"p0", "p1", "p2"}
        order = {"digest": found["digest"], "force": True, "offline": True}
        lines = [line async for line in owner.lines("/v1/leave", order)]
        assert not any("node n1 deleted" in line for line in lines)
        await asyncio.wait_for(world.ended.wait(), 20)
    assert await world.runtime.list() == []
    assert {path.name for path in (world.root / "agent").iterdir()} == {"lock", "left.json"}


async def test_a_failure_is_on_record_without_secrets_and_after_the_container_is_gone(world: World) -> None:
    world.runtime.programs["fails",] = Program(
        run_for_s=0.05, exit_code=3, output="".join(f"line {number}\n" for number in range(300)) + f"password {SECRET} refused\n"
    )
    await world.admin.create(
        configmap.Secret.model_validate({"metadata": {"name": "s", "namespace": "default"}, "stringData": {"password": SECRET}})
    )
    async with world.agent() as owner:
        await until_connected(owner)
        volumes = [{"name": "s", "secret": {"secretName": "s"}}]
        await world.bind("p", ("fails",), restartPolicy="Never", volumes=volumes)

        async def recorded() -> dict[str, Any]:
            found: dict[str, Any] = (await owner.ask("GET", "/v1/failures?pod=p"))["failures"][0]
            return found

        record = await eventually(recorded, 20, "the failure to be on record")
        assert (record["exitCode"], record["reason"], record["container"], record["imageDigest"]) == (3, "Error", "main", f"sha256:{IMAGE}")
        assert record["log"][-1] == "password *** refused"
        assert len(record["log"]) == 100
        assert record["logCut"] is True

        async def said() -> bool:
            found = (await world.admin.list(event.Event, "default")).items
            message = next(iter([each.message for each in found if each.reason == "ContainerFailed"] or [""]))
            assert message.startswith("Container main failed: exit code 3; image sha256:")
            assert "password *** refused" in message
            assert SECRET not in message
            return True

        await eventually(said, 20, "the Event")

        async def told() -> bool:
            answer = orjson.loads(await world.admin.send("GET", "/api/v1/namespaces/default/pods/p/failures"))
            assert (answer["kind"], answer["metadata"]["name"]) == ("PodFailures", "p")
            return bool(answer["failures"] == [record])

        await eventually(told, 20, "the server to tell what the node has on record")
        await world.admin.delete(pod.Pod, "p", "default")

        async def gone() -> bool:
            return not await world.runtime.list()

        await eventually(gone, 20, "the container to be gone")
    async with world.agent() as owner:  # and after the agent's end
        assert (await owner.ask("GET", "/v1/failures"))["failures"] == [record]
    assert SECRET.encode() not in (world.root / "agent" / "failures.jsonl").read_bytes()


async def test_what_a_probe_said_is_on_record_and_an_end_that_was_asked_for_is_not(world: World) -> None:
    world.runtime.exec_results["check",] = base.ExecResult(exit_code=1, output="no answer from the database")
    async with world.agent() as owner:
        await until_connected(owner)
        probe = {"exec": {"command": ["check"]}, "periodSeconds": 1, "failureThreshold": 1}
        await world.bind("sick", probe=probe)

        async def recorded() -> dict[str, Any]:
            found: dict[str, Any] = (await owner.ask("GET", "/v1/failures?pod=sick"))["failures"][0]
            return found

        record = await eventually(recorded, 20, "the failure to be on record")
        assert record["probeOutput"].startswith("Liveness probe failed: ")
        assert "no answer from the database" in record["probeOutput"]
        await world.bind("well")
        await world.until("well", "running")
        await world.admin.delete(pod.Pod, "well", "default")

        async def gone() -> bool:
            return "well" not in await world.running()

        await eventually(gone, 20, "the Pod to end")
        assert {each["pod"] for each in (await owner.ask("GET", "/v1/failures"))["failures"]} == {"sick"}


async def test_images_of_the_settings_are_pulled_ahead_and_a_missing_one_is_no_harm(world: World) -> None:
    world.runtime.registry.add("redis:7")
    async with world.agent(images=("redis:7", "absent:1", IMAGE)) as owner:

        async def states() -> bool:
            found = {each["image"]: each["state"] for each in (await owner.ask("GET", "/v1/status"))["images"]}
            assert found["redis:7"] == found[IMAGE] == "present"
            assert found["absent:1"].startswith("failed: cannot pull image absent:1")
            return True

        await eventually(states, 20, "the images to be pulled")
        assert "pull redis:7" in world.runtime.changes
        assert f"pull {IMAGE}" not in world.runtime.changes
