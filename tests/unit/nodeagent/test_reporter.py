"""The reporter: results once and in order, of everything else the newest, over a line that breaks and servers that refuse."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from lattice.api import errors, meta, names, pod
from lattice.client import base as client_base
from lattice.client.client import Client
from lattice.machinery.backoff import Backoff, BackoffPolicy
from lattice.machinery.clock import SystemClock
from lattice.testing.polling import eventually
from nodeagent.journal import Journal
from nodeagent.reporter import StatusReporter


def status(phase: str = "Running", *, restarts: int = 0, ended: int | None = None) -> pod.PodStatus:
    container: dict[str, Any] = {"name": "main", "image": "i", "imageID": "", "ready": True, "restartCount": restarts}
    if ended is not None:
        container["lastState"] = {"terminated": {"exitCode": 1, "containerID": f"docker://c{ended}", "finishedAt": "2026-11-01T10:00:00Z"}}
    return pod.PodStatus.model_validate({"phase": phase, "containerStatuses": [container]})


def make_pod(name: str) -> pod.Pod:
    metadata = meta.ObjectMeta(name=name, namespace="default", uid=meta.Uid(f"uid-{name}"))
    return pod.Pod(metadata=metadata, spec=pod.PodSpec(containers=(pod.Container(name="main", image="i"),)))


class Server:
    """Takes status patches as the API server does: a lower number than the last is refused."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, int, int]] = []
        """Pod name, record, restart count; in the order of arrival."""
        self.records: dict[str, int] = {}
        self.answer: Callable[[str], Exception | None] = lambda _name: None
        self.lose_answers = False

    async def send(self, request: client_base.Request) -> client_base.Response:
        name = request.path.split("/")[-2]
        if (error := self.answer(name)) is not None:
            raise error
        body = orjson.loads(request.body or b"{}")
        record = int(body["metadata"]["annotations"][names.ANNOTATION_STATUS_RECORD])
        if record < self.records.get(name, 0):
            cause = {"reason": names.REASON_OLDER_RECORD, "message": "", "field": ""}
            raise errors.ConflictError("older", details={"causes": [cause]})
        self.records[name] = record
        self.taken.append((name, record, body["status"]["containerStatuses"][0]["restartCount"]))
        if self.lose_answers:
            raise errors.UnavailableError("the line broke after the request")
        return client_base.Response(200, {}, orjson.dumps(make_pod(name).to_dict()))

    async def stream(self, request: client_base.Request) -> AsyncGenerator[bytes]:
        raise AssertionError(request)
        yield b""

    async def connect(self, _path: str, **_options: Any) -> client_base.Socket:
        raise errors.UnavailableError("no control line here")

    async def headers(self) -> Mapping[str, str]:
        return {}

    async def close(self) -> None:
        return


class Agent:
    """A reporter and what it works with; a new one on the same directory is the agent's next life."""

    def __init__(self, directory: Path, server: Server) -> None:
        self.journal = Journal(directory / "journal")
        self.journal.open()
        self.known: dict[str, pod.Pod] = {}
        self.frozen = ""
        backoff = Backoff(BackoffPolicy(base_s=0.001, cap_s=0.01), random.Random(1))
        self.reporter = StatusReporter(Client(server), SystemClock(), backoff, lambda: self.frozen, self.journal, lambda: self.known)

    def shows(self, wanted: pod.Pod, record: int = 0) -> None:
        annotations = {names.ANNOTATION_STATUS_RECORD: str(record)} if record else {}
        self.known[wanted.uid] = pod.Pod(metadata=meta.changed(wanted.metadata, annotations=annotations), spec=wanted.spec)

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.reporter.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})


@pytest.fixture
def server() -> Server:
    return Server()


A, B = make_pod("a"), make_pod("b")


async def test_without_a_line_only_the_newest_waits_but_every_result(tmp_path: Path, server: Server) -> None:
    agent = Agent(tmp_path, server)
    for restarts in range(3):  # each crash is seen as an end, then as a run
        agent.reporter.report(A, status(restarts=restarts), "")
        agent.reporter.report(A, status(restarts=restarts, ended=restarts), "")
        agent.reporter.report(B, status(restarts=restarts + 10), "")
    agent.reporter.report(A, status(restarts=3, ended=2), "")
    agent.reporter.report(A, status(restarts=4, ended=2), "")
    async with agent.sending():
        await eventually(lambda: len(server.taken) == 5, what="all to be sent")
    assert [restarts for name, _, restarts in server.taken if name == "a"] == [0, 1, 2, 4]
    assert [restarts for name, _, restarts in server.taken if name == "b"] == [12]
    assert [record for _, record, _ in server.taken] == sorted(record for _, record, _ in server.taken)
    assert agent.journal.pending == {}


