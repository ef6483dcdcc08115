"""Conditions as values: look one up, set one, merge a writer's set into those of others.

Used by plans (which may import nothing but ``lattice.api``), by reconcilers and by the node agent; ``lattice.machinery.conditions`` is
the same under the name where shells look for it. Pure: the time is an argument.

Guarantees, those of Kubernetes' API conventions: ``lastTransitionTime`` changes only when ``status`` does; a type occurs once; the types
that a writer does not own stay as they are (a Pod's ``PodScheduled`` belongs to the scheduler, its ``Ready`` to the agent); the order is
by type, so that two computations of the same state are equal and a write can be skipped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import TypeVar

from lattice.api import meta

C = TypeVar("C", bound=meta.Condition)


def get_condition(conditions: Iterable[C], condition_type: str) -> C | None:
    """Return the condition of ``condition_type``, ``None`` if there is none."""
    return next((condition for condition in conditions if condition.type == condition_type), None)


def is_true(conditions: Iterable[meta.Condition], condition_type: str) -> bool:
    """Whether the condition is there and ``True``; absent and ``Unknown`` are not."""
    condition = get_condition(conditions, condition_type)
    return condition is not None and condition.status == "True"


def set_condition(conditions: Iterable[C], condition: C, now: datetime) -> tuple[C, ...]:
    """Return ``conditions`` with ``condition`` in place of the one of its type.

    Args:
        conditions: the present ones; other types are kept.
        condition: the new one. Its ``last_transition_time`` is computed, whatever it says, unless its type is new and it brings one.
        now: becomes the transition time if the status differs; cut to whole seconds, as it is on the wire, so that what was computed
            equals what is read back.
    """
    return merge_conditions(conditions, (condition,), now)


def merge_conditions(present: Iterable[C], wanted: Iterable[C], now: datetime, *, owned: Collection[str] = ()) -> tuple[C, ...]:
    """Return ``present`` with each of ``wanted`` set.

    Args:
        present: what the object has now; of a type that occurs twice the last one counts.
        wanted: what the writer says; see :func:`set_condition`.
        now: see :func:`set_condition`.
        owned: types that are the writer's alone: those among them that are not in ``wanted`` are dropped.
    """
    old = {condition.type: condition for condition in present}
    new = {condition.type: _stamped(old.get(condition.type), condition, now) for condition in wanted}
    kept = {name: condition for name, condition in old.items() if name not in owned}
    return tuple(condition for _, condition in sorted({**kept, **new}.items()))


def remove_condition(conditions: Iterable[C], condition_type: str) -> tuple[C, ...]:
    """Return ``conditions`` without the type; the order is kept."""
    return tuple(condition for condition in conditions if condition.type != condition_type)


def same_conditions(left: Iterable[meta.Condition], right: Iterable[meta.Condition]) -> bool:
    """Whether both say the same in any order, so that a write would change nothing."""
    return {c.type: c.to_dict() for c in left} == {c.type: c.to_dict() for c in right}


def _stamped(old: C | None, condition: C, now: datetime) -> C:
    changed_at: datetime | None = now.replace(microsecond=0)
    if old is None:
        changed_at = condition.last_transition_time or changed_at
    elif old.status == condition.status:
        changed_at = old.last_transition_time or changed_at
    if condition.last_transition_time == changed_at:
        return condition
    return meta.changed(condition, last_transition_time=changed_at)
