"""A Pod of several containers from its binding to its end, on a real API server and an engine whose programs are data."""

from __future__ import annotations

import pytest

from lattice.api import configmap, pod
from lattice.api.event import Event
from lattice.testing import pods
from lattice.testing.polling import eventually
from nodeagent.runtime import base
from nodeagent.workloads.actions import PAUSE

ONE, TWO, SIDE, APP, OTHER = (f"run {name}" for name in ("one", "two", "side", "app", "other"))


def init(*containers: dict[str, object]) -> dict[str, object]:
    return {"initContainers": [*containers]}


def trio(name: str = "trio", **spec: object) -> pod.Pod:
    """Return a Pod with an init container, a sidecar and two containers."""
    sidecar = pods.make_container("side", SIDE, restartPolicy="Always")
    containers = (pods.make_container("app", APP), pods.make_container("other", OTHER))
    return pods.make_pod(name, *containers, **init(pods.make_container("one", ONE), sidecar), **spec)


async def test_containers_come_in_order_into_one_network(bench) -> None:
    bench.program(ONE, run_for_s=0.0)
    async with bench.agent():
        await bench.bind(trio())
        found = await pods.wait_ready(bench.admin, "trio")
        assert bench.order("start")[:3] == [PAUSE, "one", "side"]
        pause = next(box for box in await bench.boxes("trio") if box.labels[base.LABEL_CONTAINER] == PAUSE)
        others = [box for box in await bench.boxes("trio") if box is not pause]
        assert {box.labels[base.LABEL_SANDBOX] for box in others} == {pause.id}
        assert found.status.pod_ip == pause.ip
        assert found.status.phase == "Running"
        assert [one.name for one in found.status.init_container_statuses] == ["one", "side"]
        assert all(one.ready for one in (*found.status.init_container_statuses, *found.status.container_statuses))
        await bench.admin.delete(pod.Pod, "trio", "default")
        await pods.wait_gone(bench.admin, "trio")
    assert await bench.boxes("trio") == []
    stops = bench.order("stop")
    assert set(stops[:2]) == {"app", "other"}
    assert stops[2:] == ["side", PAUSE]


async def test_a_pod_of_one_container_has_no_other(bench) -> None:
    async with bench.agent():
        await bench.bind(pods.make_pod("single"))
        await pods.wait_ready(bench.admin, "single")
        assert len(await bench.boxes("single")) == 1


async def test_a_restarted_agent_changes_nothing_of_several_containers(bench) -> None:
    bench.program(ONE, run_for_s=0.0)
    async with bench.agent():
        await bench.bind(trio())
        before = await pods.wait_ready(bench.admin, "trio")
    boxes, changes = await bench.boxes("trio"), list(bench.runtime.changes)
    async with bench.agent():
        await bench.bind(pods.make_pod("later"))
        await pods.wait_ready(bench.admin, "later")
        after = await pods.wait_ready(bench.admin, "trio")
    assert [(box.id, box.started_at) for box in await bench.boxes("trio")] == [(box.id, box.started_at) for box in boxes]
    assert [change for change in bench.runtime.changes[len(changes) :] if "_trio_" in change] == []
    assert after.status == before.status


async def test_a_pause_container_that_dies_takes_the_network_and_everything_starts_anew(bench) -> None:
    bench.program(ONE, run_for_s=0.0)
    async with bench.agent():
        await bench.bind(trio())
        await pods.wait_ready(bench.admin, "trio")
        pause = next(box for box in await bench.boxes("trio") if box.labels[base.LABEL_CONTAINER] == PAUSE)
        bench.runtime.end(pause.id, exit_code=137)

        async def anew() -> bool:
            active = [box for box in await bench.boxes("trio") if box.state is base.ContainerState.RUNNING]
            assert {box.labels[base.LABEL_CONTAINER] for box in active} == {PAUSE, "side", "app", "other"}
            networks = {box.labels.get(base.LABEL_SANDBOX) for box in active} - {None}
            assert networks == {box.id for box in active if box.labels[base.LABEL_CONTAINER] == PAUSE}
            return pause.id not in networks

        await eventually(anew, 20, "all containers to be in a new network")
        assert bench.order("start").count("one") == 2  # the init container ran again
        found = await pods.wait_ready(bench.admin, "trio")
        assert pods.container_status(found, "app").restart_count == 1


