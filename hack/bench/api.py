#!/usr/bin/env python3
"""Create, get, list and watch through the API, beside a bare HTTPS server in the same run.

    hack/bench/api.py [--seconds 5] [--store sqlite|etcd] [--out FILE]

Server and load generator share the machine's cores, as in the figures of a real kube-apiserver that we compare ourselves with
(docs/reference/performance.md). The bare server (aiohttp, TLS, one constant answer of an object's size) is the limit of this HTTP stack on
this machine in this minute: quote the ratio, not the absolute figure.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import orjson

from lattice.testing.cluster import LocalCluster
from lattice.testing.polling import eventually
from lattice.testing.processes import Process, free_port

HEADERS = {"Authorization": "Bearer admin-token", "Content-Type": "application/json"}
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PAYLOAD = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"payload": "x" * 700}}
BARE = """
import asyncio, ssl, sys
from aiohttp import web
try:
    import uvloop; uvloop.install()
except ImportError:
    pass
BODY = b'{"x":"' + b'x' * 1000 + b'"}'
async def answer(request):
    await request.read()
    return web.Response(body=BODY, content_type="application/json")
async def main(port, cert, key):
    app = web.Application(); app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app, access_log=None); await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH); context.load_cert_chain(cert, key)
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    await asyncio.Event().wait()
asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
"""

Call = Callable[[int], Awaitable[None]]


async def load(call: Call, *, clients: int, seconds: float) -> tuple[float, float, float]:
    """Call as fast as so many clients can, and return calls per second and p50 and p99 in milliseconds."""
    took: list[float] = []
    numbers = iter(range(10**9))
    end = time.perf_counter() + seconds

    async def client() -> None:
        while (start := time.perf_counter()) < end:
            await call(next(numbers))
            took.append((time.perf_counter() - start) * 1000)

    begin = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    took.sort()
    return len(took) / (time.perf_counter() - begin), statistics.median(took), took[int(len(took) * 0.99)]


class Api:
    """Plain calls, with as little of a client as possible."""

    def __init__(self, session: aiohttp.ClientSession, url: str, prefix: str) -> None:
        self.session, self.url, self.prefix = session, url, prefix

    async def create(self, number: int) -> None:
        body = orjson.dumps({**PAYLOAD, "metadata": {"name": f"{self.prefix}-{number}"}})
        await self.send("POST", CONFIGMAPS, body, 201)

    async def get(self, number: int) -> None:
        await self.send("GET", f"{CONFIGMAPS}/thousand-{number % 1000}", b"", 200)

    async def list(self, _number: int) -> None:
        await self.send("GET", f"{CONFIGMAPS}?labelSelector=set%3Dthousand", b"", 200)

    async def bare(self, _number: int) -> None:
        await self.send("POST", "/", orjson.dumps(PAYLOAD), 200)

    async def send(self, method: str, path: str, body: bytes, expected: int) -> None:
        async with self.session.request(method, self.url + path, data=body or None, headers=HEADERS) as answer:
            await answer.read()
            assert answer.status == expected, answer.status


async def deliveries(session: aiohttp.ClientSession, url: str, *, watchers: int, writes: int) -> tuple[float, float]:
    """Return events delivered per second to so many watchers, and the median delay in milliseconds."""
    delays: list[float] = []
    ready = 0

    async def watch() -> None:
        nonlocal ready
        timeout = aiohttp.ClientTimeout(total=None)
        async with session.get(f"{url}/api/v1/namespaces/kube-system/configmaps?watch=1", headers=HEADERS, timeout=timeout) as answer:
            ready += 1
            seen = 0
            async for line in answer.content:
                sent = orjson.loads(line)["object"].get("data", {}).get("sent")
                if sent:
                    delays.append((time.time() - float(sent)) * 1000)
                    seen += 1
                    if seen == writes:
                        return

    tasks = [asyncio.ensure_future(watch()) for _ in range(watchers)]
    await eventually(lambda: ready == watchers, 30, "all watches to stand")
    begin = time.perf_counter()

    async def write(number: int) -> None:
        body = orjson.dumps({**PAYLOAD, "metadata": {"name": f"w-{number}"}, "data": {"sent": str(time.time())}})
        path = "/api/v1/namespaces/kube-system/configmaps"
        async with session.post(url + path, data=body, headers=HEADERS) as answer:
            assert answer.status == 201, await answer.text()

    for number in range(0, writes, 8):
        await asyncio.gather(*(write(n) for n in range(number, min(number + 8, writes))))
    await asyncio.wait_for(asyncio.gather(*tasks), 60)
    return len(delays) / (time.perf_counter() - begin), statistics.median(delays)


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process in megabytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--store", choices=["sqlite", "etcd"], default="sqlite")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows: list[tuple[str, str, str, str]] = []
    with tempfile.TemporaryDirectory(prefix="lattice-bench-") as name:
        directory = Path(name)
        async with (
            LocalCluster(directory, docker_host="unix:///nonexistent", store=options.store) as cluster,
            contextlib.AsyncExitStack() as stack,
        ):
            if cluster.etcd is not None:
                await cluster.etcd.start()
            await cluster.start_server()
            idle = memory_mb(cluster.server.pid)
            insecure = ssl.create_default_context()
            insecure.check_hostname, insecure.verify_mode = (
                False,
                ssl.CERT_NONE,
            )  # the bare server has the same certificate; not the subject
            connector = aiohttp.TCPConnector(ssl=insecure, limit=0)
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            bare_port = free_port()
            tls = cluster.data_dir / "tls"
            arguments = (sys.executable, "-c", BARE, str(bare_port), str(tls / "server.crt"), str(tls / "server.key"))
            bare = Process(arguments, log=directory / "bare.log")
            bare.start()
            stack.push_async_callback(bare.stop)
            reference = Api(session, f"https://127.0.0.1:{bare_port}", "")

            async def answers() -> bool:
                with contextlib.suppress(aiohttp.ClientError):
                    await reference.bare(0)
                    return True
                return False

            await eventually(answers, 10, "the bare server")
            thousand = [{**PAYLOAD, "metadata": {"name": f"thousand-{n}", "labels": {"set": "thousand"}}} for n in range(1000)]
            api = Api(session, cluster.url, "warm")
            for start in range(0, 1000, 50):
                await asyncio.gather(*(api.send("POST", CONFIGMAPS, orjson.dumps(o), 201) for o in thousand[start : start + 50]))
            bare_rates: dict[int, float] = {}
            for clients in (1, 32):
                bare_rates[clients], p50, p99 = await load(reference.bare, clients=clients, seconds=options.seconds)
                rows.append((f"bare HTTPS request, {clients} clients", f"{bare_rates[clients]:.0f}/s", "1.00", f"{p50:.1f} / {p99:.1f}"))
                for what in ("create", "get"):
                    calls = Api(session, cluster.url, f"{what}-{clients}")
                    rate, p50, p99 = await load(getattr(calls, what), clients=clients, seconds=options.seconds)
                    ratio = rate / bare_rates[clients]
                    rows.append((f"{what}, {clients} clients", f"{rate:.0f}/s", f"{ratio:.2f}", f"{p50:.1f} / {p99:.1f}"))
            rate, p50, p99 = await load(api.list, clients=4, seconds=options.seconds)
            rows.append(("list of 1,000 objects, 4 clients", f"{rate:.1f}/s", "", f"{p50:.1f} / {p99:.1f}"))
            rate, delay = await deliveries(session, cluster.url, watchers=100, writes=400)
            rows.append(("watch deliveries, 100 watchers", f"{rate:.0f}/s", "", f"{delay:.1f}"))
            loaded = memory_mb(cluster.server.pid)
    lines = [
        f"### API, store {options.store}, {options.seconds:g} s a row, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
        "",
        "| | rate | of the bare server | p50 / p99 ms |",
        "| --- | --- | --- | --- |",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        f"Resident memory of the control plane: {idle:.0f} MB at start, {loaded:.0f} MB after all of this.",
        "",
    ]
    text = "\n".join(lines)
    print(text)
    if options.out:
        with options.out.open("a") as out:
            out.write(text + "\n")


if __name__ == "__main__":
    asyncio.run(main())
