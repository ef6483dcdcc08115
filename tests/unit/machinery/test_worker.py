"""Every row of the outcome table, the hooks, the time limit, cancellation; the tasks that carry it all."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Callable
from typing import Any

import pytest

from lattice.api import errors
from lattice.machinery import backoff, logcontext, outcome, tasks, workqueue
from lattice.machinery.outcome import Done, RequeueAfter, Result
from lattice.machinery.worker import Worker, WorkerSettings
from lattice.testing.clock import FakeClock
from lattice.testing.polling import eventually

CONFLICT = errors.ConflictError("changed")
STALLED = errors.StalledError("NoSuchVersion", "version 9 does not exist")
TRANSIENT = errors.UnavailableError("no answer")


class Script:
    """A reconciler that says what it is told to, then ``Done``."""

    def __init__(self, *steps: Result | Exception) -> None:
        self.steps = list(steps)
        self.calls: list[str] = []
        self.hang = False
        self.running = 0
        self.most_running = 0

    async def reconcile(self, key: str) -> Result:
        self.calls.append(key)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if self.hang:
                await asyncio.Event().wait()
            step = self.steps.pop(0) if self.steps else Done()
            if isinstance(step, Exception):
                raise step
            return step
        finally:
            self.running -= 1


class Shown:
    """Hooks that record, and fail as often as told."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str]] = []
        self.failures = 0

    def _note(self, what: str, key: str) -> None:
        if self.failures:
            self.failures -= 1
            raise TRANSIENT
        self.log.append((what, key))

    async def on_stalled(self, key: str, error: errors.StalledError) -> None:
        self._note(f"stalled {error.reason}", key)

    async def on_degraded(self, key: str, error: Exception, failures: int) -> None:
        self._note(f"degraded {type(error).__name__} {failures}", key)

    async def on_recovered(self, key: str) -> None:
        self._note("recovered", key)


class Bench:
    """A worker on a queue without jitter; ``async with`` runs it."""

    def __init__(self, *steps: Result | Exception, **settings: Any) -> None:
        self.clock = FakeClock()
        self.limiter: backoff.RateLimiter[str] = backoff.RateLimiter(
            self.clock, random.Random(1), policy=backoff.BackoffPolicy(base_s=1, jitter=0)
        )
        self.queue: workqueue.WorkQueue[str] = workqueue.WorkQueue("bench", self.clock, self.limiter)
        self.script = Script(*steps)
        self.shown = Shown()
        self.worker = Worker(
            "bench",
            self.queue,
            self.script,
            clock=self.clock,
            rng=random.Random(1),
            hooks=self.shown,
            settings=WorkerSettings(**{"requeue_jitter": 0.0, **settings}),
        )
        self.owner = tasks.TaskOwner("bench")

    async def __aenter__(self) -> Bench:
        self.owner.spawn(self.worker.run(), name="worker")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.owner.stop()
        await self.queue.close()

    async def reconcile(self, key: str = "a") -> None:
        self.queue.add(key)
        await self.clock.settle()


async def test_done_forgets_the_backoff_and_waits_for_the_next_event() -> None:
    async with Bench(TRANSIENT, Done()) as bench:
        await bench.reconcile()
        assert bench.queue.failures("a") == 1
        await bench.clock.advance(3600)
        assert bench.queue.failures("a") == 0
        assert bench.script.calls == ["a", "a"]
        assert bench.worker.counters == {"transient": 1, "done": 1}


async def test_requeue_after_comes_back_at_its_time_and_is_no_failure() -> None:
    async with Bench(RequeueAfter(30)) as bench:
        await bench.reconcile()
        assert bench.queue.failures("a") == 0
        await bench.clock.advance(29.9)
        assert len(bench.script.calls) == 1
        await bench.clock.advance(0.2)
        assert len(bench.script.calls) == 2


async def test_requeue_jitter_only_lengthens() -> None:
    async with Bench(RequeueAfter(100), requeue_jitter=0.1) as bench:
        await bench.reconcile()
        await bench.clock.advance(100)
        assert len(bench.script.calls) == 1
        await bench.clock.advance(10)
        assert len(bench.script.calls) == 2


async def test_a_conflict_is_retried_quietly(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="lattice"):
        async with Bench(*[CONFLICT] * 8, degraded_after=2) as bench:
            await bench.reconcile()
            await bench.clock.advance(300)
            assert bench.worker.counters == {"conflict": 8, "done": 1}
            assert bench.shown.log == []
    assert caplog.records == []


