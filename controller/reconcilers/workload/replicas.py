"""Which Pods to create and which to delete, one ordinal at a time.

Called by the plan. What it guarantees, whatever it is shown:

* A replica with storage has at most one Pod: the next one is created only when the store has none left of the ordinal.
* An update takes at most one ready replica away at a time, from the highest ordinal down; a replica that is not ready is replaced at once.
* Scaling down ends the highest ordinals, and nothing is created above the wanted number: none for 0.
* A Pod that ended is replaced under the next attempt's name, so that a new one can start while a lost one still holds its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from controller.reconcilers.workload import template
from controller.reconcilers.workload.model import CreatePod, DeletePod
from lattice.api import conditions, names, pod, workload

REPLACE_AFTER_S = 10.0
"""A Pod that ended is replaced no sooner after its creation: a Pod that fails at once must not be made again and again."""


@dataclass(slots=True)
class Replicas:
    """What to do, and what is wanted and there."""

    creates: list[CreatePod] = field(default_factory=list)
    deletes: list[DeletePod] = field(default_factory=list)
    requeue_after_s: float | None = None


@dataclass(slots=True)
class _Ordinal:
    alive: list[pod.Pod] = field(default_factory=list)
    finished: list[pod.Pod] = field(default_factory=list)
    going: list[pod.Pod] = field(default_factory=list)

    def all(self) -> list[pod.Pod]:
        return [*self.alive, *self.finished, *self.going]


def is_ready(p: pod.Pod) -> bool:
    """Return whether the agent observed the Pod ready."""
    return p.metadata.deletion_timestamp is None and p.status.phase == "Running" and conditions.is_true(p.status.conditions, "Ready")


def is_finished(p: pod.Pod) -> bool:
    """Return whether the Pod has ended for good."""
    return p.status.phase in ("Succeeded", "Failed")


def label_number(p: pod.Pod, label: str) -> int:
    """Return a numeric label of a Pod, -1 where it is missing or broken."""
    text = p.metadata.labels.get(label, "")
    return int(text) if text.isascii() and text.isdigit() else -1


def plan_replicas(owner: workload.Workload, pods: Sequence[pod.Pod], digest: str, now: datetime) -> Replicas:
    """Decide on all ordinals."""
    result = Replicas()
    ordinals: dict[int, _Ordinal] = {}
    for p in sorted(pods, key=lambda p: (p.name, p.uid)):
        slot = ordinals.setdefault(label_number(p, names.LABEL_ORDINAL), _Ordinal())
        (slot.going if p.metadata.deletion_timestamp else slot.finished if is_finished(p) else slot.alive).append(p)
    wanted = owner.spec.replicas
    for number in sorted(ordinals, reverse=True):
        if not 0 <= number < wanted:
            result.deletes += [_delete(p, "scaled down") for p in (*ordinals[number].alive, *ordinals[number].finished)]
    with_storage = template.storage_of(owner.spec) is not None
    kept: dict[int, pod.Pod] = {}
    for number in range(wanted):
        slot = ordinals.get(number, _Ordinal())
        if slot.alive:
            kept[number] = _keep_one(slot, digest, result)
            result.deletes += [_delete(p, "has ended") for p in slot.finished]
        else:
            _replace(owner, slot, number, digest, now, with_storage, result)
    _roll(kept, wanted, digest, result)
    return result


def _keep_one(slot: _Ordinal, digest: str, result: Replicas) -> pod.Pod:
    """Keep the newest Pod of the present template; there is only one, unless something strange has happened."""
    best = max(slot.alive, key=lambda p: (_is_current(p, digest), is_ready(p), label_number(p, names.LABEL_ATTEMPT), p.name))
    result.deletes += [_delete(p, "one replica too many") for p in slot.alive if p is not best]
    return best


def _replace(
    owner: workload.Workload, slot: _Ordinal, number: int, digest: str, now: datetime, with_storage: bool, result: Replicas
) -> None:
    """Start a replica that has no living Pod."""
    wait_s = max((REPLACE_AFTER_S - _age_s(p, now) for p in slot.finished), default=0.0)
    if wait_s > 0:
        result.requeue_after_s = min(result.requeue_after_s or wait_s, wait_s)
        return
    result.deletes += [_delete(p, "has ended") for p in slot.finished]
    if with_storage and (slot.finished or slot.going):
        return  # the old Pod may still hold the volume; its end is an event
    attempts = [label_number(p, names.LABEL_ATTEMPT) for p in slot.all() if _is_current(p, digest)]
    result.creates.append(CreatePod(template.make_pod(owner, digest, number, max(attempts, default=-1) + 1)))


def _roll(kept: dict[int, pod.Pod], wanted: int, digest: str, result: Replicas) -> None:
    """Replace Pods of an earlier template."""
    stale = [number for number in sorted(kept, reverse=True) if not _is_current(kept[number], digest)]
    unready = [number for number in stale if not is_ready(kept[number])]
    result.deletes += [_delete(kept[number], "template changed") for number in unready]
    all_ready = len(kept) == wanted and all(is_ready(p) for p in kept.values())
    if stale and not unready and all_ready:
        result.deletes.append(_delete(kept[stale[0]], "template changed"))


def _is_current(p: pod.Pod, digest: str) -> bool:
    return p.metadata.labels.get(names.LABEL_TEMPLATE_HASH) == digest


def _age_s(p: pod.Pod, now: datetime) -> float:
    created = p.metadata.creation_timestamp
    return (now - created).total_seconds() if created is not None else REPLACE_AFTER_S


def _delete(p: pod.Pod, why: str) -> DeletePod:
    return DeletePod(p.name, p.uid, why)
