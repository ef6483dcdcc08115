"""The work queue: the contract as a state machine, then delays, fairness among waiting workers, shutdown."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lattice.machinery import backoff, workqueue
from lattice.testing.clock import FakeClock


def make_queue(clock: FakeClock, **limits: Any) -> workqueue.WorkQueue[str]:
    return workqueue.WorkQueue("test", clock, backoff.RateLimiter(clock, random.Random(1), **limits))


keys = st.sampled_from("abcd")


class QueueContract(RuleBasedStateMachine):
    """Model: the ordered list of what must come out, what is held, what was added while held, and deadlines."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.queue = make_queue(self.clock)
        self.waiting: list[str] = []
        self.held: list[str] = []
        self.again: set[str] = set()
        self.delayed: dict[str, float] = {}

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(coroutine)

    def model_add(self, key: str) -> None:
        if key in self.held:
            self.again.add(key)
        elif key not in self.waiting:
            self.waiting.append(key)

    @rule(key=keys)
    def add(self, key: str) -> None:
        self.queue.add(key)
        self.model_add(key)

    @rule(key=keys, delay_s=st.sampled_from([-1.0, 0.0, 1.0, 2.0, 5.0]))
    def add_after(self, key: str, delay_s: float) -> None:
        async def call() -> None:
            self.queue.add_after(key, delay_s)

        self.run(call())
        if delay_s <= 0:
            self.model_add(key)
        else:
            due_s = self.clock.monotonic() + delay_s
            self.delayed[key] = min(due_s, self.delayed.get(key, due_s))

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0]))
    def pass_time(self, seconds: float) -> None:
        now_s = self.clock.monotonic() + seconds
        self.run(self.clock.advance(seconds))
        due = {key for key, due_s in self.delayed.items() if due_s <= now_s}
        added_by_queue = set(self.queue._queue) | self.queue._dirty  # order among equal deadlines is checked below by get
        for key in sorted(due, key=lambda key: self.delayed.pop(key)):
            assert key in added_by_queue
            self.model_add(key)
        if due:  # keys of one moment may come in any order: take the queue's
            self.waiting.sort(key=list(self.queue._queue).index)

    @precondition(lambda self: self.waiting)
    @rule()
    def get(self) -> None:
        key = self.run(self.queue.get())
        assert key == self.waiting.pop(0)
        assert key not in self.held
        self.held.append(key)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.held))
        self.held.remove(key)
        self.queue.done(key)
        if key in self.again:
            self.again.remove(key)
            self.waiting.append(key)

    @invariant()
    def agrees(self) -> None:
        assert len(self.queue) == len(self.waiting)
        assert self.queue.delayed == len(self.delayed)

    def teardown(self) -> None:
        self.run(self.queue.close())
        self.runner.close()


TestQueueContract = QueueContract.TestCase
TestQueueContract.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def test_an_earlier_deadline_wins_and_a_later_one_is_ignored(clock: FakeClock) -> None:
    queue = make_queue(clock)
    queue.add_after("a", 10)
    queue.add_after("a", 2)
    queue.add_after("a", 20)
    await clock.advance(1.9)
    assert (len(queue), queue.delayed) == (0, 1)
    await clock.advance(0.2)
    assert (len(queue), queue.delayed) == (1, 0)
    await clock.advance(30)
    assert queue.counters["adds"] == 1
    await queue.close()


async def test_rate_limited_adds_back_off_per_key_until_forgotten(clock: FakeClock) -> None:
    queue = make_queue(clock, policy=backoff.BackoffPolicy(base_s=1, jitter=0))
    for wait_s in (1, 2, 4):
        queue.add_rate_limited("a")
        await clock.advance(wait_s - 0.1)
        assert len(queue) == 0
        await clock.advance(0.2)
        queue.done(await queue.get())
    assert queue.failures("a") == 3
    queue.forget("a")
    queue.add_rate_limited("a", at_least_s=7)
    await clock.advance(6.9)
    assert len(queue) == 0
    await clock.advance(0.2)
    assert len(queue) == 1
    await queue.close()


async def test_waiting_workers_get_one_key_each_in_order(clock: FakeClock) -> None:
    queue = make_queue(clock)
    async with asyncio.TaskGroup() as group:
        getters = [group.create_task(queue.get()) for _ in range(3)]
        await clock.settle()
        for key in "abc":
            queue.add(key)
    assert [task.result() for task in getters] == ["a", "b", "c"]
    await queue.close()


@pytest.mark.parametrize("woken_first", [False, True])
async def test_a_cancelled_get_loses_no_key(clock: FakeClock, *, woken_first: bool) -> None:
    queue = make_queue(clock)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(queue.get())
        second = group.create_task(queue.get())
        await clock.settle()
        if woken_first:
            queue.add("a")
            first.cancel()
        else:
            first.cancel()
            await clock.settle()
            queue.add("a")
        await clock.settle()
        assert first.cancelled()
        assert second.result() == "a"
    await queue.close()


async def test_shutdown_drains_what_is_queued_drops_what_is_delayed_and_ends_workers(clock: FakeClock) -> None:
    queue = make_queue(clock)
    queue.add("a")
    queue.add_after("b", 1)
    queue.shut_down()
    queue.add("c")
    queue.add_after("c", 1)
    queue.add_rate_limited("c")
    assert await queue.get() == "a"
    with pytest.raises(workqueue.ShutDownError):
        await queue.get()
    assert queue.delayed == 0
    await queue.close()


async def test_shutdown_wakes_waiting_workers(clock: FakeClock) -> None:
    queue = make_queue(clock)
    waiting = asyncio.gather(queue.get(), queue.get(), return_exceptions=True)
    await clock.settle()
    await queue.close()
    assert [type(result) for result in await waiting] == [workqueue.ShutDownError] * 2


def test_the_shared_bucket_spreads_keys_that_fail_together(clock: FakeClock) -> None:
    limiter: backoff.RateLimiter[int] = backoff.RateLimiter(
        clock, random.Random(1), policy=backoff.BackoffPolicy(base_s=0, jitter=0), rate_per_s=10, burst=5
    )
    delays = [limiter.when_s(number) for number in range(8)]
    assert delays == pytest.approx([0, 0, 0, 0, 0, 0.1, 0.2, 0.3])


def test_backoff_is_capped_jittered_and_does_not_overflow() -> None:
    policy = backoff.BackoffPolicy(base_s=0.1, cap_s=300, jitter=0.5)
    rng = random.Random(1)
    for failures in (0, 1, 5, 12, 2000):
        undisturbed_s = min(300.0, 0.1 * 2.0 ** min(failures, 60))
        assert undisturbed_s / 2 <= policy.delay_s(failures, rng) <= undisturbed_s


async def test_a_bucket_refills_up_to_its_burst(clock: FakeClock) -> None:
    bucket = backoff.TokenBucket(clock, rate_per_s=1, burst=2)
    assert [bucket.try_take() for _ in range(3)] == [True, True, False]
    await clock.advance(100)
    assert [bucket.try_take() for _ in range(3)] == [True, True, False]
