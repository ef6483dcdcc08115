"""Conditions: transition times, foreign types, order, equality after a round trip."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from lattice.api.meta import Condition
from lattice.machinery import conditions

T0 = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
LATER = T0 + timedelta(hours=1, microseconds=999)


def make_condition(name: str, status: Literal["True", "False", "Unknown"] = "True", **fields: object) -> Condition:
    return Condition.model_validate({"type": name, "status": status, **fields})


def test_a_new_condition_is_stamped_in_whole_seconds() -> None:
    (only,) = conditions.set_condition((), make_condition("Ready"), LATER)
    assert only.last_transition_time == LATER.replace(microsecond=0)
    assert Condition.model_validate_json(only.to_json()) == only


def test_a_new_condition_may_bring_its_own_time() -> None:
    (only,) = conditions.set_condition((), make_condition("Ready", last_transition_time=T0), LATER)
    assert only.last_transition_time == T0


def test_the_transition_time_stays_while_only_reason_message_or_generation_change() -> None:
    before = conditions.set_condition((), make_condition("Ready", "False", reason="Starting", observed_generation=1), T0)
    (after,) = conditions.set_condition(
        before, make_condition("Ready", "False", reason="ProbeFailed", message="no answer", observed_generation=2), LATER
    )
    assert (after.last_transition_time, after.reason, after.message, after.observed_generation) == (T0, "ProbeFailed", "no answer", 2)


def test_the_transition_time_changes_with_the_status() -> None:
    before = conditions.set_condition((), make_condition("Ready", "False"), T0)
    (after,) = conditions.set_condition(before, make_condition("Ready", last_transition_time=T0), LATER)
    assert after.last_transition_time == LATER.replace(microsecond=0)


def test_a_condition_stored_without_a_time_gets_one() -> None:
    (after,) = conditions.set_condition((make_condition("Ready"),), make_condition("Ready"), T0)
    assert after.last_transition_time == T0


def test_setting_the_same_again_changes_nothing() -> None:
    before = conditions.set_condition((), make_condition("Ready", reason="Up"), T0)
    assert conditions.set_condition(before, make_condition("Ready", reason="Up"), LATER) == before


def test_foreign_types_are_kept_and_owned_ones_dropped() -> None:
    present = (make_condition("Ready"), make_condition("PodScheduled", "False", reason="Unschedulable"), make_condition("Old"))
    merged = conditions.merge_conditions(present, (make_condition("Ready", "False"),), T0, owned={"Ready", "Old"})
    assert [condition.type for condition in merged] == ["PodScheduled", "Ready"]
    assert merged[0] is present[1]


def test_lookup_and_removal() -> None:
    present = (make_condition("B", "Unknown"), make_condition("A"))
    assert conditions.get_condition(present, "A") is present[1]
    assert conditions.get_condition(present, "C") is None
    assert conditions.is_true(present, "A")
    assert not conditions.is_true(present, "B")
    assert not conditions.is_true(present, "C")
    assert conditions.remove_condition(present, "B") == (present[1],)


def test_same_conditions_ignores_order_only() -> None:
    a, b = make_condition("A"), make_condition("B")
    assert conditions.same_conditions((a, b), (b, a))
    assert not conditions.same_conditions((a, b), (a,))
    assert not conditions.same_conditions((a,), (make_condition("A", reason="Why"),))


names = st.sampled_from("ABCD")
some_conditions = st.lists(st.builds(make_condition, names, st.sampled_from(["True", "False", "Unknown"])), max_size=6)


@given(present=some_conditions, wanted=some_conditions)
def test_merge_is_idempotent_sorted_and_free_of_duplicates(present: list[Condition], wanted: list[Condition]) -> None:
    merged = conditions.merge_conditions(present, wanted, T0)
    types = [condition.type for condition in merged]
    assert types == sorted({c.type for c in (*present, *wanted)})
    assert conditions.merge_conditions(merged, wanted, LATER) == merged
