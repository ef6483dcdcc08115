"""From counters to rates. Pure; called by ``usage/shell.py``.

The engine counts CPU time; what a person wants is cores. A rate takes two samples: the one before, if it is neither too young (noise) nor
too old (an average of what was), else one a moment later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SETTLE_S: Final = 1.0
"""Between two samples that are taken for one answer. Shorter ones are mostly the measuring itself."""
FRESH_S: Final = 5.0
"""An answer so young is given again: asking often does not measure often."""
OLD_S: Final = 120.0
"""A sample older than this says nothing of the present."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Counters of one container, or of the machine."""

    at_s: float
    """Monotonic."""
    cpu_s: float
    """CPU time used since its start."""
    memory_bytes: int
    """Working set: memory that cannot be taken away without swapping or killing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What is used now."""

    cpu_nanocores: int
    memory_bytes: int
    window_s: float
    """Over which CPU time was counted."""


def is_usable(before: Sample, now_s: float) -> bool:
    """Return whether a rate can be made of an earlier sample and one of now."""
    return SETTLE_S <= now_s - before.at_s <= OLD_S


def usage(before: Sample | None, after: Sample) -> Usage | None:
    """Return the usage between two samples; ``None`` if they make none: too near, or the container has started again in between."""
    if before is None or after.at_s <= before.at_s or after.cpu_s < before.cpu_s:
        return None
    window_s = after.at_s - before.at_s
    return Usage(
        cpu_nanocores=round((after.cpu_s - before.cpu_s) / window_s * 1e9), memory_bytes=after.memory_bytes, window_s=round(window_s, 3)
    )
