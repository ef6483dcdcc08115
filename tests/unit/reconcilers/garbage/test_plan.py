"""What becomes of an object whose owners go."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.facts import Facts, Owner, facts_with
from controller.reconcilers.garbage.plan import Delete, DropOwners, Observed, OrphanDependents, OwnerState, RemoveFinalizer, make_plan

PRESENT, GONE, WAITING = OwnerState.PRESENT, OwnerState.GONE, OwnerState.WAITING


def make_facts(*owners: Owner, deleting: bool = False, finalizers: tuple[str, ...] = ()) -> Facts[object]:
    return Facts(owners=owners, finalizers=finalizers, deleting=deleting, detail=None)


def make_owner(uid: str) -> Owner:
    return Owner("v1", "Pod", "p", uid)


def observe(*states: OwnerState, dependents: int = 0) -> Observed:
    owners = tuple((make_owner(f"u{number}"), state) for number, state in enumerate(states))
    return Observed(facts=make_facts(*(owner for owner, _ in owners)), owners=owners, dependents=dependents)


@pytest.mark.parametrize(
    ("observed", "plan"),
    [
        (observe(), ()),
        (observe(PRESENT), ()),
        (observe(GONE), (Delete(foreground=False),)),
        (observe(GONE, GONE), (Delete(foreground=False),)),
        (observe(GONE, PRESENT), (DropOwners(("u0",)),)),
        (observe(WAITING, PRESENT), ()),
        (observe(WAITING), (Delete(foreground=False),)),
        (observe(WAITING, dependents=1), (Delete(foreground=True),)),
        (observe(GONE, dependents=1), (Delete(foreground=False),)),
        (Observed(facts=make_facts(make_owner("x"), deleting=True)), ()),
    ],
)
def test_owners(observed: Observed, plan: object) -> None:
    assert make_plan(observed) == plan


@pytest.mark.parametrize(
    ("finalizer", "dependents", "blocking", "plan"),
    [
        ("foregroundDeletion", 2, 1, ()),
        ("foregroundDeletion", 2, 0, (RemoveFinalizer("foregroundDeletion"),)),
        ("orphan", 2, 2, (OrphanDependents(), RemoveFinalizer("orphan"))),
        ("orphan", 0, 0, (RemoveFinalizer("orphan"),)),
        ("somebody.else/x", 0, 0, ()),
    ],
)
def test_finalizers(finalizer: str, dependents: int, blocking: int, plan: object) -> None:
    facts = make_facts(deleting=True, finalizers=(finalizer,))
    assert make_plan(Observed(facts=facts, dependents=dependents, blocking_dependents=blocking)) == plan


@given(st.lists(st.sampled_from(OwnerState), max_size=5), st.integers(0, 2), st.integers(0, 2**32))
def test_never_deletes_what_has_an_owner_and_ignores_order(states: list[OwnerState], dependents: int, seed: int) -> None:
    observed = observe(*states, dependents=dependents)
    shuffled = list(observed.owners)
    random.Random(seed).shuffle(shuffled)
    plan = make_plan(observed)
    assert make_plan(Observed(facts=observed.facts, owners=tuple(shuffled), dependents=dependents)) == plan
    if PRESENT in states or not states:
        assert not any(isinstance(action, Delete) for action in plan)
    if plan == (DropOwners(tuple(sorted({owner.uid for owner, state in observed.owners if state is GONE}))),):
        left = tuple((owner, state) for owner, state in observed.owners if state is not GONE)
        assert make_plan(Observed(facts=observed.facts, owners=left, dependents=dependents)) == ()


def test_facts_are_read_from_metadata() -> None:
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": True}
    facts = facts_with(lambda _: 7)({"metadata": {"ownerReferences": [reference], "finalizers": ["a"], "deletionTimestamp": "x"}})
    assert facts == Facts((Owner("v1", "Pod", "p", "u", True, False),), ("a",), True, 7)
    assert facts.controller_uid() == "u"
