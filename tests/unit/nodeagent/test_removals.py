"""Too many removals at once wait for a person: the rule, on values; and what the workers are shown meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.api import meta, pod, tombstone
from lattice.testing.clock import FakeClock
from nodeagent.desired import Desired
from nodeagent.removals import plan

NOW = 10_000.0


def known(uid: str, *, age_s: float = 3600.0, owner: str = "", finished: bool = False) -> plan.Known:
    return plan.Known(uid=uid, owner=owner, since_s=NOW - age_s, finished=finished)


def uids(count: int, prefix: str = "p") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


@pytest.mark.parametrize(
    ("pods", "removed", "waits"),
    [
        (10, 5, False),  # not more than five
        (6, 6, True),
        (20, 6, False),  # three tenths, not more
        (20, 7, True),
        (100, 30, False),
        (100, 31, True),
    ],
)
def test_more_than_five_and_more_than_three_tenths_wait_all_of_them(pods: int, removed: int, waits: bool) -> None:
    gate = plan.ask(plan.Gate(), uids(removed), [known(uid) for uid in uids(pods)], NOW)
    assert gate.held == (frozenset(uids(removed)) if waits else frozenset())


def test_one_after_the_other_counts_within_a_minute() -> None:
    pods, gate = [known(uid) for uid in uids(10)], plan.Gate()
    for number, uid in enumerate(uids(10)):
        gate = plan.ask(gate, [uid], pods, NOW + number)
    assert gate.held == frozenset(uids(10)[5:])
    slowly = plan.Gate()
    for number, uid in enumerate(uids(10)):
        slowly = plan.ask(slowly, [uid], pods, NOW + 13 * number)
    assert slowly.held == frozenset()


def test_asking_again_counts_once() -> None:
    pods, gate = [known(uid) for uid in uids(10)], plan.Gate()
    for number in range(50):
        gate = plan.ask(gate, uids(5), pods, NOW + number)
    assert gate.held == frozenset()


def test_young_and_finished_pods_do_not_count() -> None:
    young = [known(uid, age_s=59) for uid in uids(20, "y")]
    finished = [known(uid, finished=True) for uid in uids(20, "f")]
    old = [known(uid) for uid in uids(10)]
    gate = plan.ask(plan.Gate(), [p.uid for p in (*young, *finished)] + uids(5), [*young, *finished, *old], NOW)
    assert gate.held == frozenset()
    assert plan.ask(gate, ["p5"], old, NOW).held == {"p5"}


def test_what_is_replaced_here_is_not_lost() -> None:
    pods, gate = [known(uid, owner="w") for uid in uids(10)], plan.Gate()
    for number, uid in enumerate(uids(10)):
        gate = plan.ask(gate, [uid], pods, NOW + number)
        pods.append(plan.Known(uid=f"new{number}", owner="w", since_s=NOW + number, finished=False))
    assert gate.held == frozenset()
    # New Pods of somebody else, or of nobody, make up for nothing.
    strangers = [plan.Known(uid=f"s{n}", owner=o, since_s=NOW, finished=False) for n, o in enumerate(["", "other"] * 10)]
    alone = [known(uid) for uid in uids(10)]
    assert len(plan.ask(plan.Gate(), uids(10), [*alone, *strangers], NOW).held) == 10


def test_a_closed_gate_stays_closed_until_it_is_released_and_then_opens_for_a_minute() -> None:
    pods = [known(uid) for uid in uids(30)]
    gate = plan.ask(plan.Gate(), uids(10), pods, NOW)
    gate = plan.ask(gate, ["p20"], pods, NOW + 3600)
    assert len(gate.held) == 11
    gate = plan.release(gate, NOW + 3600)
    assert gate.held == frozenset()
    assert plan.ask(gate, uids(30), pods, NOW + 3650).held == frozenset()
    assert len(plan.ask(gate, uids(30), pods, NOW + 3661).held) == 30


@given(
    st.lists(st.tuples(st.integers(0, 39), st.floats(0, 30)), max_size=80),
    st.integers(6, 40),
)
def test_never_more_pass_within_a_minute_than_the_rule_says(steps: list[tuple[int, float]], count: int) -> None:
    pods, gate, now_s = [known(uid) for uid in uids(count)], plan.Gate(), NOW
    done: dict[str, float] = {}
    for number, delay_s in steps:
        now_s += delay_s
        uid = f"p{number}"
        gate = plan.ask(gate, [uid], pods, now_s)
        if uid not in gate.held and number < count:
            done.setdefault(uid, now_s)
        recent = [at_s for at_s in done.values() if now_s - at_s < plan.WINDOW_S]
        assert len(recent) <= max(plan.FREE, plan.SHARE * count)


# What the workers are shown


def make_pod(uid: str, *, ending: bool = False, **metadata: Any) -> pod.Pod:
    fields: dict[str, Any] = {"name": uid, "namespace": "default", "uid": uid, **metadata}
    if ending:
        fields["deletionTimestamp"] = "2026-11-01T10:00:00Z"
    return pod.Pod.model_validate({"metadata": fields, "spec": {"containers": [{"name": "main", "image": "i"}]}})


def make_tombstone(uid: str) -> tombstone.Tombstone:
    spec = tombstone.TombstoneSpec(node_name="n1", pod_uid=meta.Uid(uid), pod_namespace="default", pod_name=uid)
    return tombstone.Tombstone(metadata=meta.ObjectMeta(name=uid, uid=meta.Uid(f"t-{uid}")), spec=spec)


def ending(desired: Desired) -> set[str]:
    return {uid for uid, found in desired.pods.items() if found.metadata.deletion_timestamp is not None} | set(desired.tombstones)


@pytest.fixture
def desired() -> Desired:
    made = Desired(FakeClock())
    for uid in uids(10):
        made.remember(make_pod(uid))
    return made


def test_a_snapshot_that_ends_everything_ends_nothing_until_it_is_approved(desired: Desired) -> None:
    desired.replace_all([*(make_pod(uid, ending=True) for uid in uids(6)), *(make_tombstone(uid) for uid in uids(10)[6:])])
    assert ending(desired) == set()
    assert desired.holding.is_set()
    assert set(desired.pods) == set(uids(10))
    desired.release_removals()
    assert ending(desired) == set(uids(10))
    assert not desired.holding.is_set()


def test_the_sixth_of_a_series_waits(desired: Desired) -> None:
    for uid in uids(10):
        desired.put(make_pod(uid, ending=True))
    assert ending(desired) == set(uids(5))
    desired.take_away(make_pod("p7", ending=True))  # removed by force: still held
    desired.put(make_tombstone("p7"))
    assert ending(desired) == set(uids(5))
    desired.release_removals()
    assert ending(desired) == set(uids(10))


def test_a_pod_that_was_only_there_to_end_is_not_held(desired: Desired) -> None:
    strangers = [make_pod(f"x{number}", ending=True) for number in range(10)]
    desired.replace_all([*(make_pod(uid) for uid in uids(10)), *strangers])
    assert ending(desired) == {p.uid for p in strangers}


def test_what_is_not_asked_for_any_more_is_shown_as_it_is(desired: Desired) -> None:
    desired.replace_all([make_pod(uid, ending=True) for uid in uids(10)])
    desired.replace_all([make_pod(uid, labels={"new": "yes"}) for uid in uids(10)])  # an older backup was restored
    assert ending(desired) == set()
    assert desired.pods["p1"].metadata.labels == {"new": "yes"}


def test_held_pods_that_go_by_themselves_open_the_gate(desired: Desired) -> None:
    desired.replace_all([make_pod(uid, ending=True) for uid in uids(10)])
    for uid in uids(10):
        desired.forget(uid)
    assert not desired.holding.is_set()