async def test_a_transient_failure_backs_off_logs_once_and_is_shown_after_some(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="lattice"):
        async with Bench(*[TRANSIENT] * 5, degraded_after=3) as bench:
            await bench.reconcile()
            await bench.clock.advance(2)
            assert (len(bench.script.calls), bench.shown.log) == (2, [])
            await bench.clock.advance(1)
            assert bench.shown.log == [("degraded UnavailableError 3", "a")]
            await bench.clock.advance(100)
            assert bench.shown.log == [("degraded UnavailableError 3", "a"), ("recovered", "a")]
    assert [record.message for record in caplog.records] == ["reconcile failed, retrying with backoff", "reconcile recovered"]


async def test_the_servers_retry_after_is_respected() -> None:
    async with Bench(errors.TooManyRequestsError("slow", details={"retryAfterSeconds": 20})) as bench:
        await bench.reconcile()
        await bench.clock.advance(19.9)
        assert len(bench.script.calls) == 1
        await bench.clock.advance(0.2)
        assert len(bench.script.calls) == 2


async def test_a_stalled_object_is_shown_and_not_retried_until_something_changes(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="lattice"):
        async with Bench(STALLED, STALLED, Done()) as bench:
            await bench.reconcile()
            await bench.clock.advance(10_000)
            assert len(bench.script.calls) == 1
            await bench.reconcile()
            assert bench.shown.log == [("stalled NoSuchVersion", "a")] * 2
            await bench.reconcile()
            assert bench.shown.log[-1] == ("recovered", "a")
    assert len(caplog.records) == 1


@pytest.mark.parametrize("problem", [STALLED, TRANSIENT], ids=["stalled", "transient"])
async def test_a_hook_that_fails_is_called_again(problem: Exception) -> None:
    async with Bench(problem, problem, degraded_after=1) as bench:
        bench.shown.failures = 1
        await bench.reconcile()
        assert bench.shown.log == []
        await bench.clock.advance(1.5)
        assert len(bench.shown.log) == 1
        bench.shown.failures = 1
        await bench.reconcile()
        await bench.clock.advance(20)
        assert bench.shown.log[-1] == ("recovered", "a")
        assert bench.worker._trouble == {}


async def test_a_reconcile_that_hangs_fails_as_transient() -> None:
    async with Bench(reconcile_timeout_s=60) as bench:
        bench.script.hang = True
        await bench.reconcile()
        await bench.clock.advance(59)
        assert bench.worker.counters == {}
        bench.script.hang = False
        await bench.clock.advance(3)
        assert bench.worker.counters == {"transient": 1, "done": 1}


async def test_cancellation_passes_through_and_gives_the_key_back() -> None:
    async with Bench() as bench:
        bench.script.hang = True
        await bench.reconcile()
        assert bench.script.running == 1
        await bench.owner.stop()
        assert bench.script.running == 0
        assert bench.worker.counters == {}
        bench.queue.add("a")
        assert await bench.queue.get() == "a"  # not held by the worker that is gone


async def test_one_key_is_never_in_work_twice_and_others_go_on() -> None:
    async with Bench(concurrency=3) as bench:
        bench.script.hang = True
        await bench.reconcile("a")
        await bench.reconcile("a")
        assert bench.script.calls == ["a"]
        await bench.reconcile("b")
        assert bench.script.calls == ["a", "b"]


async def test_a_worker_ends_when_its_queue_is_shut_down_and_drained() -> None:
    bench = Bench()
    bench.queue.add("a")
    bench.queue.shut_down()
    await bench.worker.run()
    assert bench.script.calls == ["a"]
    await bench.queue.close()


async def test_records_inside_a_reconcile_carry_its_id() -> None:
    seen: list[logcontext.ReconcileContext] = []

    class Looking:
        async def reconcile(self, key: str) -> Result:
            seen.append(logcontext.current())
            record = logging.makeLogRecord({"key": "mine"})
            assert logcontext.ContextFilter().filter(record)
            assert (record.__dict__["controller"], record.__dict__["key"]) == ("look", "mine")
            return Done()

    bench = Bench()
    worker = Worker("look", bench.queue, Looking(), clock=bench.clock, rng=random.Random(1))
    bench.queue.add("a")
    bench.queue.shut_down()
    await worker.run()
    assert (seen[0].controller, seen[0].key) == ("look", "a")
    assert seen[0].reconcile_id.startswith("look-")
    assert logcontext.current() == logcontext.ReconcileContext()
    await bench.queue.close()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (CONFLICT, outcome.ErrorClass.CONFLICT),
        (errors.AlreadyExistsError("x"), outcome.ErrorClass.TRANSIENT),
        (STALLED, outcome.ErrorClass.STALLED),
        (TRANSIENT, outcome.ErrorClass.TRANSIENT),
        (ZeroDivisionError(), outcome.ErrorClass.TRANSIENT),
        (ExceptionGroup("g", [CONFLICT, ExceptionGroup("h", [CONFLICT])]), outcome.ErrorClass.CONFLICT),
        (ExceptionGroup("g", [CONFLICT, STALLED]), outcome.ErrorClass.STALLED),
        (ExceptionGroup("g", [CONFLICT, STALLED, TRANSIENT]), outcome.ErrorClass.TRANSIENT),
    ],
    ids=repr,
)
def test_classification(error: Exception, expected: outcome.ErrorClass) -> None:
    assert outcome.classify(error)[0] is expected


