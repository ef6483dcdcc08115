#!/usr/bin/env python
"""How fast the store's two back ends are: create, update (CAS) and transactions of 100, at 1, 32 and 256 writers; beside a busy loop.

    python hack/bench/store.py [--seconds 1.0] [--rounds 2] [--directory DIR] [--output hack/bench/results/store.md]

Both back ends take turns within each round, so that a noisy neighbour hits both; figures are medians of the rounds. The limit of the disk
(fdatasync of a small append) is measured in the same run, because "slow store" and "slow disk" look the same. Prints Markdown.
Without an etcd, only SQLite is measured.
"""

import argparse
import asyncio
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import report

from controller.store import base
from controller.store.etcd import EtcdConfig, EtcdStore
from controller.store.sqlite import open_sqlite
from lattice.machinery.clock import SystemClock
from lattice.testing.etcd import EtcdServer, find_etcd

VALUE = bytes(1024)
WRITERS = (1, 32, 256)
BUSY_US = (200, 1000)
BUSY_WRITERS = (1, 32)
Work = Callable[[base.Store, str, int], Awaitable[int]]


async def create(store: base.Store, key: str, number: int) -> int:
    result = await store.txn([base.Put(f"{key}/{number}", VALUE, expected=base.NO_REVISION)])
    assert result.committed
    return 1


async def update(store: base.Store, key: str, _number: int) -> int:
    record = await store.get(key)
    expected = record.mod_revision if record else base.NO_REVISION
    result = await store.txn([base.Put(key, VALUE, expected=expected)])
    assert result.committed
    return 1


async def batch(store: base.Store, key: str, _number: int) -> int:
    result = await store.txn([base.Put(f"{key}/{index}", VALUE) for index in range(100)])
    assert result.committed
    return 100


CASES: tuple[tuple[str, Work, tuple[int, ...]], ...] = (
    ("create", create, WRITERS),
    ("read, then update by CAS", update, WRITERS),
    ("transaction of 100 (keys/s)", batch, (1, 8)),
)
BUSY_CASES = tuple((f"create, loop busy {busy_us} µs a turn", busy_us) for busy_us in BUSY_US)


async def burn(busy_us: int) -> None:
    """Take so much CPU in each turn of the event loop: what an API server under load does to the store that shares its loop."""
    while True:
        end = time.perf_counter() + busy_us / 1e6
        while time.perf_counter() < end:
            pass
        await asyncio.sleep(0)


async def measure(store: base.Store, work: Work, writers: int, seconds: float, label: str, busy_us: int = 0) -> tuple[float, list[float]]:
    """Return keys per second, and the latency of each operation in milliseconds."""
    burner = asyncio.create_task(burn(busy_us)) if busy_us else None
    done, latencies = 0, []
    started = time.perf_counter()
    end = started + seconds

    async def writer(index: int) -> None:
        nonlocal done
        number = 0
        while (before := time.perf_counter()) < end:
            keys = await work(store, f"/lattice/bench/{label}/{index}", number)
            done += keys  # not in one line: `done` would be read before the await
            latencies.append((time.perf_counter() - before) * 1000)
            number += 1

    async with asyncio.TaskGroup() as group:
        for index in range(writers):
            group.create_task(writer(index))
    elapsed = time.perf_counter() - started
    if burner is not None:
        burner.cancel()
    return done / elapsed, latencies


def disk_limit(directory: Path, seconds: float) -> tuple[float, float]:
    """Return fdatasyncs per second and their median in milliseconds."""
    latencies = []
    with (directory / "fsync").open("wb", buffering=0) as file:
        end = time.perf_counter() + seconds
        while (before := time.perf_counter()) < end:
            file.write(VALUE)
            os.fdatasync(file.fileno())
            latencies.append((time.perf_counter() - before) * 1000)
    return len(latencies) / seconds, statistics.median(latencies)


async def run(arguments: argparse.Namespace, directory: Path) -> list[str]:
    load = os.getloadavg()[0]
    syncs, sync_ms = disk_limit(directory, 1.0)
    stores: dict[str, base.Store] = {"SQLite": await open_sqlite(directory / "main.db")}
    server = None
    version = "not there"
    if find_etcd() is not None:
        server = EtcdServer(directory / "etcd", ["--quota-backend-bytes=8589934592"])
        await server.start()
        stores["etcd"] = await EtcdStore.connect(EtcdConfig(endpoints=(server.endpoint,)), SystemClock())
        probe = await asyncio.create_subprocess_exec(find_etcd() or "etcd", "--version", stdout=asyncio.subprocess.PIPE)
        version = (await probe.communicate())[0].decode().split("\n")[0].removeprefix("etcd Version: ")
    rates: dict[tuple[str, int, str], list[float]] = {}
    times: dict[tuple[str, int, str], list[float]] = {}
    try:
        for round_ in range(arguments.rounds):
            for name, work, counts in CASES:
                for writers in counts:
                    for kind in sorted(stores, reverse=bool(round_ % 2)):
                        label = f"{round_}-{work.__name__}-{writers}"
                        rate, latencies = await measure(stores[kind], work, writers, arguments.seconds, label)
                        rates.setdefault((name, writers, kind), []).append(rate)
                        times.setdefault((name, writers, kind), []).extend(latencies)
            for name, busy_us in BUSY_CASES:
                for writers in BUSY_WRITERS:
                    for kind in sorted(stores, reverse=bool(round_ % 2)):
                        label = f"{round_}-busy-{busy_us}-{writers}"
                        rate, latencies = await measure(stores[kind], create, writers, arguments.seconds, label, busy_us)
                        rates.setdefault((name, writers, kind), []).append(rate)
                        times.setdefault((name, writers, kind), []).extend(latencies)
    finally:
        for store in stores.values():
            await store.close()
        if server is not None:
            await server.stop()
    headers = ["operation", "writers", *(f"{kind} {what}" for kind in stores for what in ("/s", "p50 ms", "p99 ms", "worst ms")), "ratio"]
    lines = [
        "# Store: operations per second",
        "",
        f"`hack/bench/store.py`, {arguments.rounds} interleaved rounds of {arguments.seconds:g} s, values of 1 KiB, medians. "
        f"{os.cpu_count()} cores, load average {load:.1f} before and {os.getloadavg()[0]:.1f} after, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version} (synchronous=FULL), etcd {version}.",
        "",
        f"The disk in the same run: {syncs:,.0f} fdatasync/s of 1 KiB, median {sync_ms:.2f} ms. On a slower disk a lone writer falls to "
        "about that rate with either back end; only many writers at once gain from group commit.",
        "",
    ]
    rows = []
    for name, counts in [(name, counts) for name, _, counts in CASES] + [(name, BUSY_WRITERS) for name, _ in BUSY_CASES]:
        for writers in counts:
            cells: list[str] = []
            for kind in stores:
                taken = times[name, writers, kind]
                middle, late = report.quantile(taken, 0.5), report.quantile(taken, 0.99)
                rate = report.middle(rates[name, writers, kind])
                cells += [f"{rate:,.0f}", f"{middle:.2f}", f"{late:.1f}", f"{max(taken):.0f}"]
            medians = [report.middle(rates[name, writers, kind]) for kind in stores]
            rows.append((name, str(writers), *cells, f"{medians[0] / medians[-1]:.1f}"))
    return [*lines, *report.table(headers, rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--directory", type=Path, help="where to write; by default a new directory below the one for temporary files")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        lines = asyncio.run(run(arguments, Path(directory)))
    report.publish(lines, arguments.output)


if __name__ == "__main__":
    main()
