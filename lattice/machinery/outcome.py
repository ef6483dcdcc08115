"""What a reconcile can say, and what the worker makes of it.

A reconciler returns :class:`Done` or :class:`RequeueAfter`, or raises. It never sleeps, counts or retries itself: the
table in ``docs/concepts/reconciling.md`` says what follows from each outcome, and :func:`classify` is that table's
first column. Durations are stated; there is no "requeue: yes".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias, TypeVar

from lattice.api.errors import ConflictError, StalledError

K_contra = TypeVar("K_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to do until the next event."""


@dataclass(frozen=True, slots=True)
class RequeueAfter:
    """Look again in ``delay_s`` seconds (plus up to a tenth, so that timers of one moment spread). Not a failure."""

    delay_s: float


Result: TypeAlias = Done | RequeueAfter


class Reconciler(Protocol[K_contra]):
    """Makes one object agree with what is wanted, starting from what is."""

    async def reconcile(self, key: K_contra, /) -> Result:
        """Move the object of ``key`` towards its wanted state.

        Must be right after any number of missed, doubled or reordered events, and when it was cancelled half-way
        before.

        Raises:
            ConflictError: lost a race; retried quietly.
            StalledError: a user must act; not retried before the object changes.
            Exception: anything else is taken for transient, and retried with backoff.
        """
        ...


class ErrorClass(Enum):
    """How the worker treats an exception."""

    CONFLICT = "conflict"
    STALLED = "stalled"
    TRANSIENT = "transient"


def classify(error: Exception) -> tuple[ErrorClass, Exception]:
    """Say how to treat ``error``, and which error stands for it.

    A group (from a reconciler that uses a TaskGroup) is what its members are, if they agree. If they differ, anything
    transient makes it transient: then a retry may help, and the whole group is reported.
    """
    leaves = list(_leaves(error))
    if all(isinstance(leaf, ConflictError) for leaf in leaves):
        return ErrorClass.CONFLICT, leaves[0]
    if all(isinstance(leaf, StalledError | ConflictError) for leaf in leaves):
        stalled = [leaf for leaf in leaves if isinstance(leaf, StalledError)]
        # The order in a group is that of completion; the choice must be stable between two reconciles.
        return ErrorClass.STALLED, min(stalled, key=lambda leaf: (leaf.reason, leaf.message))
    return ErrorClass.TRANSIENT, leaves[0] if len(leaves) == 1 else error


def retry_after_s(error: Exception) -> float:
    """Return how long the server asked to wait (429, 503), 0 if it did not. Of a group: the longest."""
    return max(float(getattr(leaf, "retry_after_s", 0.0)) for leaf in _leaves(error))


def _leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for member in error.exceptions:
            yield from _leaves(member)
    else:
        yield error
