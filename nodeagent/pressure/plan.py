"""Whether the machine is short of something: readings and thresholds in, conditions out. Pure.

kubelet's signals and defaults (https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/): a condition is true as
soon as a threshold is met, and false again only when none has been met for a whole transition period, so that a node at the edge does not
flap. Lattice evicts nobody for it: the taint keeps new Pods away, images are collected, and who exceeds an own limit is ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lattice.api import meta, quantity
from nodeagent.facts import Fact

DISK: Final = "DiskPressure"
MEMORY: Final = "MemoryPressure"
PIDS: Final = "PIDPressure"
TYPES: Final = (DISK, MEMORY, PIDS)

_REASONS: Final = {
    DISK: ("KubeletHasDiskPressure", "KubeletHasNoDiskPressure"),
    MEMORY: ("KubeletHasInsufficientMemory", "KubeletHasSufficientMemory"),
    PIDS: ("KubeletHasInsufficientPID", "KubeletHasSufficientPID"),
}
"""kubelet's own: tools know them."""
_GOOD: Final = {
    DISK: "there is enough free disk",
    MEMORY: "there is enough available memory",
    PIDS: "there are enough free process ids",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A part of a whole: a fixed amount, or a percentage."""

    amount: int | None = None
    percent: float | None = None

    def of(self, whole: int) -> int:
        """Return the part in whole units."""
        if self.percent is not None:
            return int(whole * self.percent / 100)
        return self.amount or 0

    def __str__(self) -> str:
        if self.percent is not None:
            return f"{self.percent:g} %"
        return quantity.format_bytes(self.amount or 0)


def parse_share(text: str) -> Share:
    """Return the value of a setting: ``5%``, ``100Mi``, ``500``."""
    return Share(percent=float(text[:-1])) if text.endswith("%") else Share(amount=quantity.to_units(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Below what the machine is short of something."""

    disk: Share = Share(percent=5.0)
    inodes: Share = Share(percent=5.0)
    """kubelet's default. Not a setting: who runs out of inodes first has a file system for few, large files."""
    memory: Share = Share(amount=100 * 1024**2)
    pids: Share = Share(percent=5.0)
    transition_s: float = 300.0
    """How long nothing must have been short before the condition goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was measured; ``None`` is not known, and counts as enough."""

    disk_size_bytes: int | None = None
    disk_free_bytes: int | None = None
    inodes: int | None = None
    inodes_free: int | None = None
    memory_size_bytes: int | None = None
    memory_available_bytes: int | None = None
    pids: int | None = None
    pids_limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Which pressures there are, and when each was met last."""

    met_at_s: Mapping[str, float] = field(default_factory=dict)
    """Only those that are on."""
    why: Mapping[str, str] = field(default_factory=dict)

    def on(self, pressure: str) -> bool:
        """Return whether there is this pressure."""
        return pressure in self.met_at_s


def judge(state: State, reading: Reading, thresholds: Thresholds, now_s: float) -> State:
    """Return the state after a reading."""
    short = shortages(reading, thresholds)
    met_at_s = {name: at_s for name, at_s in state.met_at_s.items() if now_s - at_s < thresholds.transition_s}
    met_at_s.update(dict.fromkeys(short, now_s))
    return State(met_at_s=met_at_s, why={name: short.get(name) or state.why.get(name, "") for name in met_at_s})


def shortages(reading: Reading, thresholds: Thresholds) -> dict[str, str]:
    """Return what the machine is short of right now, with a sentence."""
    found = {}
    if _below(reading.disk_free_bytes, reading.disk_size_bytes, thresholds.disk):
        found[DISK] = f"less than {thresholds.disk} of the disk with Docker's data is free"
    elif _below(reading.inodes_free, reading.inodes, thresholds.inodes):
        found[DISK] = f"less than {thresholds.inodes} of the inodes of the disk with Docker's data are free"
    if _below(reading.memory_available_bytes, reading.memory_size_bytes, thresholds.memory):
        found[MEMORY] = f"less than {thresholds.memory} of memory is available"
    free = reading.pids_limit - reading.pids if reading.pids is not None and reading.pids_limit else None
    if _below(free, reading.pids_limit, thresholds.pids):
        found[PIDS] = f"less than {thresholds.pids} of the process ids are free"
    return found


def facts(state: State) -> tuple[Fact, ...]:
    """Return the three conditions."""
    return tuple(_fact(name, state) for name in TYPES)


def _fact(name: str, state: State) -> Fact:
    short, enough = _REASONS[name]
    status: meta.ConditionStatus = "True" if state.on(name) else "False"
    return Fact(type=name, status=status, reason=short if state.on(name) else enough, message=state.why.get(name) or _GOOD[name])


def _below(free: int | None, whole: int | None, threshold: Share) -> bool:
    return free is not None and bool(whole) and free < threshold.of(whole or 0)