async def test_one_container_that_crashes_leaves_the_others_alone(bench) -> None:
    bench.program(APP, run_for_s=0.0, exit_code=4)
    async with bench.agent():
        await bench.bind(pods.make_pod("pair", pods.make_container("app", APP), pods.make_container("other", OTHER)))
        found = await pods.wait_state(bench.admin, "pair", "app", "CrashLoopBackOff")
        last = pods.container_status(found, "app").last_state.terminated
        assert last is not None
        assert (last.exit_code, last.reason) == (4, "Error")

        async def restarted() -> bool:
            return pods.container_status(await bench.admin.get(pod.Pod, "pair", "default"), "app").restart_count >= 2

        await eventually(restarted, 20, "two restarts")
        assert bench.order("start").count("other") == 1

        async def told() -> bool:
            events = (await bench.admin.list(Event, "default")).items
            backoff = [event for event in events if event.reason == "BackOff" and event.involved_object.name == "pair"]
            assert backoff, [event.reason for event in events]
            assert backoff[0].involved_object.field_path == "spec.containers{app}"
            return backoff[0].type == "Warning"

        await eventually(told, 10, "the Event of the back-off")


@pytest.mark.parametrize(("policy", "code", "phase"), [("Never", 0, "Succeeded"), ("Never", 3, "Failed"), ("OnFailure", 0, "Succeeded")])
async def test_a_pod_that_runs_to_its_end_stops_its_sidecars(bench, policy: str, code: int, phase: str) -> None:
    bench.program(ONE, run_for_s=0.0)
    bench.program(APP, run_for_s=0.2, exit_code=code)
    bench.program(OTHER, run_for_s=0.1)
    async with bench.agent():
        await bench.bind(trio(restartPolicy=policy))
        found = await pods.wait_phase(bench.admin, "trio", phase)
        assert await bench.running("trio") == set()
        assert pods.ended(found, "app").exit_code == code
        assert pods.ended(found, "side").exit_code == 143
        ready = next(condition for condition in found.status.conditions if condition.type == "Ready")
        assert ready.reason == ("PodCompleted" if phase == "Succeeded" else "PodFailed")


async def test_an_init_container_that_fails_is_tried_again_before_the_others(bench) -> None:
    bench.program(ONE, run_for_s=0.0, exit_code=1)
    async with bench.agent():
        await bench.bind(trio())
        found = await pods.wait_state(bench.admin, "trio", "one", "CrashLoopBackOff")
        waiting = pods.container_status(found, "app").state.waiting
        assert waiting is not None
        assert waiting.reason == "PodInitializing"
        assert found.status.phase == "Pending"
        bench.program(ONE, run_for_s=0.0)
        await pods.wait_ready(bench.admin, "trio")


async def test_a_deadline_ends_a_pod_also_after_a_restart_of_the_agent(bench) -> None:
    async with bench.agent():
        await bench.bind(pods.make_pod("late", activeDeadlineSeconds=2))
        await pods.wait_ready(bench.admin, "late")
    async with bench.agent():
        found = await pods.wait_phase(bench.admin, "late", "Failed")
        assert found.status.reason == "DeadlineExceeded"
        assert await bench.running("late") == set()


async def test_a_readiness_gate_of_somebody_else_counts_and_is_left_alone(bench) -> None:
    gate = "example.dev/load-balanced"
    async with bench.agent():
        await bench.bind(pods.make_pod("gated", readinessGates=[{"conditionType": gate}]))

        async def refused() -> bool:
            found = await bench.admin.get(pod.Pod, "gated", "default")
            conditions = {condition.type: condition for condition in found.status.conditions}
            assert conditions["ContainersReady"].status == "True", found.status.to_dict()
            return conditions["Ready"].reason == "ReadinessGatesNotReady"

        await eventually(refused, 20, "the gate to hold the Pod back")
        patch = {"status": {"conditions": [{"type": gate, "status": "True"}]}}
        strategic = "application/strategic-merge-patch+json"
        await bench.admin.patch(pod.Pod, "gated", "default", patch, subresource="status", content_type=strategic)
        found = await pods.wait_ready(bench.admin, "gated")
        assert {condition.type for condition in found.status.conditions} >= {gate, "Ready", "ContainersReady", "Initialized"}


