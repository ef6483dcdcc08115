"""Leader election: two candidates, a cut line, jumping clocks, a sleeping machine, stopping."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest

from lattice.api import errors, meta
from lattice.api.lease import Lease
from lattice.machinery.leaderelection import ElectionSettings, LeaderElector
from lattice.testing.clock import FakeClock


class LeaseServer:
    """One server; each candidate talks to it through its own :class:`Line`."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.revision = 0

    def get(self) -> Lease:
        if self.lease is None:
            raise errors.NotFoundError("no lease")
        return self.lease

    def store(self, lease: Lease) -> Lease:
        self.revision += 1
        self.lease = meta.changed(lease, metadata=meta.changed(lease.metadata, resource_version=str(self.revision)))
        return self.lease

    @property
    def holder(self) -> str:
        return (self.lease.spec.holder_identity or "") if self.lease else ""


class Line:
    """Implements ``LeaseClient``. Cut: every call fails. Stuck: every call hangs."""

    def __init__(self, server: LeaseServer) -> None:
        self.server = server
        self.cut = False
        self.stuck = False
        self.writes = 0

    async def get(self, name: str, namespace: str) -> Lease:
        await self._carry()
        return self.server.get()

    async def create(self, lease: Lease) -> Lease:
        await self._carry()
        if self.server.lease is not None:
            raise errors.AlreadyExistsError("there is one")
        self.writes += 1
        return self.server.store(lease)

    async def replace(self, lease: Lease) -> Lease:
        await self._carry()
        if lease.metadata.resource_version != self.server.get().metadata.resource_version:
            raise errors.ConflictError("changed")
        self.writes += 1
        return self.server.store(lease)

    async def _carry(self) -> None:
        await asyncio.sleep(0)  # noqa: TID251 - yields, as a real call does
        if self.cut:
            raise errors.UnavailableError("cut")
        if self.stuck:
            await asyncio.Event().wait()


class Candidate:
    """An elector on its own machine, whose leader records when it runs."""

    def __init__(self, name: str, server: LeaseServer, clock: FakeClock) -> None:
        self.clock = clock
        self.line = Line(server)
        self.seen: list[str] = []
        self.elector = LeaderElector(
            self.line,
            name="controllers",
            namespace="kube-system",
            identity=name,
            clock=clock,
            rng=random.Random(name),
            on_new_leader=self.seen.append,
        )
        self.working = False
        self.terms = 0
        self.cleanup_s = 0.0
        self.failure: Exception | None = None
        self.finish = asyncio.Event()

    async def lead(self) -> None:
        assert not self.working, "led twice at once"
        self.working = True
        self.terms += 1
        try:
            await self.finish.wait()
            if self.failure is not None:
                raise self.failure
        finally:
            if self.cleanup_s:
                await self.clock.sleep(self.cleanup_s)
            self.working = False


@contextlib.asynccontextmanager
async def running(*candidates: Candidate) -> AsyncIterator[list[asyncio.Task[None]]]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(candidate.elector.run(candidate.lead)) for candidate in candidates]
        try:
            yield tasks
        finally:
            for task in tasks:
                task.cancel()
            for candidate in candidates:
                await candidate.clock.advance(30)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def server() -> LeaseServer:
    return LeaseServer()


async def test_a_killed_leader_that_comes_back_under_its_identity_leads_at_once(server: LeaseServer, clock: FakeClock) -> None:
    killed, other, restarted = Candidate("a", server, clock), Candidate("b", server, clock), Candidate("a", server, clock)
    async with running(killed, other):
        await clock.advance(0)
        assert killed.working
        killed.line.stuck = True  # nothing of it reaches the server any more, the release neither
    assert server.holder == "a"
    async with running(other, restarted):
        await clock.advance(0)
        assert restarted.working
        assert not other.working
    assert server.get().spec.lease_transitions == 0


