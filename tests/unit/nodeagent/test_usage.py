"""What is used: rates out of counters, measured when somebody asks and no oftener."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.machinery.clock import SystemClock
from nodeagent import machine
from nodeagent.runtime import base
from nodeagent.runtime.docker_disk import container_stats
from nodeagent.runtime.fake import FakeRuntime
from nodeagent.usage import plan
from nodeagent.usage.shell import UsageMeter
from nodeagent.workloads.observed import ContainerTable

MIB = 1024**2


def sample(at_s: float, cpu_s: float, memory_bytes: int = MIB) -> plan.Sample:
    return plan.Sample(at_s=at_s, cpu_s=cpu_s, memory_bytes=memory_bytes)


def test_a_rate_is_cpu_time_over_time() -> None:
    assert plan.usage(sample(10, 1.0), sample(20, 6.0, 3 * MIB)) == plan.Usage(cpu_nanocores=500_000_000, memory_bytes=3 * MIB, window_s=10)


@pytest.mark.parametrize("before", [None, sample(20, 1), sample(21, 1), sample(10, 9)])
def test_two_samples_that_make_no_rate_make_none(before: plan.Sample | None) -> None:
    assert plan.usage(before, sample(20, 2)) is None


@given(st.floats(0, 1e6), st.floats(0.01, 1e4), st.floats(0, 1e6), st.floats(0, 1e4))
def test_a_rate_is_never_negative(at_s: float, later_s: float, cpu_s: float, more_s: float) -> None:
    found = plan.usage(sample(at_s, cpu_s), sample(at_s + later_s, cpu_s + more_s))
    assert found is not None
    assert found.cpu_nanocores >= 0


def test_the_working_set_leaves_out_cache_that_was_not_used_lately() -> None:
    one = {"usage": 100, "stats": {"total_inactive_file": 30, "inactive_file": 1}}
    two = {"usage": 100, "stats": {"inactive_file": 40}}
    networks = {"eth0": {"rx_bytes": 5, "tx_bytes": 6}, "eth1": {"rx_bytes": 1, "tx_bytes": 1}}
    data = {"cpu_stats": {"cpu_usage": {"total_usage": 1_500_000_000}}, "pids_stats": {"current": 3}, "networks": networks}
    assert container_stats({**data, "memory_stats": one}) == base.ContainerStats(
        cpu_s=1.5, memory_bytes=100, working_set_bytes=70, pids=3, received_bytes=6, sent_bytes=7
    )
    assert container_stats({**data, "memory_stats": two}).working_set_bytes == 60
    assert container_stats({"read": "0001-01-01T00:00:00Z", "memory_stats": {}}).memory_bytes == 0  # it does not run


class Node:
    """A node with a Pod of two containers and a container that holds its network, under fake time."""

    def __init__(self) -> None:
        self.clock = SystemClock()  # looptime makes its time fake
        self.runtime = FakeRuntime(self.clock)
        self.table = ContainerTable("n")
        self.meter = UsageMeter(self.runtime, self.table, self.clock)

    async def add(self, name: str) -> base.ContainerId:
        labels = {
            base.LABEL_NODE: "n", base.LABEL_POD_UID: "u1", base.LABEL_POD_NAME: "web", base.LABEL_POD_NAMESPACE: "default",
            base.LABEL_CONTAINER: name,
        }  # fmt: skip
        made = await self.runtime.create(base.ContainerConfig(name=name, image="busybox:latest", labels=labels))
        await self.runtime.start(made)
        self.table.put(await self.runtime.inspect(made))
        self.table.available = True
        return made

    def use(self, name: str, cpu_s: float, memory_bytes: int = MIB) -> None:
        self.runtime.figures.stats[name] = base.ContainerStats(cpu_s=cpu_s, memory_bytes=memory_bytes, working_set_bytes=memory_bytes)


@pytest.fixture
async def here(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Node]:
    monkeypatch.setattr(machine, "cpu_seconds", lambda: 100.0)
    monkeypatch.setattr(machine, "memory", lambda: machine.Memory(size_bytes=8 * MIB, available_bytes=6 * MIB))
    made = Node()
    yield made
    await made.runtime.close()


@pytest.mark.looptime
async def test_the_first_answer_takes_a_second_and_the_next_none(here: Node, looptime: Any) -> None:
    for name in ("main", "side", "POD"):
        await here.add(name)
    here.use("main", 1.0)
    asked = asyncio.ensure_future(here.meter.answer({"kind": "usage"}))
    await here.clock.sleep(0.5)
    here.use("main", 1.25, 5 * MIB)
    found = await asked
    assert looptime == pytest.approx(1.0, abs=0.01)
    (pod,) = found["pods"]
    assert (pod["namespace"], pod["name"], pod["uid"]) == ("default", "web", "u1")
    assert [each["name"] for each in pod["containers"]] == ["main", "side"]  # who only holds the network is nobody's
    assert pod["containers"][0]["cpuNanocores"] == pytest.approx(250_000_000, rel=0.02)
    assert pod["containers"][0]["memoryBytes"] == 5 * MIB
    assert found["node"]["memoryBytes"] == 2 * MIB
    calls = here.runtime.calls
    assert await here.meter.answer({}) == found
    assert here.runtime.calls == calls  # within five seconds, nothing is measured again


@pytest.mark.looptime
async def test_a_later_answer_counts_since_the_one_before(here: Node, looptime: Any) -> None:
    await here.add("main")
    here.use("main", 1.0)
    await here.meter.measure()
    await here.clock.sleep(20)
    here.use("main", 11.0)
    before_s = here.clock.monotonic()
    (found,) = (await here.meter.measure()).containers
    assert here.clock.monotonic() == pytest.approx(before_s, abs=0.01)
    assert found.usage is not None
    assert found.usage.cpu_nanocores == pytest.approx(500_000_000, rel=0.02)
    await here.clock.sleep(1000)  # too long ago to say anything of now
    here.use("main", 500.0)
    (found,) = (await here.meter.measure()).containers
    assert found.usage is not None
    assert found.usage.window_s == pytest.approx(1.0, abs=0.05)


@pytest.mark.looptime
async def test_who_asks_meanwhile_waits_for_the_measurement_under_way(here: Node) -> None:
    await here.add("main")
    found = await asyncio.gather(*(here.meter.measure() for _ in range(10)))
    assert all(each is found[0] for each in found)


@pytest.mark.looptime
async def test_a_container_that_ends_meanwhile_is_left_out(here: Node) -> None:
    await here.add("main")
    gone = await here.add("side")
    asked = asyncio.ensure_future(here.meter.measure())
    await here.clock.sleep(0.5)
    await here.runtime.remove(gone)
    assert [each.name for each in (await asked).containers] == ["main"]


async def test_without_the_engine_there_is_no_answer(here: Node) -> None:
    with pytest.raises(base.RuntimeUnavailableError):
        await here.meter.answer({})
