"""The event recorder: aggregation, bounds, retries, draining. The sink is a dictionary with failures as data."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lattice.api import errors
from lattice.api.event import Event, ObjectReference
from lattice.api.meta import ObjectMeta, Uid
from lattice.api.node import Node
from lattice.api.pod import Pod
from lattice.machinery import events
from lattice.testing.clock import FakeClock

START = datetime(2026, 1, 1, tzinfo=UTC)


class DictSink:
    """Keeps events. ``failures`` are raised first, one per call; with ``after`` the call takes effect before it fails."""

    def __init__(self) -> None:
        self.stored: dict[str, Event] = {}
        self.failures: list[Exception] = []
        self.fail_after_effect = False
        self.calls = 0
        self.blocked: asyncio.Event | None = None

    async def create(self, event: Event) -> None:
        await self._enter()
        if event.name in self.stored:
            raise errors.AlreadyExistsError("there is one")
        self._maybe_fail(before=True)
        self.stored[event.name] = event
        self._maybe_fail(before=False)

    async def patch(self, name: str, namespace: str, patch: Mapping[str, Any]) -> None:
        await self._enter()
        self._maybe_fail(before=True)
        if name not in self.stored or self.stored[name].namespace != namespace:
            raise errors.NotFoundError("gone")
        self.stored[name] = Event.model_validate({**self.stored[name].to_dict(), **patch})
        self._maybe_fail(before=False)

    async def _enter(self) -> None:
        self.calls += 1
        if self.blocked is not None:
            await self.blocked.wait()

    def _maybe_fail(self, *, before: bool) -> None:
        if self.failures and before is not self.fail_after_effect:
            raise self.failures.pop(0)


def make_pod(name: str = "web-0", uid: str = "u1") -> Pod:
    return Pod.model_validate(
        {
            "metadata": {"name": name, "namespace": "team", "uid": uid, "resourceVersion": "7"},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        }
    )


def make_recorder(sink: DictSink, clock: FakeClock, **settings: Any) -> events.EventRecorder:
    return events.EventRecorder(sink, "tester", clock=clock, rng=random.Random(1), host="node-1", settings=events.EventSettings(**settings))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest.fixture
def sink() -> DictSink:
    return DictSink()


async def test_an_event_is_stored_with_what_kubectl_shows(sink: DictSink, clock: FakeClock) -> None:
    async with make_recorder(sink, clock) as recorder:
        recorder.event(make_pod(), events.WARNING, "FailedScheduling", "0/1 nodes are available")
        await clock.settle()
    (event,) = sink.stored.values()
    name, _, digits = event.name.rpartition(".")
    assert name == "web-0"
    assert len(digits) == 16
    assert int(digits, 16) >= 0
    assert event.namespace == "team"
    assert event.involved_object == ObjectReference(
        api_version="v1", kind="Pod", namespace="team", name="web-0", uid=Uid("u1"), resource_version="7"
    )
    assert (event.type, event.reason, event.message) == ("Warning", "FailedScheduling", "0/1 nodes are available")
    assert (event.count, event.first_timestamp, event.last_timestamp) == (1, START, START)
    assert (event.source.component, event.source.host, event.reporting_component) == ("tester", "node-1", "tester")


async def test_an_event_of_a_cluster_scoped_object_lives_in_default(sink: DictSink, clock: FakeClock) -> None:
    async with make_recorder(sink, clock) as recorder:
        recorder.event(Node(metadata=ObjectMeta(name="n1")), events.NORMAL, "NodeReady", "up")
        recorder.event(ObjectReference(kind="Thing"), events.NORMAL, "Odd", "has no name")
        await clock.settle()
    assert {event.namespace for event in sink.stored.values()} == {"default"}
    assert sorted(name.rpartition(".")[0] for name in sink.stored) == ["n1", "unknown"]


async def test_repeats_become_a_count_while_they_wait_and_once_stored(sink: DictSink, clock: FakeClock) -> None:
    recorder = make_recorder(sink, clock)
    for _ in range(3):
        recorder.event(make_pod(), events.NORMAL, "Pulling", "image a")
    async with recorder:
        await clock.advance(10)
        assert [event.count for event in sink.stored.values()] == [3]
        recorder.event(make_pod(), events.NORMAL, "Pulling", "image a")
        await clock.settle()
        (event,) = sink.stored.values()
        assert (event.count, event.first_timestamp, event.last_timestamp) == (4, START, START + timedelta(seconds=10))
    assert recorder.counters == {"merged": 2, "created": 1, "patched": 1}


@pytest.mark.parametrize(
    "other",
    [
        (make_pod(uid="u2"), events.NORMAL, "Pulling", "image a"),
        (make_pod(), events.WARNING, "Pulling", "image a"),
        (make_pod(), events.NORMAL, "Pulled", "image a"),
        (make_pod(), events.NORMAL, "Pulling", "image b"),
        (ObjectReference(kind="Pod", namespace="team", name="web-0", uid=Uid("u1"), field_path="x"), events.NORMAL, "Pulling", "image a"),
    ],
    ids=["uid", "type", "reason", "message", "field_path"],
)
async def test_events_that_differ_are_not_merged(sink: DictSink, clock: FakeClock, other: tuple[Any, ...]) -> None:
    async with make_recorder(sink, clock) as recorder:
        recorder.event(make_pod(), events.NORMAL, "Pulling", "image a")
        recorder.event(*other)
        await clock.settle()
    assert [event.count for event in sink.stored.values()] == [1, 1]


async def test_an_expired_event_starts_over(sink: DictSink, clock: FakeClock) -> None:
    async with make_recorder(sink, clock) as recorder:
        recorder.event(make_pod(), events.NORMAL, "Pulling", "image a")
        await clock.settle()
        sink.stored.clear()
        await clock.advance(5000)
        recorder.event(make_pod(), events.NORMAL, "Pulling", "image a")
        await clock.settle()
    (event,) = sink.stored.values()
    assert (event.count, event.first_timestamp) == (1, START + timedelta(seconds=5000))


async def test_one_object_cannot_flood_the_store_and_others_are_not_held_up(sink: DictSink, clock: FakeClock) -> None:
    async with make_recorder(sink, clock) as recorder:
        for number in range(40):
            recorder.event(make_pod(), events.NORMAL, "Noise", f"number {number}")
        recorder.event(make_pod("quiet", "u9"), events.NORMAL, "Started", "up")
        await clock.advance(1)
        assert len(sink.stored) == 26
        assert recorder.counters["throttled"] == 15
        await clock.advance(301)
        recorder.event(make_pod(), events.NORMAL, "Noise", "five minutes later")
        recorder.event(make_pod(), events.NORMAL, "Noise", "and again")
        await clock.settle()
    assert len(sink.stored) == 27


async def test_waiting_events_are_bounded_and_the_loss_is_logged_once(
    sink: DictSink, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = make_recorder(sink, clock, max_pending=2)
    with caplog.at_level(logging.WARNING):
        for number in range(5):
            recorder.event(make_pod(f"p{number}", f"u{number}"), events.NORMAL, "Made", "x")
    assert (recorder.pending, recorder.counters["overflowed"]) == (2, 3)
    assert [record.message for record in caplog.records] == ["event dropped"]


async def test_memory_of_stored_events_is_bounded(sink: DictSink, clock: FakeClock) -> None:
    async with make_recorder(sink, clock, max_remembered=2) as recorder:
        for name in ("a", "b", "a", "c", "a", "b"):  # "b" is the least recently used when "c" comes
            recorder.event(make_pod(name, name), events.NORMAL, "Made", "x")
            await clock.settle()
    assert sorted((event.involved_object.name, event.count) for event in sink.stored.values()) == [("a", 3), ("b", 1), ("b", 1), ("c", 1)]


@pytest.mark.parametrize(
    "failure",
    [
        errors.UnavailableError("no answer"),
        errors.ServiceUnavailableError("starting"),
        errors.TooManyRequestsError("slow down"),
        errors.InternalError("oops"),
        errors.TimeoutStatusError("late"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("after_effect", [False, True])
async def test_a_transient_failure_is_retried_and_doubles_nothing(
    sink: DictSink, clock: FakeClock, failure: Exception, *, after_effect: bool
) -> None:
    sink.failures = [failure, failure]
    sink.fail_after_effect = after_effect
    async with make_recorder(sink, clock) as recorder:
        recorder.event(make_pod(), events.NORMAL, "Made", "x")
        await clock.advance(5)
        assert [event.count for event in sink.stored.values()] == [1]
        sink.failures = [failure]
        recorder.event(make_pod(), events.NORMAL, "Made", "x")
        await clock.advance(5)
    assert [event.count for event in sink.stored.values()] == [2]


async def test_a_sink_that_stays_away_costs_the_event_and_not_the_sender(sink: DictSink, clock: FakeClock) -> None:
    sink.failures = [errors.UnavailableError("no answer")] * 3
    async with make_recorder(sink, clock, max_tries=3) as recorder:
        recorder.event(make_pod(), events.NORMAL, "Lost", "x")
        recorder.event(make_pod(), events.NORMAL, "Kept", "x")
        await clock.advance(10)
    assert [event.reason for event in sink.stored.values()] == ["Kept"]
    assert recorder.counters["failed"] == 1


@pytest.mark.parametrize("failure", [errors.ForbiddenError("namespace is ending"), errors.InvalidError("bad"), ZeroDivisionError()])
async def test_an_answer_that_a_retry_cannot_change_drops_the_event(sink: DictSink, clock: FakeClock, failure: Exception) -> None:
    sink.failures = [failure]
    async with make_recorder(sink, clock) as recorder:
        recorder.event(make_pod(), events.NORMAL, "Lost", "x")
        recorder.event(make_pod(), events.NORMAL, "Kept", "x")
        await clock.settle()
    assert [event.reason for event in sink.stored.values()] == ["Kept"]
    assert sink.calls == 2


async def test_a_sink_that_hangs_is_given_up_and_tried_again(sink: DictSink, clock: FakeClock) -> None:
    sink.blocked = asyncio.Event()
    async with make_recorder(sink, clock, send_timeout_s=15) as recorder:
        recorder.event(make_pod(), events.NORMAL, "Made", "x")
        await clock.advance(14)
        sink.blocked = None  # for the next call only: the first one hangs on its event for ever
        assert sink.calls == 1
        await clock.advance(3)
    assert len(sink.stored) == 1


async def test_stop_sends_what_is_left_and_then_ignores(sink: DictSink, clock: FakeClock) -> None:
    recorder = make_recorder(sink, clock)
    recorder.start()
    recorder.start()
    recorder.event(make_pod(), events.NORMAL, "A", "x")
    recorder.event(make_pod(), events.NORMAL, "B", "x")
    await recorder.stop()
    await recorder.stop()
    recorder.event(make_pod(), events.NORMAL, "C", "x")
    assert sorted(str(event.reason) for event in sink.stored.values()) == ["A", "B"]
    assert recorder.pending == 0


async def test_stop_without_start_is_harmless(sink: DictSink, clock: FakeClock) -> None:
    await make_recorder(sink, clock).stop()


async def test_stop_does_not_wait_longer_than_its_deadline(sink: DictSink, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    sink.blocked = asyncio.Event()
    recorder = make_recorder(sink, clock, drain_s=3)
    recorder.start()
    recorder.event(make_pod(), events.NORMAL, "A", "x")
    async with asyncio.TaskGroup() as group:
        stopping = group.create_task(recorder.stop())
        await clock.advance(2.9)
        assert not stopping.done()
        await clock.advance(0.2)
        assert stopping.done()
    assert "events were not sent before the deadline" in caplog.text


async def test_long_messages_and_names_are_cut(sink: DictSink, clock: FakeClock) -> None:
    async with make_recorder(sink, clock) as recorder:
        recorder.event(make_pod("a" * 235 + "." + "b" * 17), events.NORMAL, "Long", "x" * 5000)
        await clock.settle()
    (event,) = sink.stored.values()
    assert len(event.message or "") == 1024
    assert event.name.startswith("a" * 235 + ".")
    assert ".." not in event.name
    assert len(event.name) <= 253