def test_the_error_that_stands_for_a_group_does_not_depend_on_the_order() -> None:
    other = errors.StalledError("Another", "x")
    for members in ([STALLED, other], [other, STALLED]):
        assert outcome.classify(ExceptionGroup("g", members))[1] is other
    group = ExceptionGroup("g", [TRANSIENT, ZeroDivisionError()])
    assert outcome.classify(group)[1] is group
    slow = ExceptionGroup("g", [errors.TooManyRequestsError("x", details={"retryAfterSeconds": n}) for n in (3, 9)])
    assert outcome.retry_after_s(slow) == 9


async def test_supervise_restarts_with_backoff_until_it_returns() -> None:
    clock = FakeClock()
    lives: list[float] = []

    async def run() -> None:
        lives.append(clock.monotonic())
        if len(lives) == 3:
            await clock.sleep(100)  # healthy: the next crash counts as the first
        if len(lives) < 5:
            raise ZeroDivisionError

    series = backoff.Backoff(backoff.BackoffPolicy(base_s=1, jitter=0), random.Random(1))
    async with tasks.TaskOwner("t") as owner:
        task = owner.spawn(tasks.supervise(run, name="s", clock=clock, backoff=series), name="s")
        await clock.advance(1000)
        assert task.done()
    assert [round(after - before) for before, after in itertools.pairwise(lives)] == [1, 2, 101, 2]


async def test_task_owner_stops_in_reverse_order_and_logs_crashes(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    ended: list[str] = []

    async def live(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await clock.sleep(0)
            ended.append(name)

    async def crash() -> None:
        raise ZeroDivisionError

    async with tasks.TaskOwner("owner") as owner:
        for name in "abc":
            owner.spawn(live(name), name=name)
        owner.spawn(crash(), name="crash")
        await clock.settle()
        assert len(owner) == 3
    assert ended == ["c", "b", "a"]
    assert "background task crashed" in caplog.text
    await owner.stop()
    with pytest.raises(RuntimeError, match="is stopped"):
        owner.spawn(live("d"), name="d")


async def test_task_owner_leaves_nobody_behind_if_its_stop_is_cancelled() -> None:
    clock = FakeClock()

    async def live(cleanup_s: float) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await clock.sleep(cleanup_s)

    owner = tasks.TaskOwner("owner")
    owner.spawn(live(0), name="old")
    owner.spawn(live(50), name="slow")
    await clock.settle()
    async with asyncio.TaskGroup() as group:
        stopping = group.create_task(owner.stop())
        await clock.settle()
        stopping.cancel()
        await clock.settle()
    assert len(owner) == 0


@pytest.mark.parametrize(("limit_s", "ends"), [(5.0, True), (None, False)])
async def test_a_time_limit_starts_over_with_each_touch(limit_s: float | None, *, ends: bool) -> None:
    clock = FakeClock()

    async def stream() -> str:
        try:
            async with tasks.TimeLimit(clock, limit_s) as limit:
                for _ in range(4):
                    await clock.sleep(4)
                    limit.touch()
                await clock.sleep(6)
        except TimeoutError:
            return "timeout"
        return "end"

    async with tasks.TaskOwner("t") as owner:
        task = owner.spawn(stream(), name="s")
        await clock.advance(20)
        assert not task.done()
        await clock.advance(10)
        assert task.result() == ("timeout" if ends else "end")


async def test_eventually_returns_the_first_true_value_and_shows_the_last_seen() -> None:
    clock = FakeClock()
    values = iter([0, 0, 7])

    async def drive(fn: Callable[[], Any], deadline_s: float = 1.0) -> Any:
        async with tasks.TaskOwner("t") as owner:
            task = owner.spawn(eventually(fn, deadline_s, "luck", clock=clock), name="e")
            await clock.advance(5)
            return await asyncio.gather(task, return_exceptions=True)

    async def look() -> int:
        return next(values)

    assert await drive(look) == [7]
    (error,) = await drive(list)
    assert str(error) == "waited 1 s for luck; last seen: []"
    (error,) = await drive(lambda: {}["x"])
    assert "KeyError: 'x'" in str(error)
    (error,) = await drive(lambda: 1 / 0)
    assert isinstance(error, ZeroDivisionError)
