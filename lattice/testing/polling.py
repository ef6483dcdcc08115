"""Waiting in tests for a state of the real world: polls with a deadline, and shows the last state when it fails.

Used by integration and end-to-end tests, where time is real. A unit test uses a fake clock instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

from lattice.machinery.clock import Clock, SystemClock

T = TypeVar("T")


@overload
async def eventually(
    fn: Callable[[], Awaitable[T]],
    deadline_s: float = ...,
    what: str = ...,
    *,
    interval_s: float = ...,
    clock: Clock | None = ...,
) -> T: ...
@overload
async def eventually(
    fn: Callable[[], T],
    deadline_s: float = ...,
    what: str = ...,
    *,
    interval_s: float = ...,
    clock: Clock | None = ...,
) -> T: ...
async def eventually(
    fn: Callable[[], T | Awaitable[T]],
    deadline_s: float = 10.0,
    what: str = "the condition",
    *,
    interval_s: float = 0.05,
    clock: Clock | None = None,
) -> T:
    """Call ``fn`` until it returns something true, and return that.

    ``fn`` may be a coroutine function. An ``AssertionError`` or ``LookupError`` in it counts as "not yet" and is
    shown if it stays; any other error ends the wait at once, because waiting would not cure it.

    Args:
        fn: looks at the world.
        deadline_s: how long to try. It is tried at least once, and once more at the end.
        what: completes the sentence "waited 10 s for ...".
        interval_s: pause between two tries.
        clock: a fake one, in tests of this function.

    Raises:
        AssertionError: it never came true; the message has the last value or error.
    """
    clock = clock or SystemClock()
    give_up_s = clock.monotonic() + deadline_s
    while True:
        last_try = clock.monotonic() >= give_up_s
        cause: Exception | None = None
        try:
            outcome = fn()
            value: T = await outcome if inspect.isawaitable(outcome) else outcome
            if value:
                return value
            seen = repr(value)
        except (AssertionError, LookupError) as error:
            cause, seen = error, f"{type(error).__name__}: {error}"
        if last_try:
            raise AssertionError(f"waited {deadline_s:g} s for {what}; last seen: {seen}") from cause
        await clock.sleep(interval_s)