async def test_a_program_that_cannot_be_started_has_ended(bench) -> None:
    bench.program(APP, start_error='exec: "nothing": executable file not found')
    async with bench.agent():
        await bench.bind(pods.make_pod("once", pods.make_container("app", APP), restartPolicy="Never"))
        found = await pods.wait_phase(bench.admin, "once", "Failed")
        assert (pods.ended(found, "app").reason, pods.ended(found, "app").exit_code) == ("StartError", 128)
        await bench.bind(pods.make_pod("again", pods.make_container("app", APP)))
        again = await pods.wait_state(bench.admin, "again", "app", "CrashLoopBackOff")
        last = pods.container_status(again, "app").last_state.terminated
        assert last is not None
        assert "not found" in (last.message or "")


async def test_what_ran_once_and_is_removed_by_hand_is_not_run_again(bench) -> None:
    async with bench.agent():
        await bench.bind(pods.make_pod("once", restartPolicy="Never"))
        await pods.wait_ready(bench.admin, "once")
        (box,) = await bench.boxes("once")
        await bench.runtime.remove(box.id)
        await pods.wait_phase(bench.admin, "once", "Failed")
        assert bench.order("start") == ["main"]


async def test_a_node_is_shown_the_secrets_of_every_kind_of_container_and_volume(bench) -> None:
    bench.program(ONE, run_for_s=0.0)
    for name in ("of-init", "of-volume"):
        secret = {"metadata": {"name": name, "namespace": "default"}, "data": {"k": "dg=="}}
        await bench.admin.create(configmap.Secret.model_validate(secret))
    first = pods.make_container("one", ONE, envFrom=[{"secretRef": {"name": "of-init"}}])
    mounted = pods.make_container("app", APP, volumeMounts=[{"name": "all", "mountPath": "/all"}])
    volume = {"name": "all", "projected": {"sources": [{"secret": {"name": "of-volume"}}]}}
    async with bench.agent():
        await bench.bind(pods.make_pod("reader", mounted, volumes=[volume], **init(first)))
        await pods.wait_ready(bench.admin, "reader")


async def test_a_container_that_the_engine_only_says_to_have_started_is_replaced(bench, monkeypatch) -> None:
    """Seen after a restart of Docker: start answers well, and nothing runs."""
    honest, lies = bench.runtime.start, []

    async def start(container_id: base.ContainerId) -> None:
        if lies:
            await honest(container_id)
        lies.append(container_id)

    monkeypatch.setattr(bench.runtime, "start", start)
    async with bench.agent():
        await bench.bind(pods.make_pod("stuck"))
        found = await pods.wait_ready(bench.admin, "stuck")
        (box,) = await bench.boxes("stuck")
        assert box.id != lies[0]
        assert found.status.container_statuses[0].restart_count == 0  # the first attempt never ran


async def test_a_liveness_probe_restarts_and_says_why(bench) -> None:
    bench.runtime.exec_results[("check",)] = base.ExecResult(exit_code=9, output="no quorum")
    probe = {"exec": {"command": ["check"]}, "periodSeconds": 1, "failureThreshold": 1}
    async with bench.agent():
        await bench.bind(pods.make_pod("sick", pods.make_container("app", APP, livenessProbe=probe)))

        async def restarted() -> bool:
            found = await bench.admin.get(pod.Pod, "sick", "default")
            return pods.container_status(found, "app").restart_count >= 1

        await eventually(restarted, 20, "a restart")

        async def told() -> bool:
            events = [event for event in (await bench.admin.list(Event, "default")).items if event.involved_object.name == "sick"]
            unhealthy = [event.message or "" for event in events if event.reason == "Unhealthy"]
            killing = [event.message or "" for event in events if event.reason == "Killing"]
            assert unhealthy, [event.reason for event in events]
            assert killing, [event.reason for event in events]
            assert unhealthy[0] == "Liveness probe failed: exit code 9: no quorum"
            return "failed liveness probe" in killing[0]

        await eventually(told, 10, "the Events of the probe")


async def test_a_post_start_hook_that_fails_ends_the_container(bench) -> None:
    bench.runtime.exec_results[("hook",)] = base.ExecResult(exit_code=1, output="")
    hook = {"postStart": {"exec": {"command": ["hook"]}}}
    async with bench.agent():
        await bench.bind(pods.make_pod("hooked", pods.make_container("app", APP, lifecycle=hook), restartPolicy="Never"))
        found = await pods.wait_phase(bench.admin, "hooked", "Failed")
        assert pods.ended(found, "app").exit_code == 143
