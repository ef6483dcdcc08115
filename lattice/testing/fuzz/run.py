"""One bounded run: make the subjects, attack, compare, clean up, look at the server's memory and log.

    async with ControlPlane(directory) as plane:
        await plane.start_server()
        report = await attack(plane, seed=1, requests=50_000)
        assert not report.findings

The number of requests and the time are both bounds. A finding is kept as a file that ``tests/integration/apiserver/test_fuzz_cases.py``
sends again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from lattice.client import kubeconfig
from lattice.machinery.clock import SystemClock
from lattice.testing.controlplane import ControlPlane
from lattice.testing.fuzz import oracle, subjects
from lattice.testing.fuzz.generator import UID_MARK, VERSION_MARK, Generator
from lattice.testing.fuzz.wire import Connection, Request, Response
from lattice.testing.fuzz.witness import SENTINEL, Witness
from lattice.testing.polling import eventually

TOKEN: Final = "admin-token"  # noqa: S105 - of the test server
MEMORY_FACTOR: Final = 1.5
"""How much more than before the run the server may hold after it, once everything is deleted: allocators keep some of what they had."""
MEMORY_SLACK_BYTES: Final = 48 * 2**20
_SETTLE_S: Final = 80.0
"""The server looks for memory to give back once a minute."""
_TRACEBACK: Final = "Traceback (most recent call last)"
_BAD_LOG: Final = ("request failed", "was never retrieved", "was never awaited", " CRITICAL ")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a correct server does not do."""

    text: str
    request: Request | None = None
    number: int = 0

    def __str__(self) -> str:
        return f"{self.text}\n    {self.request.curl()[:800]}" if self.request is not None else self.text

    def save(self, directory: Path) -> Path | None:
        """Keep the request, for the test that sends it again."""
        if self.request is None:
            return None
        directory.mkdir(parents=True, exist_ok=True)
        data = {"finding": self.text[:300], "request": self.request.to_json()}
        body = json.dumps(data, indent=1, ensure_ascii=True) + "\n"
        path = directory / f"{hashlib.sha256(body.encode()).hexdigest()[:12]}.json"
        path.write_text(body)
        return path


