"""How long to wait after a failure: exponential backoff with jitter, per key, and one bucket for all.

Used by the work queue (per key), by supervised tasks and by reflectors (one each). Pure arithmetic: nothing here
waits, it only says how long; the clock and the randomness are injected.

Guarantees: a delay never exceeds the cap, never falls below half of the undisturbed value, and the same seed gives the
same delays. The number of failures is unbounded, the arithmetic is not (2**n is cut before it overflows).
"""

from __future__ import annotations

import random
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from lattice.machinery.clock import Clock

K = TypeVar("K", bound=Hashable)

_MAX_EXPONENT = 62
"""2**62 times any base is over any cap; beyond 1023 a float power overflows."""


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """The shape of a series of delays: ``base_s * 2**n``, at most ``cap_s``, less up to a share of ``jitter``."""

    base_s: float = 0.1
    """Delay after the first failure. 0.1 s: client-go's shape, slower than its 5 ms because one of our failures is an
    HTTP round trip over the internet, not one inside a data centre."""

    cap_s: float = 300.0
    """No delay is longer. 300 s: a repaired world is noticed within five minutes, even if no event tells of it."""

    jitter: float = 0.5
    """Share (0 to 1) of the delay that is random, so that what failed together does not come back together."""

    def delay_s(self, failures: int, rng: random.Random) -> float:
        """Return the delay after ``failures`` earlier failures (0: this is the first)."""
        undisturbed_s = min(self.cap_s, self.base_s * 2.0 ** min(max(failures, 0), _MAX_EXPONENT))
        return undisturbed_s * (1.0 - self.jitter * rng.random())


class Backoff:
    """One series of delays, for one thing that is retried."""

    def __init__(self, policy: BackoffPolicy, rng: random.Random) -> None:
        self._policy = policy
        self._rng = rng
        self.failures = 0
        """Failures since the last reset."""

    def next_s(self) -> float:
        """Count one failure and return how long to wait."""
        delay_s = self._policy.delay_s(self.failures, self._rng)
        self.failures += 1
        return delay_s

    def reset(self) -> None:
        """Start over: the thing works again."""
        self.failures = 0


class TokenBucket:
    """A rate over all keys: ``rate_per_s`` on average, bursts of up to ``burst``."""

    def __init__(self, clock: Clock, *, rate_per_s: float, burst: int) -> None:
        self._clock = clock
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = float(burst)
        """May be negative: tokens that are promised to callers who wait for them."""
        self._filled_at = clock.monotonic()

    def reserve_s(self) -> float:
        """Take one token and return how long to wait until it is there (0: it is there now)."""
        self._fill()
        self._tokens -= 1.0
        return max(0.0, -self._tokens / self._rate_per_s)

    def try_take(self) -> bool:
        """Take one token if there is one now."""
        self._fill()
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def _fill(self) -> None:
        now_s = self._clock.monotonic()
        self._tokens = min(float(self._burst), self._tokens + (now_s - self._filled_at) * self._rate_per_s)
        self._filled_at = now_s


class RateLimiter(Generic[K]):
    """Delays for a queue: the longer one of a key's own backoff and the bucket that all keys share.

    The bucket keeps thousands of keys that fail at once (the server is back after an outage) from coming back at once;
    the default lets ten a second through after the first hundred, as client-go does.
    """

    def __init__(
        self,
        clock: Clock,
        rng: random.Random,
        *,
        policy: BackoffPolicy | None = None,
        rate_per_s: float = 10.0,
        burst: int = 100,
    ) -> None:
        self._policy = policy or BackoffPolicy()
        self._rng = rng
        self._bucket = TokenBucket(clock, rate_per_s=rate_per_s, burst=burst)
        self._failures: dict[K, int] = {}
        """Only keys that failed since they were forgotten; bounded by the number of keys that are failing."""

    def when_s(self, key: K) -> float:
        """Count one failure of ``key`` and return how long it has to wait."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return max(self._policy.delay_s(failures, self._rng), self._bucket.reserve_s())

    def forget(self, key: K) -> None:
        """Start ``key`` over: it succeeded, or nobody will retry it."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """Return how often ``key`` failed since it was forgotten."""
        return self._failures.get(key, 0)
