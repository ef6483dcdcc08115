"""Whether removals may be carried out, or wait for a person: ``ask(gate, removals) -> Gate``. Pure.

A wrong ``kubectl delete``, a controller that has lost its mind or a stolen token can ask a node to remove everything it runs, with all the
right words. So more than five removals, and more than three tenths of the node's Pods, within a minute wait until a person says so, or the
node is drained. What counts:

* a Pod that this node has known for a minute or longer, and that has not ended: young ones are no loss, finished ones neither;
* net of replacements: a Pod that arrived within the same minute and has the same controller makes up for one removal, so that a rolling
  update passes;
* those that are asked for together are judged together: all of them wait, or none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

WINDOW_S: Final = 60.0
FREE: Final = 5
"""Removals within the window that always pass."""
SHARE: Final = 0.3
"""Of the node's Pods, within the window."""
APPROVED_S: Final = 60.0
"""How long an approval lasts: what was asked for in one go may arrive a little later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A Pod of the node."""

    uid: str
    owner: str
    """Uid of its controller, empty for none."""
    since_s: float
    """Monotonic time at which this node first knew it; minus infinity: in an earlier life of the agent."""
    finished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """A counted removal that was let through."""

    uid: str
    owner: str
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What is remembered between removals."""

    passed: tuple[Removal, ...] = ()
    """Within the window."""
    held: frozenset[str] = frozenset()
    """Uids of the Pods whose removal waits."""
    open_until_s: float = float("-inf")
    """Everything passes until this monotonic time."""


def ask(gate: Gate, removals: Iterable[str], pods: Iterable[Known], now_s: float) -> Gate:
    """Return the gate after removals were asked for; those that wait are in ``held``.

    Args:
        gate: the gate before.
        removals: uids of the Pods to remove, which may be asked for again.
        pods: all Pods of the node, those to be removed included.
        now_s: monotonic time.
    """
    here = {known.uid: known for known in pods}
    passed = tuple(removal for removal in gate.passed if now_s - removal.at_s < WINDOW_S)
    counted = {removal.uid for removal in passed}
    old = {uid for uid, known in here.items() if not known.finished and now_s - known.since_s >= WINDOW_S}
    fresh = [here[uid] for uid in dict.fromkeys(removals) if uid in old and uid not in counted and uid not in gate.held]
    gate = replace(gate, passed=passed, held=gate.held & here.keys())
    if not fresh:
        return gate
    if now_s < gate.open_until_s:
        return gate
    asked = (*passed, *(Removal(uid=known.uid, owner=known.owner, at_s=now_s) for known in fresh))
    lost = len(gate.held) + _net(asked, here.values(), now_s)
    everything = len(old | counted)
    if gate.held or (lost > FREE and lost > SHARE * everything):
        return replace(gate, held=gate.held | {known.uid for known in fresh})
    return replace(gate, passed=asked)


def release(gate: Gate, now_s: float) -> Gate:
    """Return the gate after a person, or a drain, has let everything pass."""
    return replace(gate, passed=(), held=frozenset(), open_until_s=now_s + APPROVED_S)


def _net(removals: Iterable[Removal], pods: Iterable[Known], now_s: float) -> int:
    """Return how many removals are not made up for by a new Pod of the same controller."""
    arrived = Counter(known.owner for known in pods if known.owner and now_s - known.since_s < WINDOW_S)
    return sum(max(0, count - (arrived[owner] if owner else 0)) for owner, count in Counter(r.owner for r in removals).items())
