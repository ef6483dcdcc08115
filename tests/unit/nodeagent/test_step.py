"""The step function on a model of the engine: it converges, survives a crash anywhere, and never runs two containers of one Pod."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.runtime import base
from nodeagent.workloads import plan

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
RUNNING, EXITED, CREATED = base.ContainerState.RUNNING, base.ContainerState.EXITED, base.ContainerState.CREATED


def make_container(
    number: int = 0, state: base.ContainerState = RUNNING, digest: str = "h", code: int = 1, ran_s: float = 1
) -> base.Container:
    return base.Container(
        id=base.ContainerId(f"c{number}"),
        name=f"n{number}",
        image="i",
        image_id="i",
        labels={base.LABEL_RESTARTS: str(number), base.LABEL_SPEC_HASH: digest},
        state=state,
        created_at=EPOCH + timedelta(seconds=number),
        started_at=EPOCH if state is not CREATED else None,
        finished_at=EPOCH + timedelta(seconds=ran_s) if state is EXITED else None,
        exit_code=code if state is EXITED else None,
    )


def make_view(*containers: base.Container, **fields: object) -> plan.View:
    values: dict[str, object] = {
        "ending": False, "grace_s": 30, "restart_policy": "Always", "finished": False, "spec_hash": "h",
        "containers": containers, "memory": plan.Memory(), "now_s": 100.0, "image_ready": True, **fields,
    }  # fmt: skip
    return plan.View(**values)  # type: ignore[arg-type]


BLOCKED = plan.Wait(reason="VolumeInUse", message="m")


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (make_view(), plan.Create(restarts=0)),
        (make_view(image_ready=False), plan.Pull()),
        (make_view(blocked=BLOCKED), BLOCKED),
        (make_view(finished=True), None),
        (make_view(make_container()), None),
        (make_view(make_container(state=CREATED)), plan.Start(container_id=base.ContainerId("c0"))),
        (make_view(make_container(state=CREATED), blocked=BLOCKED), BLOCKED),
        (make_view(make_container(state=CREATED, digest="old")), plan.Remove(container_id=base.ContainerId("c0"))),
        (make_view(make_container(state=base.ContainerState.PAUSED)), None),
        (make_view(make_container(digest="old")), plan.Stop(container_id=base.ContainerId("c0"), grace_s=30, why="its spec has changed")),
        (make_view(make_container(), unhealthy="sick"), plan.Stop(container_id=base.ContainerId("c0"), grace_s=30, why="sick")),
        (make_view(make_container(state=EXITED)), plan.Remove(container_id=base.ContainerId("c0"))),
        (make_view(make_container(state=EXITED), blocked=BLOCKED), BLOCKED),
        (make_view(make_container(state=EXITED), blocked=BLOCKED, restart_in_place=True), plan.Start(container_id=base.ContainerId("c0"))),
        (make_view(make_container(state=EXITED), restart_policy="Never"), None),
        (make_view(make_container(state=EXITED, code=0), restart_policy="OnFailure"), None),
        (make_view(make_container(state=EXITED, code=1), restart_policy="OnFailure"), plan.Remove(container_id=base.ContainerId("c0"))),
        (make_view(make_container(state=EXITED), finished=True), None),
        (
            make_view(make_container(0), make_container(1)),
            plan.Stop(container_id=base.ContainerId("c0"), grace_s=30, why="superseded by a newer attempt"),
        ),
        (make_view(ending=True), plan.Confirm()),
        (make_view(make_container(), ending=True), plan.Stop(container_id=base.ContainerId("c0"), grace_s=30, why="the Pod is deleted")),
        (make_view(make_container(state=EXITED), ending=True), plan.Remove(container_id=base.ContainerId("c0"))),
    ],
)  # fmt: skip
def test_one_step(view: plan.View, expected: plan.Action | None) -> None:
    assert plan.step(view) == expected


def test_a_crash_loop_waits_longer_each_time_and_forgets_after_a_healthy_run() -> None:
    memory, waits = plan.Memory(), []
    for number in range(9):
        memory = plan.remember(memory, (make_container(number, EXITED),), 100.0)
        memory = plan.remember(memory, (make_container(number, EXITED),), 200.0)  # seen again: counted once
        waits.append(memory.not_before_s - 100.0)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    healthy = plan.remember(memory, (make_container(9, EXITED, ran_s=60),), 100.0)
    assert healthy.not_before_s == 101.0
    wait = plan.step(make_view(make_container(9, EXITED), memory=healthy, now_s=100.5))
    assert isinstance(wait, plan.Wait)
    assert (wait.reason, wait.until_s) == ("CrashLoopBackOff", 101.0)


def test_a_container_started_again_in_place_is_counted_again() -> None:
    memory = plan.remember(plan.Memory(), (make_container(0, EXITED, ran_s=1),), 100.0)
    memory = plan.remember(memory, (make_container(0, EXITED, ran_s=2),), 200.0)
    assert memory.crashes == 2


@dataclass
class Model:
    """An engine and a server, as far as one Pod sees them."""

    containers: dict[str, base.Container] = field(default_factory=dict)
    image: bool = False
    confirmed: bool = False

    def apply(self, action: plan.Action) -> None:
        match action:
            case plan.Create(restarts=restarts):
                made = make_container(restarts, CREATED)
                assert made.id not in self.containers, "a name is used once"
                self.containers[made.id] = made
            case plan.Pull():
                self.image = True
            case plan.Start(container_id=found):
                self.containers[found] = replace(self.containers[found], state=RUNNING, finished_at=None, exit_code=None)
                running = [container for container in self.containers.values() if container.state is RUNNING]
                assert len(running) == 1, "never two running containers of one Pod"
            case plan.Stop(container_id=found):
                self.containers[found] = replace(self.containers[found], state=EXITED, finished_at=EPOCH, exit_code=143)
            case plan.Remove(container_id=found):
                assert self.containers[found].state is not RUNNING, "what runs is stopped first"
                del self.containers[found]
            case plan.Confirm():
                assert not self.containers
                self.confirmed = True
            case plan.Wait():
                raise AssertionError("a wait is no action")


@given(
    states=st.lists(st.tuples(st.sampled_from([CREATED, EXITED, base.ContainerState.DEAD]), st.sampled_from(["h", "old"])), max_size=3),
    running=st.booleans(),
    ending=st.booleans(),
    policy=st.sampled_from(["Always", "OnFailure", "Never"]),
    crash_at=st.integers(min_value=0, max_value=12),
    order=st.randoms(use_true_random=False),
)
def test_it_converges_from_any_state_and_after_any_crash(
    states: list[tuple[base.ContainerState, str]], running: bool, ending: bool, policy: str, crash_at: int, order: object
) -> None:
    model = Model()
    for number, (state, digest) in enumerate(states):
        made = make_container(number, state, digest)
        if running and number == len(states) - 1:
            made = replace(made, state=RUNNING)
        model.containers[made.id] = made
    memory, now_s = plan.Memory(), 100.0
    for count in range(60):
        containers = list(model.containers.values())
        order.shuffle(containers)  # type: ignore[attr-defined]
        if count == crash_at:
            memory = plan.Memory()  # the agent died and came back
        memory = plan.remember(memory, tuple(containers), now_s)
        view = make_view(*containers, ending=ending, restart_policy=policy, memory=memory, now_s=now_s, image_ready=model.image)
        action = plan.step(view)
        if action is None or model.confirmed:
            break
        if isinstance(action, plan.Wait):
            assert action.until_s is not None
            now_s = action.until_s
            continue
        model.apply(action)
    else:
        raise AssertionError("it does not come to rest")
    if ending:
        assert model.confirmed
    else:
        assert not model.confirmed
        assert len(model.containers) == 1
        if policy == "Always":
            assert [container.state for container in model.containers.values()] == [RUNNING]
