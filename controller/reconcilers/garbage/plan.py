"""What becomes of an object whose owners go: values in, values out.

Kubernetes' rules. An object goes when *all* its owners are gone; while one is left, the references to the others are taken away. An owner
that is deleted in the foreground stays until the objects that block it are gone; one deleted with ``orphan`` leaves its dependents
alone. The shell has made sure, by a live read, that an owner that is said to be gone is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from controller.facts import Facts, Owner
from lattice.api import names


class OwnerState(Enum):
    """What is known of an owner."""

    PRESENT = "present"
    GONE = "gone"
    WAITING = "waiting"
    """Being deleted in the foreground: it waits for its dependents."""
    UNKNOWN = "unknown"
    """Of a kind that is not served, or not known of yet: nobody can say, so nothing is deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """An object, its owners, and those that it owns."""

    facts: Facts[object]
    owners: tuple[tuple[Owner, OwnerState], ...] = ()
    dependents: int = 0
    """How many objects name this one as an owner."""
    blocking_dependents: int = 0
    """How many of them block its deletion in the foreground."""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the object, in the foreground if it owns others that are to go first."""

    foreground: bool


@dataclass(frozen=True, slots=True)
class DropOwners:
    """Take away the references to these owners (uids)."""

    uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OrphanDependents:
    """Take away the references to this object from all that it owns."""


@dataclass(frozen=True, slots=True)
class RemoveFinalizer:
    """The object's deletion has waited long enough for what this stands for."""

    name: str


Action: TypeAlias = Delete | DropOwners | OrphanDependents | RemoveFinalizer


def make_plan(observed: Observed) -> tuple[Action, ...]:
    """Return what to do, in order; empty if nothing."""
    facts = observed.facts
    if facts.deleting:
        if names.FINALIZER_ORPHAN in facts.finalizers:
            orphan = (OrphanDependents(),) if observed.dependents else ()
            return (*orphan, RemoveFinalizer(names.FINALIZER_ORPHAN))
        if names.FINALIZER_FOREGROUND in facts.finalizers and not observed.blocking_dependents:
            return (RemoveFinalizer(names.FINALIZER_FOREGROUND),)
        return ()
    if not observed.owners:
        return ()
    left = [owner for owner, state in observed.owners if state in {OwnerState.PRESENT, OwnerState.UNKNOWN}]
    if left:
        lost = tuple(sorted({owner.uid for owner, state in observed.owners if state is OwnerState.GONE}))
        return (DropOwners(lost),) if lost else ()
    waited_for = any(state is OwnerState.WAITING for _, state in observed.owners)
    return (Delete(foreground=waited_for and observed.dependents > 0),)
