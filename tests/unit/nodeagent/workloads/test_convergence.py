"""The plan on a model of the engine: it converges from any state, in any order of execution, after a crash anywhere.

The model is cruel: actions are executed one by one in an order that hypothesis chooses, some are still under way when the next decision is
made, the agent forgets everything at some point, somebody kills or removes containers by hand. What it asserts at every step is what must
never happen: two running containers of one name, a container that starts in a network that is gone, an init container after its time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from nodeagent.runtime import base
from nodeagent.workloads import plan, restarts
from nodeagent.workloads.actions import PAUSE, Action, Confirm, Create, Pull, Remove, Start, Stop
from nodeagent.workloads.order import Role, Slot, effective_policy, sandbox_of

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
RUNNING, EXITED, CREATED, DEAD = (base.ContainerState(name) for name in ("running", "exited", "created", "dead"))
ROLES = {"i": Role.INIT, "s": Role.SIDECAR, "a": Role.APP}


@dataclass
class Model:
    """An engine and the programs of one Pod."""

    slots: tuple[Slot, ...]
    codes: dict[str, int | None]
    """Exit code of what ends by itself at once; ``None``: it runs until it is stopped."""
    boxes: dict[base.ContainerId, base.Container] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)
    confirmed: bool = False
    count: int = 0
    ran: list[str] = field(default_factory=list)
    """Names in the order of their starts."""

    def running(self, name: str) -> list[base.Container]:
        return [box for box in self.boxes.values() if plan.name_of(box) == name and box.state is RUNNING]

    def make(self, name: str, number: int, state: base.ContainerState, digest: str = "h", sandbox: str = "") -> base.Container:
        self.count += 1
        labels = {base.LABEL_CONTAINER: name, base.LABEL_RESTARTS: str(number), base.LABEL_SPEC_HASH: digest}
        if sandbox:
            labels[base.LABEL_SANDBOX] = sandbox
        at = EPOCH + timedelta(seconds=self.count)
        ended = state in (EXITED, DEAD)
        made = base.Container(
            id=base.ContainerId(f"{name}-{self.count}"), name=f"{name}-{number}", image="i", image_id="i", labels=labels, state=state,
            created_at=at, started_at=None if state is CREATED else at, finished_at=at if ended else None, exit_code=1 if ended else None,
        )  # fmt: skip
        self.boxes[made.id] = made
        return made

    def end(self, container_id: base.ContainerId, code: int) -> None:
        self.boxes[container_id] = replace(self.boxes[container_id], state=EXITED, finished_at=EPOCH, exit_code=code)

    def apply(self, action: Action) -> None:
        match action:
            case Create(name=name, restarts=number):
                assert not any(plan.name_of(box) == name and restarts.number_of(box) == number for box in self.boxes.values())
                pause = self.running(PAUSE)
                needs = any(slot.role is Role.PAUSE for slot in self.slots) and name != PAUSE
                assert pause or not needs, "a container is made in a network that is there"
                self.make(name, number, CREATED, sandbox=pause[0].id if needs else "")
            case Pull(name=name):
                self.images.add(name)
            case Start(name=name, container_id=found):
                assert not self.running(name), "never two running containers of one name"
                sandbox = sandbox_of(self.boxes[found])
                assert not sandbox or self.boxes[base.ContainerId(sandbox)].state is RUNNING, "it starts in a network that is there"
                apps = [slot.name for slot in self.slots if slot.role is Role.APP]
                begun = [app for app in apps for box in self.running(app) if sandbox_of(box) == sandbox]
                assert not (begun and name.startswith("i")), "no init container runs after its time"
                self.ran.append(name)
                self.count += 1
                at = EPOCH + timedelta(seconds=self.count)
                self.boxes[found] = replace(self.boxes[found], state=RUNNING, started_at=at, finished_at=None, exit_code=None)
                if (code := self.codes.get(name)) is not None:
                    self.end(found, code)
            case Stop(container_id=found):
                if found in self.boxes and self.boxes[found].state is RUNNING:
                    self.end(found, 143)
            case Remove(container_id=found):
                assert self.boxes[found].state is not RUNNING, "what runs is stopped first"
                del self.boxes[found]
            case Confirm():
                assert not self.boxes
                self.confirmed = True


def make_slots(shape: str, policy: str, model_images: set[str]) -> tuple[Slot, ...]:
    names = [(f"{letter}{number}", ROLES[letter]) for number, letter in enumerate(shape)]
    pause = [Slot(name=PAUSE, role=Role.PAUSE, spec_hash="h", policy="Always", started=True)] if len(shape) > 1 else []
    return (
        *pause,
        *(
            Slot(name=name, role=role, spec_hash="h", policy=effective_policy(role, policy), started=True, image_ready=name in model_images)  # type: ignore[arg-type]
            for name, role in names
        ),
    )


@settings(max_examples=300, deadline=None)
@given(
    shape=st.sampled_from(["a", "aa", "ia", "sa", "isa", "siaa", "iisaa"]),
    policy=st.sampled_from(["Always", "OnFailure", "Never"]),
    ending=st.booleans(),
    fails=st.booleans(),
    seed=st.integers(min_value=0, max_value=2**32),
    crash_at=st.integers(min_value=0, max_value=25),
    strikes=st.integers(min_value=0, max_value=3),
)
def test_it_converges_from_any_state(shape: str, policy: str, ending: bool, fails: bool, seed: int, crash_at: int, strikes: int) -> None:
    rng = Random(seed)
    code = {"Always": None, "OnFailure": 0, "Never": 1 if fails else 0}[policy]
    codes = {f"{letter}{number}": 0 if letter == "i" else code for number, letter in enumerate(shape) if letter != "s"}
    model = Model(slots=(), codes=codes)
    model.slots = make_slots(shape, policy, model.images)
    for slot in model.slots:  # what an earlier life of the agent, or somebody by hand, may have left
        for number in range(rng.choice((0, 0, 1, 2))):
            state = rng.choice((CREATED, EXITED, DEAD))
            model.make(
                slot.name,
                number,
                state,
                digest=rng.choice(("h", "old")),
                sandbox=rng.choice(("", "POD-lost")) if slot.name != PAUSE else "",
            )
        if rng.random() < 0.3:
            model.make(slot.name, 3, RUNNING, digest=rng.choice(("h", "old")))
    memory, now_s, under_way = plan.Memory(), 100.0, list[Action]()
    for count in range(400):
        if count == crash_at:
            memory, under_way = plan.Memory(), []
        if strikes and rng.random() < 0.1 and model.boxes:
            strikes -= 1
            struck = rng.choice(sorted(model.boxes))
            if rng.random() < 0.5 and not any(action.name == plan.name_of(model.boxes[struck]) for action in under_way):
                del model.boxes[struck]
            elif model.boxes[struck].state is RUNNING:
                model.end(struck, 137)
        containers = list(model.boxes.values())
        rng.shuffle(containers)
        view = plan.View(
            ending=ending, finished=False, grace_s=30, slots=make_slots(shape, policy, model.images), containers=tuple(containers),
            memory=memory, now_s=now_s, busy=frozenset(action.name for action in under_way if not isinstance(action, Pull)),
        )  # fmt: skip
        memory = plan.remember(memory, view)
        view = replace(view, memory=memory)
        decision = plan.decide(view)
        assert len({action.name for action in decision.actions}) == len(decision.actions), "one action a container"
        assert plan.decide(replace(view, containers=tuple(sorted(containers, key=lambda box: box.id)))) == decision
        under_way += [action for action in decision.actions if action.name not in {busy.name for busy in under_way}]
        if under_way:
            action = under_way.pop(rng.randrange(len(under_way)))
            if isinstance(action, Remove | Start) and action.container_id not in model.boxes:
                continue
            if (
                isinstance(action, Start | Create)
                and not isinstance(action, Pull)
                and action.name != PAUSE
                and _network_is_gone(model, action)
            ):
                continue  # the engine refuses it
            if isinstance(action, Stop) and action.replace:
                memory = replace(memory, histories={**memory.histories, action.name: replace(memory.of(action.name), replace=True)})
            model.apply(action)
            if model.confirmed:
                break
        elif decision.until_s is not None:
            now_s = decision.until_s
        elif left := [box for box in model.boxes.values() if box.state is RUNNING and codes.get(plan.name_of(box)) is not None]:
            model.end(left[0].id, codes[plan.name_of(left[0])] or 0)  # what ran from the beginning ends some day too
        else:
            break
    else:
        raise AssertionError(f"it does not come to rest: {decision}, {shape} {policy} {seed} {crash_at} {strikes} {fails}, {model.ran}")
    if ending:
        assert model.confirmed
        return
    assert not model.confirmed
    if policy == "Always":
        up = {plan.name_of(box) for box in model.boxes.values() if box.state is RUNNING}
        assert up == {slot.name for slot in model.slots if slot.role is not Role.INIT}
        networks = {sandbox_of(box) for box in model.boxes.values() if box.state is RUNNING and plan.name_of(box) != PAUSE}
        assert len(networks) == 1, "all of a Pod are in one network"
    else:
        assert decision.outcome
        assert not [box for box in model.boxes.values() if box.state is RUNNING]


def _network_is_gone(model: Model, action: Start | Create) -> bool:
    if not any(slot.role is Role.PAUSE for slot in model.slots):
        return False
    if isinstance(action, Create):
        return not model.running(PAUSE)
    sandbox = sandbox_of(model.boxes[action.container_id])
    return not any(box.id == sandbox for box in model.running(PAUSE))