async def test_results_of_an_agent_that_was_killed_are_handed_in_by_the_next(tmp_path: Path, server: Server) -> None:
    first = Agent(tmp_path, server)
    first.reporter.report(A, status(restarts=1, ended=0), "")
    first.reporter.report(B, status("Failed", ended=0), "")
    first.reporter.report(A, status(restarts=2, ended=1), "")
    second = Agent(tmp_path, server)
    assert second.reporter.last(B).phase == "Failed"  # so it is not run again, though the server says it runs
    assert second.reporter.last(A).container_statuses[0].restart_count == 2
    async with second.sending():
        await eventually(lambda: len(server.taken) == 3, what="the results to be sent")
    assert [(name, restarts) for name, _, restarts in server.taken] == [("a", 1), ("b", 0), ("a", 2)]
    assert Agent(tmp_path, server).journal.pending == {}


async def test_a_lost_answer_makes_the_same_record_come_again_and_none_other(tmp_path: Path, server: Server) -> None:
    agent = Agent(tmp_path, server)
    server.lose_answers = True
    agent.reporter.report(A, status(restarts=1, ended=0), "")
    async with agent.sending():
        await eventually(lambda: len(server.taken) >= 3, what="some tries")
        server.lose_answers = False
        await eventually(lambda: not agent.journal.pending, what="the result to be handed in")
    assert len({record for _, record, _ in server.taken}) == 1


@pytest.mark.parametrize(
    "error", [errors.NotFoundError("gone?"), errors.ForbiddenError("no"), errors.ConflictError("uid"), errors.InvalidError("bad")]
)
async def test_a_refused_result_is_kept_while_the_pod_is_known(tmp_path: Path, server: Server, error: Exception) -> None:
    agent = Agent(tmp_path, server)
    agent.shows(A)
    server.answer = lambda name: error if name == "a" else None
    agent.reporter.report(A, status(restarts=1, ended=0), "")
    agent.reporter.report(B, status(restarts=7), "")
    async with agent.sending():
        await eventually(lambda: [name for name, _, _ in server.taken] == ["b"], what="the other Pod's status")
    server.answer = lambda _name: None
    later = Agent(tmp_path, server)
    async with later.sending():
        await eventually(lambda: [name for name, _, _ in server.taken] == ["b", "a"], what="the result to be handed in")


async def test_a_refused_result_of_a_pod_that_is_gone_is_dropped(tmp_path: Path, server: Server) -> None:
    agent = Agent(tmp_path, server)
    server.answer = lambda _name: errors.NotFoundError("gone")
    agent.reporter.report(A, status(restarts=1, ended=0), "")
    async with agent.sending():
        await eventually(lambda: not agent.journal.pending, what="it to be dropped")


async def test_what_was_overtaken_is_not_sent_again(tmp_path: Path, server: Server) -> None:
    agent = Agent(tmp_path, server)
    agent.journal.raise_to(50)
    agent.reporter.report(A, status(restarts=1, ended=0), "")
    server.records["a"] = 60  # a later request of ours was faster
    agent.journal.raise_to(60)
    agent.shows(A, record=60)
    async with agent.sending():
        await eventually(lambda: not agent.journal.pending, what="it to be dropped")
    assert server.taken == []


async def test_an_agent_with_an_older_journal_passes_the_number_that_the_server_has(tmp_path: Path, server: Server) -> None:
    agent = Agent(tmp_path, server)
    server.records["a"] = 90_000
    agent.shows(A, record=90_000)
    agent.reporter.report(A, status(restarts=1, ended=0), "")
    agent.reporter.report(A, status(restarts=2, ended=1), "")
    async with agent.sending():
        await eventually(lambda: len(server.taken) == 2, what="both to be sent")
    assert [restarts for _, _, restarts in server.taken] == [1, 2]
    assert [record for _, record, _ in server.taken] == [90_001, 90_002]
    assert agent.journal.pending == {}


async def test_an_unchanged_status_is_not_sent(tmp_path: Path, server: Server) -> None:
    agent = Agent(tmp_path, server)
    agent.reporter.report(A, A.status, "")
    agent.reporter.report(A, status(restarts=1), "")
    agent.reporter.report(A, A.status, "")  # back before anybody was told
    agent.reporter.report(B, status(restarts=1), "")
    async with agent.sending():
        await eventually(lambda: server.taken, what="the other's")
        for _ in range(3):
            agent.reporter.report(B, status(restarts=1), "")
    assert [name for name, _, _ in server.taken] == ["b"]
    assert agent.reporter.writes == 1
