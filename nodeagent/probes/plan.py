"""When a probe counts as succeeded or failed, and when the next check is due. Pure.

Thresholds and delays are Kubernetes'. One thing is faster: until a readiness or startup probe has succeeded for the first time, it is
checked every :data:`EAGER_PERIOD_S`, not every ``periodSeconds``, so that a database that is up after one second is Running after one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from lattice.api import pod

EAGER_PERIOD_S: Final = 0.5
"""A check of ``pg_isready`` by exec costs some 50 ms of CPU on a small machine: a tenth of it, for the seconds of a start."""
EAGER_FOR_S: Final = 60.0
"""After this time the probe's own period counts, so that what never gets ready costs no more than elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeState:
    """Results so far."""

    successes: int = 0
    """In a row."""
    failures: int = 0
    """In a row."""
    healthy: bool | None = None
    """``None``: no threshold was reached yet."""
    message: str = ""
    """What the last failed check said."""


def record(state: ProbeState, probe: pod.Probe, *, success: bool, message: str = "") -> ProbeState:
    """Return the state after a check."""
    if success:
        count = state.successes + 1
        healthy = True if count >= probe.success_threshold else state.healthy
        return ProbeState(successes=count, healthy=healthy)
    count = state.failures + 1
    return replace(
        state, successes=0, failures=count, message=message, healthy=False if count >= probe.failure_threshold else state.healthy
    )


def counts_failure(probe: pod.Probe, *, elapsed_s: float, last_failure_s: float | None) -> bool:
    """Return whether a failed check counts: eager checks must not use up the threshold faster than the probe's period would."""
    return last_failure_s is None or elapsed_s - last_failure_s >= probe.period_seconds - 1e-6


def next_check_s(probe: pod.Probe, state: ProbeState, *, elapsed_s: float, eager: bool) -> float:
    """Return the seconds until the next check, ``elapsed_s`` after the first one was due."""
    if eager and state.healthy is not True and elapsed_s < EAGER_FOR_S:
        return min(EAGER_PERIOD_S, float(probe.period_seconds))
    return float(probe.period_seconds)
