"""What to do next for one Pod: ``decide(view) -> Decision``. Pure.

Called by the Pod's worker (``shell.py``) in a loop: observe, decide, execute. A decision holds the actions that may be executed now, at
most one for each container, in any order and at the same time; a container whose action is under way is left alone until it has ended.
The agent can die between any two actions and goes on from what it then sees.

Guarantees, tested as properties on a model of the engine:

* it converges, from any state and after any prefix of actions;
* there are never two running containers of one name, and none runs in a network that is gone;
* nothing is stopped or removed but for a Pod that is ending or has ended, a container that is superseded, unhealthy, not of this spec, or
  without its network;
* a Pod that has ended (``Succeeded``, ``Failed``) never starts again.

The orders of start and end are in ``order.py``, attempts and delays in ``restarts.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from nodeagent.runtime import base
from nodeagent.workloads import order, restarts
from nodeagent.workloads.actions import PAUSE, Action, Confirm, Create, Pull, Remove, Start, Stop, Wait
from nodeagent.workloads.order import Role, Slot
from nodeagent.workloads.restarts import History

MIN_GRACE_S: Final = 2.0
"""What a sidecar gets to end where the others have used the grace period up (kubelet's figure)."""
INITIALIZING: Final = Wait(reason="PodInitializing", message="waits for the init containers")
HOOKED: Final = Wait(reason="ContainerCreating", message="waits for the postStart hook of the container before")

Outcome: TypeAlias = Literal["", "Succeeded", "Failed"]
_Boxes: TypeAlias = Mapping[str, Sequence[base.Container]]
_NEW: Final = History()


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a worker remembers of its Pod between decisions. A new agent starts with what the status says, and loses only delays."""

    histories: Mapping[str, History] = field(default_factory=dict)
    ending_since_s: float | None = None
    """Monotonic time since which the Pod's containers are being stopped."""
    initialized_in: str | None = None
    """Id of the pause container in whose network the init containers are done."""

    def of(self, name: str) -> History:
        """Return the history of a container."""
        return self.histories.get(name, _NEW)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything that a decision looks at."""

    ending: bool
    """The Pod is to go: a deletion timestamp, or a tombstone."""
    finished: bool
    """The Pod has ended though its object stays: so the server has recorded, or its deadline is over, or it is evicted."""
    grace_s: float
    slots: tuple[Slot, ...]
    """The containers of the spec in its order, init containers first; with the pause container's, if the Pod has one."""
    containers: tuple[base.Container, ...]
    """The containers of this Pod, in any order."""
    memory: Memory
    now_s: float
    busy: frozenset[str] = frozenset()
    """Names of the containers with an action under way; a pull is none."""
    blocked: Wait | None = None
    """No container of the Pod may be made or started: a volume is in use, the network is not ready."""
    stopping: Mapping[base.ContainerId, float] = field(default_factory=dict)
    """Stops under way, and when each will have used its grace period up."""

    @property
    def boxes(self) -> dict[str, list[base.Container]]:
        """The containers by name, the newest attempt of each last."""
        found: dict[str, list[base.Container]] = {}
        for container in self.containers:
            found.setdefault(name_of(container), []).append(container)
        return {name: restarts.in_order(boxes) for name, boxes in found.items()}

    @property
    def pause(self) -> Slot | None:
        """The pause container's slot."""
        return next((slot for slot in self.slots if slot.role is Role.PAUSE), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do now, and why not more."""

    actions: tuple[Action, ...] = ()
    waits: Mapping[str, Wait] = field(default_factory=dict)
    """Why a container is not made or started now."""
    outcome: Outcome = ""
    """How the Pod has ended by itself; empty: it has not."""

    @property
    def until_s(self) -> float | None:
        """When to look again, ``None``: when something changes."""
        return min((wait.until_s for wait in self.waits.values() if wait.until_s is not None), default=None)


def name_of(container: base.Container) -> str:
    """Return the name of a container in its Pod."""
    return container.labels.get(base.LABEL_CONTAINER, "")


def remember(memory: Memory, view: View) -> Memory:
    """Return the memory after a look at the containers."""
    boxes = view.boxes
    histories = {
        name: restarts.remember(memory.of(name), boxes.get(name, ()), view.now_s, busy=name in view.busy)
        for name in sorted({*memory.histories, *boxes})
    }
    memory = replace(memory, histories=histories)
    since_s: float | None = None
    if view.ending or view.finished or outcome(view.slots, memory):
        since_s = view.now_s if memory.ending_since_s is None else memory.ending_since_s
    sandbox = _sandbox_id(view, boxes)
    done_in = memory.initialized_in
    if sandbox is not None and done_in != sandbox and _initialized(view.slots, boxes, memory, sandbox):
        done_in = sandbox
    return replace(memory, ending_since_s=since_s, initialized_in=done_in)


def outcome(slots: Sequence[Slot], memory: Memory) -> Outcome:
    """Return how the Pod has ended by itself: all of its containers are over, or an init container has failed for good."""
    histories = memory.histories
    for slot in slots:
        if slot.role is Role.INIT and slot.name in histories:
            history = histories[slot.name]
            if restarts.is_over(history, slot.policy) and history.ended != 0:
                return "Failed"
    apps = [(histories[slot.name], slot) if slot.name in histories else (_NEW, slot) for slot in slots if slot.role is Role.APP]
    if not apps or not all(restarts.is_over(history, slot.policy) for history, slot in apps):
        return ""
    return "Succeeded" if all(history.ended == 0 for history, _ in apps) else "Failed"


def initialized(view: View) -> bool:
    """Return whether the init containers are done."""
    sandbox = _sandbox_id(view, view.boxes)
    return not _inits(view.slots) or (sandbox is not None and view.memory.initialized_in == sandbox)


def decide(view: View) -> Decision:
    """Return what to do now."""
    boxes = view.boxes
    ended = outcome(view.slots, view.memory)
    if view.ending:
        return _end(view, boxes)
    if view.finished or ended:
        return replace(_wind_down(view, boxes), outcome=ended)
    work = _Work(view, boxes)
    sandbox = work.sandbox()
    if sandbox is not None:
        work.members(sandbox)
    return Decision(actions=tuple(work.actions), waits=work.waits)


def _end(view: View, boxes: _Boxes) -> Decision:
    """Put everything away, in the order of ends; then say so."""
    waits = _retries(view, boxes)
    if PAUSE not in boxes and (delayed := view.memory.of(PAUSE).waiting) and delayed.until_s is not None and view.now_s < delayed.until_s:
        waits = {**waits, PAUSE: delayed}
    actions: list[Action] = _stops(view, boxes, waits, "the Pod is deleted")
    quiet = not _active(boxes)
    for name, found in sorted(boxes.items()):
        if name in waits or name in view.busy:
            continue
        idle = [container for container in found if container.state not in restarts.ACTIVE]
        if idle and (name != PAUSE or (quiet and len(boxes) == 1)) and not any(action.name == name for action in actions):
            actions.append(Remove(name=name, container_id=idle[0].id))
    if not boxes and not waits and not view.busy:
        actions.append(Confirm())
    return Decision(actions=tuple(actions), waits=waits)


def _wind_down(view: View, boxes: _Boxes) -> Decision:
    """Stop what still runs of a Pod that has ended; what has ended is kept for its log and its status, but for the pause container."""
    waits = _retries(view, boxes)
    actions: list[Action] = _stops(view, boxes, waits, "the Pod has ended")
    active = _active(boxes)
    for name, found in sorted(boxes.items()):
        idle = [box for box in found if box.state is base.ContainerState.CREATED or (name == PAUSE and box.state not in restarts.ACTIVE)]
        if idle and not active and name not in waits and name not in view.busy:
            actions.append(Remove(name=name, container_id=idle[0].id))
    return Decision(actions=tuple(actions), waits=waits)


def _stops(view: View, boxes: _Boxes, waits: Mapping[str, Wait], why: str) -> list[Action]:
    active = _active(boxes)
    since_s = view.now_s if view.memory.ending_since_s is None else view.memory.ending_since_s
    left_s = max(min(MIN_GRACE_S, view.grace_s), view.grace_s - (view.now_s - since_s))
    result: list[Action] = []
    for name in order.next_to_stop(view.slots, active):
        container = active[name][0]
        deadline_s = view.stopping.get(container.id)
        hurry = deadline_s is not None and deadline_s > view.now_s + left_s + 1.0
        if hurry or (name not in waits and name not in view.busy):
            result.append(Stop(name=name, container_id=container.id, grace_s=left_s, why=why))
    return result


def _retries(view: View, boxes: _Boxes) -> dict[str, Wait]:
    """Return the containers whose last action failed, and until when to leave them."""
    waits = {}
    for name in boxes:
        failed = view.memory.of(name).waiting
        if failed is not None and failed.until_s is not None and view.now_s < failed.until_s:
            waits[name] = failed
    return waits


def _active(boxes: _Boxes) -> dict[str, list[base.Container]]:
    found = {name: [box for box in held if box.state in restarts.ACTIVE] for name, held in boxes.items()}
    return {name: held for name, held in found.items() if held}


def _inits(slots: Sequence[Slot]) -> list[Slot]:
    return [slot for slot in slots if slot.role in (Role.INIT, Role.SIDECAR)]


def _newest(boxes: _Boxes, memory: Memory, name: str) -> base.Container | None:
    return restarts.newest_of(memory.of(name), boxes.get(name, ()))


def _sandbox_id(view: View, boxes: _Boxes) -> str | None:
    """Return the id of the running pause container, empty where the Pod needs none, ``None``: it does not run."""
    if view.pause is None:
        return ""
    newest = _newest(boxes, view.memory, PAUSE)
    return newest.id if newest is not None and newest.state in restarts.ACTIVE else None


def _initialized(slots: Sequence[Slot], boxes: _Boxes, memory: Memory, sandbox: str) -> bool:
    """Return whether the init containers are done: each is passed, or a container that comes after them is there."""
    for slot in slots:
        if slot.role is Role.APP and any(order.sandbox_of(box) == sandbox for box in boxes.get(slot.name, ())):
            return True
    return all(order.init_done(slot, _newest(boxes, memory, slot.name), memory.of(slot.name), sandbox) for slot in _inits(slots))


class _Work:
    """One decision for a Pod that is to run: collects actions and waits."""

    def __init__(self, view: View, boxes: _Boxes) -> None:
        self._view = view
        self._boxes = boxes
        self.actions: list[Action] = []
        self.waits: dict[str, Wait] = {}

    def sandbox(self) -> str | None:
        """See to the pause container; return its id, empty where none is needed, ``None``: the others have to wait for it."""
        slot = self._view.pause
        if slot is None:
            return ""
        newest = _newest(self._boxes, self._view.memory, PAUSE)
        if newest is not None and newest.state in restarts.ACTIVE:
            self._tidy(slot, newest)
            return newest.id
        members = [member for member in self._view.slots if member is not slot]
        held = {name: found for name, found in _active(self._boxes).items() if name != PAUSE}
        if newest is not None and newest.state is base.ContainerState.CREATED and not held:
            self._advance(slot, "")
        elif held or any(member.name in self._view.busy for member in members if member.name in self._boxes):
            for name, found in sorted(held.items()):
                if name not in self._view.busy and name not in _retries(self._view, self._boxes):
                    self._astray(name, found[0].id)
        else:
            self._advance(slot, "")
        why_not = self.waits.pop(PAUSE, None)
        for member in members:
            over = restarts.is_over(self._view.memory.of(member.name), member.policy)
            if not over:
                waits = Wait(reason="ContainerCreating", message="the Pod's network is being made")
                self.waits[member.name] = why_not or member.blocked or waits
            idle = member.name not in held and member.name not in self._view.busy and self._delayed(member) is None
            if idle and not over and not member.image_ready and member.blocked is None and member.role is not Role.EPHEMERAL:
                self.actions.append(Pull(name=member.name))  # the image may as well come meanwhile
        return None

    def members(self, sandbox: str) -> None:
        """See to all other containers, in the order of starts."""
        slots, memory = self._view.slots, self._view.memory
        done = memory.initialized_in == sandbox or not _inits(slots)
        free = True
        for slot in _inits(slots):
            newest = _newest(self._boxes, memory, slot.name)
            if not free:
                self._hold(slot, newest, sandbox, INITIALIZING)
            elif not done or slot.role is Role.SIDECAR:
                self._advance(slot, sandbox)
                free = done or order.init_done(slot, newest, memory.of(slot.name), sandbox)
        for slot in slots:
            newest = _newest(self._boxes, memory, slot.name)
            if slot.role is Role.APP:
                if not free or not done:
                    self._hold(slot, newest, sandbox, INITIALIZING if not done else HOOKED)
                    continue
                self._advance(slot, sandbox)
                coming = slot.name in self._view.busy or any(action.name == slot.name for action in self.actions)
                pulling = slot.blocked is not None and slot.blocked.reason == HOOKED.reason
                free = not order.holds_next(slot, newest, coming=coming or pulling)
        for slot in slots:
            if slot.role is Role.EPHEMERAL:
                self._ephemeral(slot, sandbox)

    def _hold(self, slot: Slot, newest: base.Container | None, sandbox: str, why: Wait) -> None:
        """Make nothing of a container whose turn it is not; what runs already goes on."""
        if newest is not None and newest.state in restarts.ACTIVE and order.sandbox_of(newest) == sandbox:
            self._advance(slot, sandbox)
        elif not restarts.is_over(self._view.memory.of(slot.name), slot.policy):
            self.waits[slot.name] = why
            if newest is not None and newest.state in restarts.ACTIVE:
                self._advance(slot, sandbox)

    def _ephemeral(self, slot: Slot, sandbox: str) -> None:
        """A debugging container runs once, in the network of the pause container or of the Pod's only one, once that runs."""
        if self._view.pause is None:
            apps = [_newest(self._boxes, self._view.memory, other.name) for other in self._view.slots if other.role is Role.APP]
            if not any(app is not None and app.state is base.ContainerState.RUNNING for app in apps):
                if not self._boxes.get(slot.name) and not restarts.is_over(self._view.memory.of(slot.name), slot.policy):
                    self.waits[slot.name] = Wait(reason="ContainerCreating", message="waits for the container whose network it joins")
                return
        self._advance(slot, None)

    def _advance(self, slot: Slot, sandbox: str | None) -> None:
        """See to one container. ``sandbox``: whose network it has to be in; ``None``: any."""
        if slot.name in self._view.busy:
            if (failed := self._view.memory.of(slot.name).waiting) is not None or slot.blocked is not None:
                self.waits[slot.name] = replace(failed or slot.blocked or INITIALIZING, until_s=None)
            return
        newest = _newest(self._boxes, self._view.memory, slot.name)
        if self._tidy(slot, newest):
            return
        if newest is None:
            if not restarts.is_over(self._view.memory.of(slot.name), slot.policy) or self._rerun(slot):
                self._make(slot)
            return
        astray = sandbox is not None and order.sandbox_of(newest) != sandbox
        outdated = newest.labels.get(base.LABEL_SPEC_HASH) != slot.spec_hash and slot.role is not Role.PAUSE
        match newest.state:
            case base.ContainerState.RUNNING:
                self._keep(slot, newest, outdated=outdated, astray=astray)
            case base.ContainerState.PAUSED:
                return  # somebody paused it by hand: it is not ours to undo
            case base.ContainerState.CREATED if self._refused(slot, newest):
                self._again(slot, newest, in_place=False)
            case base.ContainerState.CREATED:
                self._begin(slot, newest, unfit=outdated or astray)
            case base.ContainerState.EXITED | base.ContainerState.DEAD:
                if not restarts.is_over(self._view.memory.of(slot.name), slot.policy) or (slot.role is Role.INIT and astray):
                    self._again(slot, newest, in_place=not outdated and not astray)

    def _rerun(self, slot: Slot) -> bool:
        """An init container that is gone is run again where the others wait for it."""
        return slot.role is Role.INIT and self._view.memory.of(slot.name).ended == 0

    def _refused(self, slot: Slot, newest: base.Container) -> bool:
        history = self._view.memory.of(slot.name)
        return not history.pending and history.ended is not None and restarts.number_of(newest) == history.restarts

    def _tidy(self, slot: Slot, newest: base.Container | None) -> bool:
        """Put earlier attempts away, but for the last that has run: its log and its end are still asked for."""
        found = self._boxes.get(slot.name, ())
        earlier = [box for box in found if box is not newest]
        if self._delayed(slot) is not None:
            return False
        for box in earlier:
            if box.state in restarts.ACTIVE:
                why = "superseded by a newer attempt"
                self.actions.append(Stop(name=slot.name, container_id=box.id, grace_s=self._view.grace_s, why=why))
                return True
        kept = next((box for box in reversed(earlier) if box.state is base.ContainerState.EXITED), None)
        for box in earlier:
            if box is not kept or slot.role is Role.PAUSE:
                self.actions.append(Remove(name=slot.name, container_id=box.id))
                return True
        return False

    def _keep(self, slot: Slot, running: base.Container, *, outdated: bool, astray: bool) -> None:
        if self._delayed(slot) is not None:
            return
        grace_s = self._view.grace_s
        if astray:
            self._astray(slot.name, running.id)
        elif outdated:
            why = "its spec has changed"
            self.actions.append(Stop(name=slot.name, container_id=running.id, grace_s=grace_s, why=why, replace=True))
        elif slot.unhealthy:
            grace_s = grace_s if slot.unhealthy_grace_s is None else slot.unhealthy_grace_s
            self.actions.append(Stop(name=slot.name, container_id=running.id, grace_s=grace_s, why=slot.unhealthy))

    def _astray(self, name: str, container_id: base.ContainerId) -> None:
        """Stop what has lost its network. What runs once only is not run again for it, as in Kubernetes."""
        once = any(slot.name == name and slot.policy == "Never" for slot in self._view.slots)
        why = "the Pod's network is gone"
        self.actions.append(Stop(name=name, container_id=container_id, grace_s=self._view.grace_s, why=why, replace=not once))

    def _begin(self, slot: Slot, created: base.Container, *, unfit: bool) -> None:
        """Start what an interrupted step has created, unless it is of another spec or network."""
        if (wait := self._must_wait(slot)) is not None and not unfit:
            self.waits[slot.name] = wait
        elif unfit:
            self.actions.append(Remove(name=slot.name, container_id=created.id))
        else:
            self.actions.append(Start(name=slot.name, container_id=created.id))

    def _again(self, slot: Slot, ended: base.Container, *, in_place: bool) -> None:
        """Restart what has ended by a new container with a fresh filesystem."""
        if slot.restart_in_place and in_place and self._view.blocked is None:
            late = restarts.must_wait(self._view.memory.of(slot.name), self._view.now_s)
            if late is not None:
                self.waits[slot.name] = late
            else:
                self.actions.append(Start(name=slot.name, container_id=ended.id))
        else:
            self._make(slot)

    def _make(self, slot: Slot) -> None:
        if (wait := self._must_wait(slot)) is not None:
            self.waits[slot.name] = wait
        elif not slot.image_ready:
            self.actions.append(Pull(name=slot.name))
        else:
            self.actions.append(Create(name=slot.name, restarts=self._view.memory.of(slot.name).restarts + 1))

    def _must_wait(self, slot: Slot) -> Wait | None:
        return self._view.blocked or slot.blocked or restarts.must_wait(self._view.memory.of(slot.name), self._view.now_s)

    def _delayed(self, slot: Slot) -> Wait | None:
        failed = self._view.memory.of(slot.name).waiting
        return failed if failed is not None and failed.until_s is not None and self._view.now_s < failed.until_s else None
