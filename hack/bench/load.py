"""The load generator of wire.py: so many clients that call as fast as they can, and watchers that time what they get.

As little of a client as possible: aiohttp, bytes in and out, no retry. It shares the machine with the server, as the figures of a real
kube-apiserver do that Lattice is compared with.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import report

from lattice.testing.polling import eventually

HEADERS = {"Authorization": "Bearer admin-token", "Content-Type": "application/json"}
SENT = b'"sent":"'
"""Where a watcher finds the time at which the writer sent the object."""


@dataclass
class Sample:
    """What one phase has measured, over all rounds."""

    rates: list[float] = field(default_factory=list)
    took_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return report.middle(self.rates)

    @property
    def cpu(self) -> float:
        return report.middle(self.cpu_ms)


@dataclass(frozen=True)
class Kind:
    """What is created, read and deleted."""

    prefix: str
    plural: str
    body: Mapping[str, Any]

    def path(self, namespace: str, name: str = "") -> str:
        return f"{self.prefix}/namespaces/{namespace}/{self.plural}" + (f"/{name}" if name else "")

    def make(self, name: str, sent: str = "0") -> bytes:
        return orjson.dumps(
            {**self.body, "metadata": {"name": name, "labels": {"app": "bench", "name": name}, "annotations": {"sent": sent}}}
        )


WORDS = ("postgres", "registry.example.dev/team/service", "http://other.default.svc:8080/path?query=1", "eu-central", "a-rather-long-value")
ENV = [{"name": f"VARIABLE_{index}", "value": f"{WORDS[index % 5]}-{index}"} for index in range(8)]
PORTS = [{"containerPort": 8080 + index, "protocol": "TCP", "name": f"port-{index}"} for index in range(2)]
SPEC = {
    "image": "registry.example.dev/team/service:1.2.3",
    "mode": "Fast",
    "env": ENV,
    "ports": PORTS,
    "resources": {"cpu": "100m", "memory": "64Mi"},
}
DATA = {f"key-{index}": f"{WORDS[index % 5]}-{index}" * 2 for index in range(10)}
KINDS = {
    "custom": Kind(
        "/apis/bench.example.dev/v1", "benchspecimens", {"apiVersion": "bench.example.dev/v1", "kind": "BenchSpecimen", "spec": SPEC}
    ),
    "configmap": Kind("/api/v1", "configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "data": DATA}),
}


async def measure(sample: Sample, call: Callable[[int], Awaitable[object]], *, clients: int, seconds: float, most: int = 10**9) -> int:
    """Call as fast as so many clients can, at most so often; return how often that was."""
    numbers = iter(range(most))
    took: list[float] = []
    begin = time.perf_counter()
    end = begin + seconds

    async def client() -> None:
        while (start := time.perf_counter()) < end and (index := next(numbers, None)) is not None:
            await call(index)
            took.append((time.perf_counter() - start) * 1000)

    await asyncio.gather(*(client() for _ in range(clients)))
    sample.rates.append(len(took) / (time.perf_counter() - begin))
    sample.took_ms += took
    return len(took)


class Target:
    """A server under load."""

    def __init__(self, session: aiohttp.ClientSession, url: str, pid: int, kind: Kind) -> None:
        self.session, self.url, self.pid, self.kind = session, url, pid, kind

    async def send(
        self, method: str, path: str, expected: int, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        async with self.session.request(method, self.url + path, data=body, headers={**HEADERS, **(headers or {})}) as answer:
            content = await answer.read()
            if answer.status != expected:
                raise RuntimeError(f"{method} {path}: {answer.status} {content[:500]!r}")
            return content

    async def create(self, namespace: str, name: str) -> None:
        await self.send("POST", self.kind.path(namespace), 201, self.kind.make(name))

    async def fill(self, namespace: str, count: int, *, clients: int = 32) -> None:
        """Create so many objects."""
        numbers = iter(range(count))

        async def client() -> None:
            for index in numbers:
                await self.create(namespace, f"object-{index}")

        await asyncio.gather(*(client() for _ in range(clients)))

    async def measure(
        self, sample: Sample, call: Callable[[int], Awaitable[object]], *, clients: int, seconds: float, most: int = 10**9
    ) -> int:
        """As :func:`measure`, with the CPU time that the server spends on each call."""
        cpu = report.cpu_ms(self.pid)
        done = await measure(sample, call, clients=clients, seconds=seconds, most=most)
        sample.cpu_ms.append((report.cpu_ms(self.pid) - cpu) / max(done, 1))
        return done

    async def deliveries(self, sample: Sample, namespace: str, *, watchers: int, writes: int, at_once: int = 8) -> None:
        """Count what watchers of the whole kind get while objects are created; ``took_ms`` is from before the write to the reader."""
        ready = 0
        delays: list[float] = []
        timeout = aiohttp.ClientTimeout(total=None)
        path = f"{self.kind.prefix}/{self.kind.plural}?watch=1&resourceVersion={await self._revision(namespace)}"

        async def watch() -> None:
            nonlocal ready
            async with self.session.get(self.url + path, headers=HEADERS, timeout=timeout) as answer:
                assert answer.status == 200, await answer.text()
                ready += 1
                seen, rest = 0, b""
                async for chunk in answer.content.iter_any():
                    now = time.time()
                    *lines, rest = (rest + chunk).split(b"\n")
                    delays.extend((now - float(line.split(SENT, 1)[1][:17])) * 1000 for line in lines)
                    seen += len(lines)
                    if seen >= writes:
                        return

        tasks = [asyncio.ensure_future(watch()) for _ in range(watchers)]
        await eventually(lambda: ready == watchers, 30, "all watches to stand")
        cpu = report.cpu_ms(self.pid)
        begin = time.perf_counter()

        async def write(index: int) -> None:
            await self.send("POST", self.kind.path(namespace), 201, self.kind.make(f"watched-{index}", f"{time.time():017.6f}"))

        for index in range(0, writes, at_once):
            await asyncio.gather(*(write(number) for number in range(index, min(index + at_once, writes))))
        await asyncio.wait_for(asyncio.gather(*tasks), 120)
        sample.rates.append(len(delays) / (time.perf_counter() - begin))
        sample.cpu_ms.append((report.cpu_ms(self.pid) - cpu) / len(delays))
        sample.took_ms += delays

    async def _revision(self, namespace: str) -> str:
        body = await self.send("GET", f"{self.kind.path(namespace)}?limit=1", 200)
        return str(orjson.loads(body)["metadata"]["resourceVersion"])
