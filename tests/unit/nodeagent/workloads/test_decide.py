"""What the plan decides for one Pod, case by case. That it converges is shown in test_convergence.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nodeagent.runtime import base
from nodeagent.workloads import plan, restarts
from nodeagent.workloads.actions import PAUSE, Action, Confirm, Create, Pull, Remove, Start, Stop, Wait
from nodeagent.workloads.order import Role, Slot, effective_policy
from nodeagent.workloads.restarts import History

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
RUNNING, EXITED, CREATED, PAUSED = (base.ContainerState(name) for name in ("running", "exited", "created", "paused"))
BLOCKED = Wait(reason="VolumeInUse", message="m")


def box(
    name: str = "main",
    state: base.ContainerState = RUNNING,
    *,
    number: int = 0,
    code: int = 1,
    digest: str = "h",
    sandbox: str = "",
    ran_s: float = 1,
) -> base.Container:
    labels = {base.LABEL_CONTAINER: name, base.LABEL_RESTARTS: str(number), base.LABEL_SPEC_HASH: digest}
    if sandbox:
        labels[base.LABEL_SANDBOX] = sandbox
    return base.Container(
        id=base.ContainerId(f"{name}-{number}"),
        name=f"{name}-{number}",
        image="i",
        image_id="i",
        labels=labels,
        state=state,
        created_at=EPOCH + timedelta(seconds=number),
        started_at=EPOCH + timedelta(seconds=number) if state is not CREATED else None,
        finished_at=EPOCH + timedelta(seconds=number + ran_s) if state is EXITED else None,
        exit_code=code if state is EXITED else None,
    )


def slot(name: str = "main", role: Role = Role.APP, *, policy: str = "Always", **fields: object) -> Slot:
    values: dict[str, object] = {"spec_hash": "h", "policy": effective_policy(role, policy), "started": True, **fields}  # type: ignore[arg-type]
    return Slot(name=name, role=role, **values)  # type: ignore[arg-type]


def look(
    *containers: base.Container, slots: tuple[Slot, ...] = (slot(),), memory: plan.Memory | None = None, **fields: object
) -> plan.View:
    values: dict[str, object] = {
        "ending": False, "finished": False, "grace_s": 30.0, "now_s": 100.0, **fields
    }  # fmt: skip
    view = plan.View(slots=slots, containers=containers, memory=memory or plan.Memory(), **values)  # type: ignore[arg-type]
    remembered = plan.remember(view.memory, view)
    return plan.View(slots=slots, containers=containers, memory=remembered, **values)  # type: ignore[arg-type]


def later(view: plan.View, now_s: float = 1000.0) -> plan.View:
    """Return the view after all delays, with the memory that was made of it."""
    return plan.View(
        ending=view.ending, finished=view.finished, grace_s=view.grace_s, slots=view.slots, containers=view.containers,
        memory=view.memory, now_s=now_s, blocked=view.blocked,
    )  # fmt: skip


def stop(name: str, why: str, *, grace_s: float = 30, replace: bool = False, number: int = 0) -> Stop:
    return Stop(name=name, container_id=base.ContainerId(f"{name}-{number}"), grace_s=grace_s, why=why, replace=replace)


def remove(name: str, number: int = 0) -> Remove:
    return Remove(name=name, container_id=base.ContainerId(f"{name}-{number}"))


def start(name: str, number: int = 0) -> Start:
    return Start(name=name, container_id=base.ContainerId(f"{name}-{number}"))


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (look(), [Create(name="main", restarts=0)]),
        (look(slots=(slot(image_ready=False),)), [Pull(name="main")]),
        (look(blocked=BLOCKED), []),
        (look(slots=(slot(blocked=BLOCKED),)), []),
        (look(finished=True), []),
        (look(box()), []),
        (look(box(), busy=frozenset({"main"}), slots=(slot(unhealthy="sick"),)), []),
        (look(box(state=CREATED)), [start("main")]),
        (look(box(state=CREATED), blocked=BLOCKED), []),
        (look(box(state=CREATED, digest="old")), [remove("main")]),
        (look(box(state=PAUSED)), []),
        (look(box(digest="old")), [stop("main", "its spec has changed", replace=True)]),
        (look(box(), slots=(slot(unhealthy="sick"),)), [stop("main", "sick")]),
        (look(box(), slots=(slot(unhealthy="sick", unhealthy_grace_s=5),)), [stop("main", "sick", grace_s=5)]),
        (later(look(box(state=EXITED))), [Create(name="main", restarts=1)]),
        (look(box(state=EXITED), slots=(slot(policy="Never"),)), []),
        (look(box(state=EXITED, code=0), slots=(slot(policy="OnFailure"),)), []),
        (later(look(box(state=EXITED, code=1), slots=(slot(policy="OnFailure"),))), [Create(name="main", restarts=1)]),
        (look(box(state=EXITED), finished=True), []),
        (look(box(), box(number=1)), [stop("main", "superseded by a newer attempt")]),
        (look(box(state=EXITED), box(number=1)), []),
        (look(box(state=EXITED), box(state=EXITED, number=1), box(number=2)), [remove("main")]),
        (look(ending=True), [Confirm()]),
        (look(box(), ending=True), [stop("main", "the Pod is deleted")]),
        (look(box(state=EXITED), ending=True), [remove("main")]),
        (look(box(), ending=True, slots=()), [stop("main", "the Pod is deleted")]),
    ],
)  # fmt: skip
def test_a_pod_of_one_container(view: plan.View, expected: list[Action]) -> None:
    assert list(plan.decide(view).actions) == expected


def test_what_blocks_is_said_of_the_container() -> None:
    assert plan.decide(look(blocked=BLOCKED)).waits == {"main": BLOCKED}


def test_without_the_server_the_old_container_is_started_again() -> None:
    view = later(look(box(state=EXITED), slots=(slot(blocked=BLOCKED, restart_in_place=True),)))
    assert plan.decide(view).actions == (start("main"),)
    held = later(look(box(state=EXITED), slots=(slot(restart_in_place=True),), blocked=BLOCKED))
    assert plan.decide(held).actions == ()


def test_what_runs_once_is_not_run_again_when_its_container_is_gone() -> None:
    seen = look(box(), slots=(slot(policy="Never"),)).memory
    gone = look(slots=(slot(policy="Never"),), memory=seen)
    assert (plan.decide(gone).actions, plan.decide(gone).outcome) == ((), "Failed")
    assert plan.decide(look(slots=(slot(),), memory=look(box()).memory)).actions == (Create(name="main", restarts=1),)


@pytest.mark.parametrize(
    ("policy", "codes", "expected"),
    [
        ("Never", (0, 0), "Succeeded"),
        ("Never", (0, 1), "Failed"),
        ("OnFailure", (0, 0), "Succeeded"),
        ("OnFailure", (0, 1), ""),
        ("Always", (0, 0), ""),
        ("Never", (0, None), ""),
    ],
)
def test_a_pod_has_ended_when_none_of_its_containers_is_started_again(policy: str, codes: tuple[int | None, ...], expected: str) -> None:
    slots = (slot("a", policy=policy), slot("b", policy=policy))
    found = [box(name, RUNNING if code is None else EXITED, code=code or 0) for name, code in zip("ab", codes, strict=True)]
    assert plan.decide(look(*found, slots=slots)).outcome == expected


SLOTS = (
    slot(PAUSE, Role.PAUSE),
    slot("first", Role.INIT),
    slot("proxy", Role.SIDECAR),
    slot("second", Role.INIT),
    slot("a"),
    slot("b"),
)
NET = f"{PAUSE}-0"
PAUSE_BOX = box(PAUSE)


def in_net(name: str, state: base.ContainerState = RUNNING, code: int = 0, number: int = 0) -> base.Container:
    return box(name, state, code=code, sandbox=NET, number=number)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((), [Create(name=PAUSE, restarts=0)]),
        ((box(PAUSE, CREATED),), [start(PAUSE)]),
        ((PAUSE_BOX,), [Create(name="first", restarts=0)]),
        ((PAUSE_BOX, in_net("first")), []),
        ((PAUSE_BOX, in_net("first", EXITED)), [Create(name="proxy", restarts=0)]),
        ((PAUSE_BOX, in_net("first", EXITED), in_net("proxy")), [Create(name="second", restarts=0)]),
        (
            (PAUSE_BOX, in_net("first", EXITED), in_net("proxy"), in_net("second", EXITED)),
            [Create(name="a", restarts=0), Create(name="b", restarts=0)],
        ),
        (
            (PAUSE_BOX, in_net("first", EXITED), in_net("proxy", EXITED), in_net("second", EXITED), in_net("a")),
            [Create(name="b", restarts=0)],
        ),
    ],
)
def test_init_containers_run_in_order_and_sidecars_stay(found: tuple[base.Container, ...], expected: list[Action]) -> None:
    assert list(plan.decide(look(*found, slots=SLOTS)).actions) == expected


def test_the_next_container_waits_for_a_sidecar_that_has_not_started() -> None:
    slots = (SLOTS[0], slot("proxy", Role.SIDECAR, started=False), slot("a"))
    decision = plan.decide(look(PAUSE_BOX, in_net("proxy"), slots=slots))
    assert decision.actions == ()
    assert decision.waits == {"a": plan.INITIALIZING}


def test_a_container_waits_for_the_post_start_hook_of_the_one_before() -> None:
    slots = (SLOTS[0], slot("a", hooked=True, started=False), slot("b"))
    for found in ((PAUSE_BOX,), (PAUSE_BOX, in_net("a", CREATED)), (PAUSE_BOX, in_net("a"))):
        assert plan.decide(look(*found, slots=slots)).waits == {"b": plan.HOOKED}
    done = (SLOTS[0], slot("a", hooked=True), slot("b"))
    assert plan.decide(look(PAUSE_BOX, in_net("a"), slots=done)).actions == (Create(name="b", restarts=0),)


def test_an_init_container_that_fails_is_repeated_or_fails_the_pod() -> None:
    found = (PAUSE_BOX, in_net("first", EXITED, code=2))
    assert plan.decide(later(look(*found, slots=SLOTS))).actions == (Create(name="first", restarts=1),)
    once = (SLOTS[0], slot("first", Role.INIT, policy="Never"), slot("a", policy="Never"))
    decision = plan.decide(look(*found, slots=once))
    assert decision.outcome == "Failed"
    assert decision.actions == (stop(PAUSE, "the Pod has ended"),)


def test_an_init_container_that_is_pruned_is_not_run_again_under_running_containers() -> None:
    view = look(PAUSE_BOX, in_net("proxy"), in_net("a"), in_net("b"), slots=SLOTS)
    assert plan.decide(view).actions == ()


def test_a_lost_network_restarts_everything_with_the_init_containers() -> None:
    before = look(PAUSE_BOX, in_net("first", EXITED), in_net("proxy"), in_net("second", EXITED), in_net("a"), in_net("b"), slots=SLOTS)
    dead = box(PAUSE, EXITED, code=137)
    running = look(dead, in_net("proxy"), in_net("a"), in_net("b"), slots=SLOTS, memory=before.memory)
    why = "the Pod's network is gone"
    assert plan.decide(running).actions == tuple(stop(name, why, replace=True) for name in ("a", "b", "proxy"))
    ended = [in_net(name, EXITED, code=143) for name in ("proxy", "a", "b")]
    stopped = later(look(dead, in_net("first", EXITED), *ended, slots=SLOTS, memory=running.memory))
    assert plan.decide(stopped).actions == (Create(name=PAUSE, restarts=1),)
    anew = later(look(dead, box(PAUSE, number=1), in_net("first", EXITED), *ended, slots=SLOTS, memory=stopped.memory))
    assert plan.decide(anew).actions == (remove(PAUSE), Create(name="first", restarts=1))


def test_images_are_pulled_while_the_network_is_made() -> None:
    slots = (SLOTS[0], slot("a", image_ready=False), slot("b"))
    assert plan.decide(look(slots=slots)).actions == (Create(name=PAUSE, restarts=0), Pull(name="a"))


def test_containers_end_first_then_sidecars_backwards_then_the_pause_container() -> None:
    slots = (SLOTS[0], slot("s1", Role.SIDECAR), slot("s2", Role.SIDECAR), slot("a"), slot("b"))
    left = ["a", "b", "s2", "s1", PAUSE]
    order = []
    while left:
        found = [box(name) if name == PAUSE else in_net(name) for name in left]
        names = [action.name for action in plan.decide(look(*found, slots=slots, ending=True)).actions]
        order.append(names)
        left = [name for name in left if name not in names]
    assert order == [["a", "b"], ["s2"], ["s1"], [PAUSE]]


def test_sidecars_are_stopped_when_the_others_are_done() -> None:
    slots = (SLOTS[0], slot("s1", Role.SIDECAR), slot("a", policy="Never"))
    decision = plan.decide(look(PAUSE_BOX, in_net("s1"), in_net("a", EXITED, code=0), slots=slots))
    assert decision.outcome == "Succeeded"
    assert decision.actions == (stop("s1", "the Pod has ended"),)


def test_the_grace_period_is_one_for_the_whole_pod() -> None:
    slots = (SLOTS[0], slot("s1", Role.SIDECAR), slot("a"))
    first = look(PAUSE_BOX, in_net("s1"), in_net("a"), slots=slots, ending=True)
    assert [action.grace_s for action in plan.decide(first).actions if isinstance(action, Stop)] == [30]
    late = look(PAUSE_BOX, in_net("s1"), slots=slots, ending=True, memory=first.memory, now_s=120.0)
    assert [action.grace_s for action in plan.decide(late).actions if isinstance(action, Stop)] == [10]
    over = look(PAUSE_BOX, in_net("s1"), slots=slots, ending=True, memory=first.memory, now_s=140.0)
    assert [action.grace_s for action in plan.decide(over).actions if isinstance(action, Stop)] == [plan.MIN_GRACE_S]


def test_a_shorter_grace_period_overtakes_a_stop_under_way() -> None:
    stopping = {base.ContainerId("main-0"): 130.0}
    view = look(box(), ending=True, busy=frozenset({"main"}), stopping=stopping)
    assert plan.decide(view).actions == ()
    hurried = look(box(), ending=True, busy=frozenset({"main"}), stopping=stopping, grace_s=1.0)
    assert plan.decide(hurried).actions == (stop("main", "the Pod is deleted", grace_s=1.0),)


def test_a_debugging_container_runs_once_when_there_is_something_to_debug() -> None:
    slots = (slot(), slot("debug", Role.EPHEMERAL))
    assert Create(name="debug", restarts=0) not in plan.decide(look(slots=slots)).actions
    assert plan.decide(look(box(), slots=slots)).actions == (Create(name="debug", restarts=0),)
    assert plan.decide(look(box(), box("debug", EXITED), slots=slots)).actions == ()


def test_a_crash_loop_waits_longer_each_time_and_forgets_after_a_healthy_run() -> None:
    history, waits = History(), []
    for number in range(9):
        history = restarts.remember(history, [box(state=EXITED, number=number)], 100.0)
        history = restarts.remember(history, [box(state=EXITED, number=number)], 200.0)  # seen again: counted once
        waits.append(history.not_before_s - 100.0)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    healthy = restarts.remember(history, [box(state=EXITED, number=9, ran_s=60)], 100.0)
    assert healthy.not_before_s == 101.0
    wait = restarts.must_wait(healthy, 100.5)
    assert wait is not None
    assert (wait.reason, wait.until_s) == ("CrashLoopBackOff", 101.0)


def test_an_attempt_that_never_began_is_no_restart() -> None:
    history = restarts.remember(History(), [box(state=CREATED)], 100.0)
    assert restarts.remember(history, [], 100.0).restarts == -1
    begun = restarts.remember(history, [box()], 100.0)
    assert restarts.remember(begun, [], 100.0).restarts == 0


def test_a_program_that_cannot_be_started_has_ended() -> None:
    made = restarts.remember(History(), [box(state=CREATED)], 100.0)
    refused = restarts.start_failed(made, 100.0)
    assert restarts.remember(refused, [box(state=CREATED)], 100.0) == refused
    assert restarts.is_over(refused, "Never")
    view = look(box(state=CREATED), memory=plan.Memory(histories={"main": refused}), now_s=200.0)
    assert plan.decide(view).actions == (Create(name="main", restarts=1),)
