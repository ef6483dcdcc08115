"""What is said of a Pod: the phase table, the states of containers, conditions that keep their times, messages of ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lattice.api import meta, pod
from nodeagent.runtime import base
from nodeagent.volumes.messages import LIMIT_BYTES, TerminationMessages
from nodeagent.workloads import containerstatus, members, status
from nodeagent.workloads.actions import Wait
from nodeagent.workloads.containerstatus import Seen
from nodeagent.workloads.members import Member
from nodeagent.workloads.order import Role
from nodeagent.workloads.seams import Verdict

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
WAIT = Wait(reason="CrashLoopBackOff", message="m", until_s=5.0)


def end(code: int = 0) -> pod.ContainerStateTerminated:
    return pod.ContainerStateTerminated(exit_code=code, container_id="docker://x")


def box(state: str = "running", **fields: object) -> base.Container:
    values: dict[str, object] = {"started_at": NOW, "ip": "10.0.0.2", **fields}
    return base.Container(
        id=base.ContainerId("x"),
        name="n",
        image="i",
        image_id="sha256:i",
        labels={},
        state=base.ContainerState(state),
        created_at=NOW,
        **values,
    )  # type: ignore[arg-type]


def seen(name: str = "a", role: Role = Role.APP, **fields: object) -> Seen:
    values: dict[str, object] = {
        "newest": None, "end": None, "last": None, "restarts": 0, "wait": None, "over": False, "started": True, "ready": True, **fields
    }  # fmt: skip
    return Seen(member=Member(role=role, container=pod.Container(name=name, image="i")), **values)  # type: ignore[arg-type]


def make(*found: Seen, previous: pod.PodStatus | None = None, wanted: pod.Pod | None = None, **fields: object) -> pod.PodStatus:
    values: dict[str, object] = {
        "outcome": "", "verdict": None, "any_running": any(one.running for one in found), "initialized": True, "ip": "10.0.0.2",
        "host_ip": "127.0.0.1", **fields,
    }  # fmt: skip
    observed = status.Observation(containers=found, **values)  # type: ignore[arg-type]
    wanted = wanted or pod.Pod.model_validate({"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": [{"name": "a"}]}})
    return status.make_status(wanted, previous or pod.PodStatus(), observed, now=NOW)


RUNS, CREATING = seen("a", newest=box()), seen("b")
CRASHED = seen("b", newest=box("exited"), end=end(1), wait=WAIT)


@pytest.mark.parametrize(
    ("found", "fields", "expected"),
    [
        ((CREATING,), {}, "Pending"),
        ((RUNS, CREATING), {}, "Pending"),
        ((RUNS,), {"initialized": False}, "Pending"),
        ((RUNS,), {}, "Running"),
        ((RUNS, CRASHED), {}, "Running"),
        ((CRASHED,), {}, "Running"),
        ((seen(end=end()),), {"outcome": "Succeeded"}, "Succeeded"),
        ((seen(end=end(1)),), {"outcome": "Failed"}, "Failed"),
        ((seen(end=end()),), {"outcome": "Succeeded", "any_running": True}, "Running"),
        ((CREATING,), {"verdict": Verdict(reason="Evicted", message="m")}, "Failed"),
        ((RUNS,), {"verdict": Verdict(reason="Evicted", message="m")}, "Running"),
    ],
)
def test_the_phase_follows_the_table(found: tuple[Seen, ...], fields: dict[str, object], expected: str) -> None:
    assert make(*found, **fields).phase == expected


def test_a_pod_that_has_run_does_not_go_back_to_pending() -> None:
    assert make(CREATING, previous=pod.PodStatus(phase="Running")).phase == "Running"


def test_what_has_ended_is_not_changed_any_more() -> None:
    over = make(seen(end=end()), outcome="Succeeded")
    assert make(RUNS, previous=over) is over


def test_a_container_that_waits_after_an_end_shows_both() -> None:
    made = containerstatus.container_status(CRASHED)
    assert made.state.waiting is not None
    assert made.state.waiting.reason == "CrashLoopBackOff"
    assert made.last_state.terminated == end(1)
    kept = containerstatus.container_status(replace(CRASHED, over=True, last=end(2)))
    assert (kept.state.terminated, kept.last_state.terminated) == (end(1), end(2))


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (box("exited", exit_code=0), ("Completed", 0, None)),
        (box("exited", exit_code=0, oom_killed=True), ("Completed", 0, None)),
        (box("exited", exit_code=3), ("Error", 3, None)),
        (box("exited", exit_code=137), ("Error", 137, 9)),
        (box("exited", exit_code=137, oom_killed=True), ("OOMKilled", 137, 9)),
        (box("exited", exit_code=143), ("Error", 143, 15)),
        (box("exited", exit_code=255), ("Error", 255, None)),
    ],
)
def test_an_end_is_told_as_a_kubelet_does(container: base.Container, expected: tuple[str, int, int | None]) -> None:
    told = containerstatus.terminated(container)
    assert (told.reason, told.exit_code, told.signal) == expected


def test_an_init_container_is_ready_when_it_is_done_and_a_sidecar_while_it_runs() -> None:
    assert seen(role=Role.INIT, end=end()).is_ready
    assert not seen(role=Role.INIT, end=end(1)).is_ready
    assert not seen(role=Role.INIT, newest=box()).is_ready
    assert seen(role=Role.SIDECAR, newest=box()).is_ready
    made = make(RUNS, seen("s", Role.SIDECAR), seen("d", Role.EPHEMERAL))
    ready = next(condition for condition in made.conditions if condition.type == "ContainersReady")
    assert ready.message == "containers with unready status: [s]"


def test_conditions_change_their_time_with_their_status_only_and_leave_others_alone() -> None:
    before = make(CREATING)
    other = meta.Condition(type="example.dev/x", status="True", last_transition_time=NOW - timedelta(days=1))
    wanted = pod.Pod.model_validate(
        {"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": [{"name": "a"}]}, "status": {"conditions": [other.to_dict()]}}
    )
    old = NOW - timedelta(hours=1)
    aged = meta.changed(before, conditions=tuple(meta.changed(one, last_transition_time=old) for one in before.conditions))
    made = {condition.type: condition for condition in make(RUNS, previous=aged, wanted=wanted).conditions}
    assert made["Initialized"].last_transition_time == old
    assert made["Ready"].last_transition_time == NOW
    assert made["example.dev/x"] == other


def test_only_a_pod_of_several_containers_has_a_pause_container() -> None:
    one = pod.PodSpec(containers=(pod.Container(name="a"),), ephemeral_containers=(pod.EphemeralContainer(name="d"),))
    assert [member.role for member in members.members_of(one)] == [Role.APP, Role.EPHEMERAL]
    assert members.needs_pause(meta.changed(one, share_process_namespace=True))
    assert members.needs_pause(meta.changed(one, init_containers=(pod.Container(name="i"),)))
    roles = [member.role for member in members.members_of(meta.changed(one, containers=(pod.Container(name="a"), pod.Container(name="b"))))]
    assert roles == [Role.PAUSE, Role.APP, Role.APP, Role.EPHEMERAL]


def test_a_container_in_a_joined_network_sets_nothing_of_it() -> None:
    config = base.ContainerConfig(
        name="n", image="i", labels={"a": "b"}, hostname="h", dns_servers=("1.1.1.1",),
        ports=(base.PortBinding(container_port=1, host_port=2),),
        extra_hosts=(("x", "1.2.3.4"),), sysctls={"a": "b"}, ip="10.0.0.3",
    )  # fmt: skip
    joined = members.joined(config, box(), is_pause=True, share_processes=False)
    assert (joined.network, joined.ipc_mode, joined.pid_mode) == ("container:x", "container:x", None)
    assert joined.labels == {"a": "b", base.LABEL_SANDBOX: "x"}
    assert (joined.hostname, joined.dns_servers, joined.ports, joined.extra_hosts, joined.ip) == (None, (), (), (), None)
    assert joined.sysctls == {}
    assert members.joined(config, box(), is_pause=True, share_processes=True).pid_mode == "container:x"


def test_a_message_is_bounded_and_goes_with_the_pod(tmp_path: Path) -> None:
    messages = TerminationMessages(tmp_path / "m")
    path = messages.prepare("u", "a", 0)
    assert path.stat().st_mode & 0o777 == 0o666
    assert messages.read("u", "a", 0) == ""
    path.write_bytes(b"x" * 10_000 + b"end")
    assert messages.read("u", "a", 0)[-3:] == "end"
    assert len(messages.read("u", "a", 0)) == LIMIT_BYTES
    messages.prepare("u", "a", 1)
    messages.prepare("u", "a", 2)
    assert not path.exists()
    assert messages.read("u", "absent", 0) == ""
    messages.remove("u")
    messages.remove("u")
    assert not (tmp_path / "m" / "u").exists()