@dataclass(slots=True)
class Report:
    """What a run gave."""

    seed: int
    requests: int = 0
    elapsed_s: float = 0.0
    slowest_s: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    methods: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    events: int = 0
    memory_before_bytes: int = 0
    memory_peak_bytes: int = 0
    memory_after_bytes: int = 0
    findings: list[Finding] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the figures as text."""
        found = [
            f"seed {self.seed}: {self.requests} requests in {self.elapsed_s:.0f} s, slowest answer {self.slowest_s * 1000:.0f} ms",
            "answers: " + ", ".join(f"{count} x {status or 'closed'}" for status, count in sorted(self.statuses.items())),
            "methods: " + ", ".join(f"{count} {method[:10]}" for method, count in self.methods.most_common(6)),
        ]
        if self.events:
            found.append(f"compared: {self.acknowledged} acknowledged writes with {self.events} states that watchers saw")
        if self.memory_after_bytes:
            after = f"{_mib(self.memory_after_bytes)} after everything was deleted"
            found.append(f"memory: {_mib(self.memory_before_bytes)} before, {_mib(self.memory_peak_bytes)} at most, {after}")
        return [*found, f"findings: {len(self.findings)}"]


async def attack(plane: ControlPlane, *, seed: int, requests: int, within_s: float = 3600.0, workers: int = 8) -> Report:
    """Attack a running control plane, which must be new.

    Args:
        plane: the server; its process is watched, too.
        seed: of the requests.
        requests: how many.
        within_s: the run ends earlier when this is over.
        workers: how many at a time.
    """
    report = Report(seed)
    clock = SystemClock()
    context = tls_context(plane)
    watched = [subject for subject in (*subjects.BUILT_IN, *subjects.CUSTOM) if "v1beta1" not in subject.collection]
    witness = Witness(plane.url, TOKEN, context, [*watched, subjects.DEFINITIONS])
    try:
        await prepare(plane, context)
        await witness.start()
        report.memory_before_bytes = _memory(plane, "VmRSS")
        begin = clock.monotonic()
        numbers = iter(range(requests))
        async with asyncio.TaskGroup() as group:
            for worker in range(workers):
                connection = Connection("127.0.0.1", plane.port, context, TOKEN)
                sender = _Sender(connection, Generator(seed, worker), witness, report)
                group.create_task(sender.run(numbers, begin + within_s))
        report.elapsed_s = clock.monotonic() - begin
        report.findings += [Finding(text, request) for text, request in await witness.verdict()]
        report.findings += [Finding(text) for text in await witness.replayed()]
        report.acknowledged = witness.acknowledged
        report.events = sum(len(story.digests) for story in witness.stories.values())
        report.memory_peak_bytes = _memory(plane, "VmHWM")
        report.findings += [Finding(text) for text in await _clean_up(plane, context, witness)]
        limit = max(report.memory_before_bytes * MEMORY_FACTOR, report.memory_before_bytes + MEMORY_SLACK_BYTES)
        try:
            await eventually(lambda: _memory(plane, "VmRSS") <= limit, _SETTLE_S, "the memory to come down", interval_s=1.0)
        except AssertionError:
            report.findings.append(Finding(f"memory: {_mib(_memory(plane, 'VmRSS'))} are left, {_mib(int(limit))} are allowed"))
        report.memory_after_bytes = _memory(plane, "VmRSS")
    finally:
        await witness.close()
    report.findings += [Finding(f"log: {line}") for line in _bad_lines(plane)]
    return report


def tls_context(plane: ControlPlane) -> ssl.SSLContext:
    """Return what a client of the server trusts."""
    ca_data = kubeconfig.load(plane.kubeconfig).ca_data
    return ssl.create_default_context(cadata=ca_data.decode() if isinstance(ca_data, bytes) else ca_data)


class _Sender:
    """One attacker: a generator, a connection, and what it has seen of the objects that it names."""

    def __init__(self, connection: Connection, generator: Generator, witness: Witness, report: Report) -> None:
        self._connection = connection
        self._generator = generator
        self._witness = witness
        self._report = report
        self._seen: dict[str, tuple[str, str]] = {}
        self._clock = SystemClock()

    async def run(self, numbers: Any, end_s: float) -> None:
        """Attack until the numbers or the time are used up."""
        try:
            for request in self._generator.seeds():
                await self.send(request, -1)
            for number in numbers:
                if self._clock.monotonic() > end_s:
                    return
                await self.send(self._generator.request(), number)
        finally:
            await self._connection.close()

    async def send(self, request: Request, number: int) -> None:
        """Send one request and judge its answer."""
        request = self._informed(request)
        begin = self._clock.monotonic()
        try:
            async with asyncio.timeout(oracle.ANSWER_WITHIN_S + 1):
                response = await self._connection.send(request)
        except TimeoutError:
            response = Response(status=0)
            await self._connection.close()
        elapsed_s = self._clock.monotonic() - begin
        report = self._report
        report.requests += 1
        report.statuses[response.status] += 1
        report.methods[request.method] += 1
        report.slowest_s = max(report.slowest_s, elapsed_s)
        if (problem := oracle.judge(request, response, elapsed_s)) is not None:
            report.findings.append(Finding(problem, request, number))
        self._witness.acknowledge(request, response)
        self._learn(request, response)

    def _informed(self, request: Request) -> Request:
        """Put in what a correct request has to know: the latest resourceVersion and uid of the object that it names."""
        version, uid = self._seen.get(request.target.partition("?")[0], ("1", "x"))
        body = request.body.replace(VERSION_MARK.encode(), version.encode()).replace(UID_MARK.encode(), uid.encode())
        return Request(
            method=request.method,
            target=request.target.replace(VERSION_MARK, version),
            headers=request.headers,
            body=body,
            framing=request.framing,
            watch=request.watch,
        )

    def _learn(self, request: Request, response: Response) -> None:
        if response.status in {200, 201} and request.method in {"POST", "PUT", "PATCH", "GET"} and "dryRun" not in request.target:
            metadata = oracle.document(response).get("metadata")
            if isinstance(metadata, dict) and isinstance(metadata.get("uid"), str) and "resourceVersion" in metadata:
                path = request.target.partition("?")[0]
                known = path if path.endswith(f"/{metadata.get('name')}") else f"{path}/{metadata.get('name')}"
                self._seen[known] = (metadata["resourceVersion"], metadata["uid"])


async def prepare(plane: ControlPlane, context: ssl.SSLContext) -> None:
    """Make the namespaces and the kinds that are attacked."""
    async with _session(plane, context) as session:
        for name in (subjects.NAMESPACE, SENTINEL):
            await _post(session, "/api/v1/namespaces", {"metadata": {"name": name}})
        for definition in subjects.CUSTOM_DEFINITIONS:
            await _post(session, subjects.DEFINITIONS.collection, definition)

        async def served() -> bool:
            for subject in subjects.CUSTOM:
                async with session.get(subject.everywhere) as answer:
                    assert answer.status == 200, subject.everywhere
            return True

        await eventually(served, 10, "the kinds to be served")


async def _post(session: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> None:
    async with session.post(path, json=body) as answer:
        assert answer.status == 201, await answer.text()


def _session(plane: ControlPlane, context: ssl.SSLContext) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(ssl=context)
    return aiohttp.ClientSession(plane.url, headers={"Authorization": f"Bearer {TOKEN}"}, connector=connector)


async def _clean_up(plane: ControlPlane, context: ssl.SSLContext, witness: Witness) -> list[str]:
    """Delete what the attacks have left. What cannot be deleted is a finding."""
    merge = {"Content-Type": "application/merge-patch+json"}
    problems: list[str] = []
    async with _session(plane, context) as session:

        async def left() -> list[str]:
            found = []
            for path, story in witness.stories.items():
                async with session.get(path) as answer:
                    items = (await answer.json())["items"] if answer.status == 200 else []
                for item in items:
                    metadata = item["metadata"]
                    space = metadata.get("namespace")
                    if space not in {subjects.NAMESPACE, None} or not _is_ours(story.subject.kind, metadata):
                        continue
                    own = path.replace(f"/{path.rpartition('/')[2]}", f"/namespaces/{space}/{path.rpartition('/')[2]}") if space else path
                    name = f"{own}/{metadata['name']}"
                    found.append(name)
                    if metadata.get("finalizers"):
                        async with session.patch(name, json={"metadata": {"finalizers": None}}, headers=merge) as answer:
                            await answer.read()
                    async with session.delete(name, json={"gracePeriodSeconds": 0}) as answer:
                        await answer.read()
            return found

        async def empty() -> bool:
            remaining = await left()
            assert not remaining, remaining[:5]
            return True

        try:
            await eventually(empty, 30, "everything to be deleted", interval_s=0.5)
        except AssertionError as error:
            problems.append(f"some objects cannot be deleted: {error}")
        async with session.delete(f"/api/v1/namespaces/{subjects.NAMESPACE}") as answer:
            await answer.read()

        async def gone() -> bool:
            async with session.get(f"/api/v1/namespaces/{subjects.NAMESPACE}") as answer:
                assert answer.status == 404, await answer.text()
            return True

        try:
            await eventually(gone, 30, "the namespace to be deleted", interval_s=0.5)
        except AssertionError as error:
            problems.append(str(error))
    return problems


def _is_ours(kind: str, metadata: dict[str, Any]) -> bool:
    name = metadata["name"]
    if kind == "Namespace":
        return (
            name not in {"default", "kube-system", "kube-public", "kube-node-lease", SENTINEL, subjects.NAMESPACE} and "lattice" not in name
        )
    if kind == "CustomResourceDefinition":
        return bool(name.endswith(f".{subjects.GROUP}") and not name.startswith(("gears.", "planets.")))
    if kind == "ServiceAccount" and name == "default":
        return False
    return not name.startswith(SENTINEL)


def _memory(plane: ControlPlane, which: str) -> int:
    """Return a figure of the server's process from the kernel."""
    for line in Path(f"/proc/{plane.server.pid}/status").read_text().splitlines():
        if line.startswith(f"{which}:"):
            return int(line.split()[1]) * 1024
    return 0


def _bad_lines(plane: ControlPlane) -> list[str]:
    """Return what the server's log says of errors: the last lines of each traceback, each kind of it once."""
    found: Counter[str] = Counter()
    lines = plane.server.log.read_text(errors="replace").splitlines()
    for number, line in enumerate(lines):
        if _TRACEBACK in line:
            end = next((n for n in range(number + 1, len(lines)) if lines[n][:1] not in {" ", ""}), len(lines) - 1)
            found[" | ".join(text.strip() for text in lines[max(number, end - 4) : end + 1])[:700]] += 1
        elif any(text in line for text in _BAD_LOG):
            found[line[25:300]] += 1
    return [f"{count} x {text}" for text, count in found.most_common(20)]


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.0f} MiB"