async def test_the_first_candidate_leads_and_renews(server: LeaseServer, clock: FakeClock) -> None:
    a = Candidate("a", server, clock)
    async with running(a):
        await clock.advance(0)
        assert a.working
        assert a.elector.is_leader
        assert a.elector.leader == "a"
        spec = server.get().spec
        assert (spec.holder_identity, spec.lease_duration_seconds, spec.lease_transitions) == ("a", 15, 0)
        assert spec.acquire_time == spec.renew_time == clock.now()
        await clock.advance(60)
        later = server.get().spec
        assert later.acquire_time == spec.acquire_time
        assert later.renew_time is not None
        assert (clock.now() - later.renew_time).total_seconds() < 3
        assert (a.terms, later.lease_transitions) == (1, 0)
        assert 25 <= a.line.writes <= 32


async def test_one_of_two_leads_and_the_other_takes_over_after_a_clean_stop(server: LeaseServer, clock: FakeClock) -> None:
    a, b = Candidate("a", server, clock), Candidate("b", server, clock)
    a.cleanup_s = 4
    async with running(a, b) as (task, _):
        await clock.advance(30)
        assert (a.working, b.working) == (True, False)
        assert b.elector.leader == "a"
        assert not b.elector.is_leader
        task.cancel()
        await clock.advance(3)
        assert a.working
        assert server.holder == "a"  # not given back before the work has ended
        await clock.advance(1.1)
        assert not a.working
        await clock.advance(2.4)
        assert b.working  # without waiting for the lease to expire
        assert server.get().spec.lease_transitions == 1
        assert b.seen == ["a", "b"]


@pytest.mark.parametrize("how", ["cut", "stuck"])
async def test_a_leader_that_is_cut_off_stops_before_the_other_starts(server: LeaseServer, clock: FakeClock, how: str) -> None:
    a, b = Candidate("a", server, clock), Candidate("b", server, clock)
    async with running(a, b):
        await clock.advance(20)
        setattr(a.line, how, True)
        stopped_after = started_after = None
        for tenths in range(300):
            assert not (a.working and b.working)
            if stopped_after is None and not a.working:
                stopped_after = tenths / 10
            if started_after is None and b.working:
                started_after = tenths / 10
            await clock.advance(0.1)
        assert stopped_after is not None
        assert started_after is not None
        assert 7 <= stopped_after <= 10.2
        assert 12 <= started_after <= 17.6
        setattr(a.line, how, False)
        await clock.advance(30)
        assert (a.working, b.working, a.terms, b.terms) == (False, True, 1, 1)


async def test_a_short_cut_costs_nothing(server: LeaseServer, clock: FakeClock) -> None:
    a, b = Candidate("a", server, clock), Candidate("b", server, clock)
    async with running(a, b):
        await clock.advance(20)
        a.line.cut = True
        await clock.advance(5)
        a.line.cut = False
        await clock.advance(60)
        assert (a.terms, b.terms) == (1, 0)


async def test_wall_clocks_may_differ_and_jump(server: LeaseServer) -> None:
    clock_a, clock_b = FakeClock(), FakeClock()
    clock_b.jump_wall(86_400)
    a, b = Candidate("a", server, clock_a), Candidate("b", server, clock_b)
    async with running(a, b):
        for step in range(100):
            if step == 30:
                clock_a.jump_wall(-7200)
            if step == 60:
                clock_b.jump_wall(1e6)
            await clock_a.advance(1)
            await clock_b.advance(1)
        assert (a.working, a.terms, b.terms) == (True, 1, 0)


async def test_a_leader_whose_machine_slept_knows_at_once_that_it_leads_no_more(server: LeaseServer) -> None:
    clock_a, clock_b = FakeClock(), FakeClock()
    a, b = Candidate("a", server, clock_a), Candidate("b", server, clock_b)
    async with running(a, b):
        await clock_a.advance(5)
        await clock_b.advance(5)
        assert a.elector.is_leader
        clock_a.suspend(60)
        await clock_b.advance(60)
        assert b.working
        assert not a.elector.is_leader
        a.line.cut = True
        await clock_a.advance(1.1)
        assert not a.working


