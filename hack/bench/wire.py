#!/usr/bin/env python3
"""The API under the load that a real kube-apiserver was measured with, on both stores, beside the limits of this machine, in one run.

    hack/bench/wire.py [--seconds 4] [--rounds 2] [--stores sqlite,etcd] [--kind custom|configmap] [--workers N] [--out FILE]

Server and load generator share the machine, as in the figures of kube-apiserver. Two limits are measured before and after each round,
because a neighbour's noise moves everything: a server that answers a constant over the same HTTP stack (``bare.py``), and, for etcd, the
compare-and-swaps that 32 writers get out of that etcd without Lattice. Quote ratios. Prints Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import ssl
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import grpc.aio
import load
import orjson
import report
import uvloop
import yaml

from controller.store import etcd_messages
from lattice.testing.controlplane import ControlPlane
from lattice.testing.polling import eventually
from lattice.testing.processes import Process, free_port

HERE = Path(__file__).parent
OBJECTS = 5_000
LISTED = 1_000


@dataclass(frozen=True)
class Phase:
    """One row: its name, what a real kube-apiserver 1.36 did (median, from, to; CPU in ms), and how many times that is the aim."""

    name: str
    theirs: float = 0.0
    spread: str = ""
    their_cpu_ms: float = 0.0
    aim: float = 0.0


PHASES = {
    "create 1": Phase("create, 1 client", 306),
    "create 32": Phase("create, 32 clients", 744, "566-942", 2.0, 3),
    "get 32": Phase("get, 32 clients", 1_883, "1,205-2,281", 0.8, 5),
    "list gzip": Phase("list of 1,000, gzip, 4 clients", 24.8, "17-25.5", 75, 5),
    "list plain": Phase("list of 1,000, not compressed, 4 clients", 24.8, "17-25.5", 75, 5),
    "delete 32": Phase("delete, 32 clients", 757, "583-936", 0, 3),
    "watch": Phase("events to 100 watchers", 12_200, "4,300-18,100", 0, 4),
}


@dataclass
class Results:
    """Everything measured with one store."""

    samples: dict[str, load.Sample] = field(default_factory=lambda: {name: load.Sample() for name in PHASES})
    bare: load.Sample = field(default_factory=load.Sample)
    swaps: load.Sample = field(default_factory=load.Sample)
    idle_mb: float = 0.0
    filled_mb: float = 0.0
    end_mb: float = 0.0
    list_bytes: int = 0


async def compare_and_swap(endpoint: str, sample: load.Sample, *, seconds: float, value: bytes, round_: str) -> None:
    """Measure what 32 writers get out of an etcd: create a key if it is not there, nothing else."""
    async with grpc.aio.insecure_channel(endpoint) as channel:
        call = channel.unary_unary(
            "/etcdserverpb.KV/Txn",
            request_serializer=etcd_messages.TxnRequest.SerializeToString,
            response_deserializer=etcd_messages.MESSAGES["TxnResponse"].FromString,
        )

        async def swap(index: int) -> None:
            key = f"/bench/{round_}/{index}".encode()
            absent = etcd_messages.Compare(key=key, target=etcd_messages.MOD, result=etcd_messages.EQUAL, mod_revision=0)
            put = etcd_messages.RequestOp(request_put=etcd_messages.MESSAGES["PutRequest"](key=key, value=value))
            answer = await call(etcd_messages.TxnRequest(compare=[absent], success=[put]))
            assert answer.succeeded

        await load.measure(sample, swap, clients=32, seconds=seconds)


async def one_round(target: load.Target, results: Results, *, seconds: float, label: str) -> None:
    """Measure every phase once."""
    samples, kind = results.samples, target.kind
    created = 0
    for name, clients in (("create 1", 1), ("create 32", 32)):
        offset = created
        created += await target.measure(
            samples[name], lambda index, at=offset: target.create(label, f"new-{at + index}"), clients=clients, seconds=seconds
        )

    async def get(_index: int) -> None:
        await target.send("GET", kind.path("bench", f"object-{random.randrange(LISTED)}"), 200)

    await target.measure(samples["get 32"], get, clients=32, seconds=seconds)
    for name, encoding in (("list gzip", "gzip"), ("list plain", "identity")):
        headers = {"Accept-Encoding": encoding}
        await target.measure(
            samples[name],
            lambda _index, headers=headers: target.send("GET", kind.path("bench"), 200, headers=headers),
            clients=4,
            seconds=seconds,
        )
    await target.measure(
        samples["delete 32"],
        lambda index: target.send("DELETE", kind.path(label, f"new-{index}"), 200),
        clients=32,
        seconds=seconds,
        most=created,
    )
    await target.deliveries(samples["watch"], f"{label}-watched", watchers=100, writes=400)


async def measure_store(store: str, options: argparse.Namespace, directory: Path) -> Results:
    """Start a control plane on ``store`` and measure it."""
    results = Results()
    kind = load.KINDS[options.kind]
    async with ControlPlane(directory, store=store) as plane, contextlib.AsyncExitStack() as stack:
        if options.workers > 1 and store == "etcd":
            plane.server.argv = (*plane.server.argv, "--workers", str(options.workers))
        await plane.start_server()
        await asyncio.sleep(1)
        results.idle_mb = report.memory_mb(plane.server.pid)
        trust = ssl.create_default_context(cafile=str(plane.data_dir / "tls" / "ca.crt"))
        connector = aiohttp.TCPConnector(ssl=trust, limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, auto_decompress=False))
        target = load.Target(session, plane.url, plane.server.pid, kind)
        bare_port = free_port()
        tls = plane.data_dir / "tls"
        bare_arguments = (sys.executable, str(HERE / "bare.py"), str(bare_port), str(tls / "server.crt"), str(tls / "server.key"))
        bare = Process(bare_arguments, log=directory / "bare.log")
        bare.start()
        stack.push_async_callback(bare.stop)
        limit = load.Target(session, f"https://127.0.0.1:{bare_port}", bare.pid, kind)

        async def answers() -> bool:
            with contextlib.suppress(aiohttp.ClientError):
                return bool(await limit.send("GET", "/", 200))
            return False

        async def limits(label: str) -> None:
            await limit.measure(
                results.bare, lambda index: limit.send("POST", "/", 200, kind.make(f"o-{index}")), clients=32, seconds=options.seconds
            )
            if plane.etcd is not None:
                value = kind.make("object") * 2  # about what is stored, with managedFields
                await compare_and_swap(plane.etcd.endpoint, results.swaps, seconds=options.seconds, value=value, round_=label)

        await eventually(answers, 10, "the bare server")
        if options.kind == "custom":
            definition = orjson.dumps(yaml.safe_load((HERE / "specimen.yaml").read_text()))
            await target.send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", 201, definition)
        for namespace in ("bench", "filled", *(f"round-{n}{end}" for n in range(options.rounds) for end in ("", "-watched"))):
            body = orjson.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
            await target.send("POST", "/api/v1/namespaces", 201, body)
        await target.fill("bench", LISTED)
        await target.fill("filled", OBJECTS - LISTED)
        await asyncio.sleep(1)
        results.filled_mb = report.memory_mb(plane.server.pid)
        results.list_bytes = len(await target.send("GET", kind.path("bench"), 200, headers={"Accept-Encoding": "identity"}))
        await limits("first")
        for number in range(options.rounds):
            await one_round(target, results, seconds=options.seconds, label=f"round-{number}")
            await limits(f"after-{number}")
        results.end_mb = report.memory_mb(plane.server.pid)
    return results


HEADERS = (
    "operation", "Lattice /s", "of each round", "p50 / p99 ms", "server CPU ms each", "of the bare limit",
    "kube-apiserver 1.36 /s (all its runs)", "its CPU ms", "times kube-apiserver", "aim",
)  # fmt: skip


def row(key: str, results: Results) -> tuple[str, ...]:
    """Return the row of a phase."""
    phase, sample = PHASES[key], results.samples[key]
    spread = f" ({phase.spread})" if phase.spread else ""
    return (
        phase.name,
        report.number(sample.rate),
        ", ".join(map(report.number, sample.rates)),
        f"{report.number(report.quantile(sample.took_ms, 0.5))} / {report.number(report.quantile(sample.took_ms, 0.99))}",
        f"{sample.cpu:.3f}",
        f"{sample.rate / results.bare.rate:.2f}",
        report.number(phase.theirs) + spread,
        f"{phase.their_cpu_ms:g}" if phase.their_cpu_ms else "",
        f"**{sample.rate / phase.theirs:.1f}**",
        f"{phase.aim:g}" if phase.aim else "",
    )


def render(found: dict[str, Results], options: argparse.Namespace, neighbours: float) -> list[str]:
    """Return the report."""
    lines = [
        "# The wire API under load",
        "",
        f"`hack/bench/wire.py`: {report.machine()}; {options.rounds} rounds of {options.seconds:g} s a row, medians; kind: {options.kind}. "
        "TLS, every write durable, load generator on the same cores. kube-apiserver 1.36 with etcd 3.6 was measured under the same shape "
        "of load on another day, on such a machine.",
        "",
        f"**Other programs used {neighbours:.0%} of the machine meanwhile.** Above some 10 % only the ratio to the bare limit "
        "says something of Lattice; the CPU is too high then.",
    ]
    for store, results in found.items():
        workers = f", {options.workers} workers" if options.workers > 1 and store == "etcd" else ""
        rates = results.bare.rates
        lines += ["", f"## {store}{workers}", "", *report.table(HEADERS, (row(key, results) for key in PHASES)), ""]
        lines.append(
            f"The limits in the same minutes, lowest and highest: a constant over the same HTTP stack, 32 clients: "
            f"{min(rates):,.0f} to {max(rates):,.0f}/s."
        )
        if results.swaps.rates:
            swaps, creates = results.swaps.rates, results.samples["create 32"].rate
            lines.append(
                f"That etcd alone, compare-and-swap by 32 writers: {min(swaps):,.0f} to {max(swaps):,.0f}/s; "
                f"creates through Lattice are **{creates / results.swaps.rate:.0%}** of its median (aim: 60 %)."
            )
    return [
        *lines,
        "",
        "## Memory",
        "",
        "Resident, in MB. A real kube-apiserver: 283 idle, 746 after 5,000 custom resources; aims: 130 and 186.",
        "",
        *report.table(
            ["store", "idle", f"after {OBJECTS:,} objects", "after everything", "a list of 1,000, bytes"],
            [(store, f"{r.idle_mb:.0f}", f"{r.filled_mb:.0f}", f"{r.end_mb:.0f}", f"{r.list_bytes:,}") for store, r in found.items()],
        ),
    ]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--stores", default="sqlite,etcd")
    parser.add_argument("--kind", choices=sorted(load.KINDS), default="custom")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = {}
    neighbours = report.Neighbours()
    with tempfile.TemporaryDirectory(prefix="lattice-bench-") as name:
        for store in options.stores.split(","):
            found[store] = await measure_store(store, options, Path(name) / store)
    report.publish(render(found, options, neighbours.share()), options.out)


if __name__ == "__main__":
    uvloop.run(main())
