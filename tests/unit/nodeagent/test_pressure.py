"""Conditions of a machine that is short of something: when they come, when they go, what they say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.pressure.plan import DISK, MEMORY, PIDS, Reading, Share, State, Thresholds, facts, judge, parse_share, shortages

GIB = 1024**3
LIMITS = Thresholds(transition_s=300)
FINE = Reading(
    disk_size_bytes=100 * GIB, disk_free_bytes=50 * GIB, inodes=1000, inodes_free=500,
    memory_size_bytes=8 * GIB, memory_available_bytes=4 * GIB, pids=100, pids_limit=1000,
)  # fmt: skip
FULL = Reading(disk_size_bytes=100 * GIB, disk_free_bytes=4 * GIB)


@pytest.mark.parametrize(
    ("reading", "short"),
    [
        (FINE, []),
        (Reading(), []),
        (FULL, [DISK]),
        (Reading(disk_size_bytes=100 * GIB, disk_free_bytes=5 * GIB), []),
        (Reading(disk_size_bytes=0, disk_free_bytes=0), []),
        (Reading(inodes=1000, inodes_free=49), [DISK]),
        (Reading(inodes=0, inodes_free=0), []),
        (Reading(memory_size_bytes=8 * GIB, memory_available_bytes=99 * 1024**2), [MEMORY]),
        (Reading(memory_size_bytes=8 * GIB, memory_available_bytes=101 * 1024**2), []),
        (Reading(pids=960, pids_limit=1000), [PIDS]),
        (Reading(pids=940, pids_limit=1000), []),
    ],
)
def test_what_is_below_its_threshold_is_short(reading: Reading, short: list[str]) -> None:
    assert sorted(shortages(reading, LIMITS)) == sorted(short)


def test_a_threshold_may_be_an_amount() -> None:
    limits = Thresholds(disk=parse_share("60Gi"), memory=parse_share("75%"), pids=parse_share("950"))
    assert sorted(shortages(FINE, limits)) == [DISK, MEMORY, PIDS]
    assert parse_share("12.5%") == Share(percent=12.5)


def test_pressure_comes_at_once_and_goes_after_a_quiet_transition_period() -> None:
    state = judge(State(), FULL, LIMITS, 0)
    assert state.on(DISK)
    state = judge(state, FINE, LIMITS, 100)
    assert state.on(DISK)
    state = judge(state, FULL, LIMITS, 200)  # counts anew from here
    state = judge(state, FINE, LIMITS, 499)
    assert state.on(DISK)
    assert not judge(state, FINE, LIMITS, 500).on(DISK)


def test_conditions_are_kubelets_and_say_the_same_until_something_changes() -> None:
    state = judge(State(), FULL, LIMITS, 0)
    told = {fact.type: (fact.status, fact.reason, fact.message) for fact in facts(state)}
    assert told == {
        DISK: ("True", "KubeletHasDiskPressure", "less than 5 % of the disk with Docker's data is free"),
        MEMORY: ("False", "KubeletHasSufficientMemory", "there is enough available memory"),
        PIDS: ("False", "KubeletHasSufficientPID", "there are enough free process ids"),
    }
    fuller = judge(state, Reading(disk_size_bytes=100 * GIB, disk_free_bytes=1 * GIB), LIMITS, 10)
    later = judge(fuller, FINE, LIMITS, 20)
    assert facts(fuller) == facts(later) == facts(state)


@given(st.lists(st.tuples(st.floats(1, 200), st.booleans()), max_size=30))
def test_it_never_flaps_within_a_transition_period(steps: list[tuple[float, bool]]) -> None:
    state, now_s, last_full_s = State(), 0.0, None
    for wait_s, full in steps:
        now_s += wait_s
        state = judge(state, FULL if full else FINE, LIMITS, now_s)
        last_full_s = now_s if full else last_full_s
        assert state.on(DISK) is (last_full_s is not None and now_s - last_full_s < LIMITS.transition_s)