async def test_a_candidate_counts_from_its_own_first_look(server: LeaseServer, clock: FakeClock) -> None:
    stale = Lease.model_validate(
        {
            "metadata": {"name": "controllers", "namespace": "kube-system"},
            "spec": {
                "holderIdentity": "dead",
                "leaseDurationSeconds": 20,
                "renewTime": "2001-01-01T00:00:00.000000Z",
                "leaseTransitions": 4,
            },
        }
    )
    server.store(stale)
    a = Candidate("a", server, clock)
    async with running(a):
        await clock.advance(19.5)
        assert not a.working  # the record says 20 s, we say 15: the longer one counts, however old the record claims to be
        await clock.advance(3)
        assert a.working
        assert server.get().spec.lease_transitions == 5


async def test_who_finds_the_lease_taken_by_force_stops_at_once(server: LeaseServer, clock: FakeClock) -> None:
    a = Candidate("a", server, clock)
    async with running(a):
        await clock.advance(5)
        lease = server.get()
        server.store(meta.changed(lease, spec=meta.changed(lease.spec, holder_identity="thief")))
        await clock.advance(2.5)
        assert not a.working
        await clock.advance(20)  # the thief never renews
        assert (a.working, a.terms) == (True, 2)
        assert a.seen == ["a", "thief", "a"]


async def test_the_end_of_the_work_ends_the_election_and_frees_the_lease(server: LeaseServer, clock: FakeClock) -> None:
    a = Candidate("a", server, clock)
    async with running(a) as (task,):
        await clock.advance(5)
        a.finish.set()
        await clock.settle()
        assert task.done()
        assert task.exception() is None
        assert server.holder == ""
        assert not a.elector.is_leader


async def test_a_leader_that_fails_frees_the_lease_and_its_error_comes_out_unwrapped(server: LeaseServer, clock: FakeClock) -> None:
    a = Candidate("a", server, clock)
    a.failure = ZeroDivisionError()
    a.finish.set()
    with pytest.raises(ZeroDivisionError):
        await a.elector.run(a.lead)
    assert server.holder == ""


async def test_a_leader_that_fails_while_it_is_stopped_is_logged_and_campaigns_again(
    server: LeaseServer, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    a = Candidate("a", server, clock)
    terms = 0

    async def lead() -> None:
        nonlocal terms
        terms += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RuntimeError("cannot even stop") from None

    task = asyncio.ensure_future(a.elector.run(lead))
    await clock.advance(5)
    a.line.cut = True
    await clock.advance(12)
    a.line.cut = False
    await clock.advance(5)
    assert terms == 2
    assert "leader failed while it was stopped" in caplog.text
    task.cancel()
    with pytest.raises((RuntimeError, asyncio.CancelledError)):
        await task
    assert server.holder == ""


async def test_a_lease_that_cannot_be_released_does_not_hold_up_the_end(server: LeaseServer, clock: FakeClock) -> None:
    a = Candidate("a", server, clock)
    async with running(a) as (task,):
        await clock.advance(5)
        a.line.stuck = True
        task.cancel()
        await clock.advance(2.9)
        assert not task.done()
        assert not a.working
        await clock.advance(0.2)
        assert task.cancelled()
    assert server.holder == "a"


async def test_a_lease_that_another_holds_is_not_released(server: LeaseServer, clock: FakeClock) -> None:
    a = Candidate("a", server, clock)
    async with running(a) as (task,):
        await clock.advance(1)
        lease = server.get()
        server.store(meta.changed(lease, spec=meta.changed(lease.spec, holder_identity="b")))
        task.cancel()
        await clock.settle()
    assert server.holder == "b"


async def test_a_callback_that_fails_does_not_disturb(server: LeaseServer, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: str) -> None:
        raise ZeroDivisionError

    elector = LeaderElector(Line(server), name="l", namespace="n", identity="a", clock=clock, rng=random.Random(1), on_new_leader=fail)
    led = False

    async def lead() -> None:
        nonlocal led
        led = True

    await elector.run(lead)
    assert led
    assert "callback for a new leader failed" in caplog.text


@pytest.mark.parametrize("wrong", [{"retry_s": 0.0}, {"retry_s": 9.0}, {"renew_deadline_s": 15.0}, {"lease_duration_s": 5.0}], ids=str)
def test_durations_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="leader election needs"):
        ElectionSettings(**wrong)
