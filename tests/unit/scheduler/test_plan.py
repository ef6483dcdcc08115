"""The scheduler's plan: tables of filters and sentences, and the properties that every planner has."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.scheduler.model import (
    ClaimInfo,
    HostPort,
    Name,
    NodeInfo,
    PodInfo,
    Taint,
    Toleration,
    VolumeInfo,
    project_claim,
    project_node,
    project_pod,
    project_volume,
)
from controller.scheduler.plan import Placement, Unplaceable, make_plan
from controller.scheduler.snapshot import NodeState, Snapshot
from controller.scheduler.state import ClusterState


def make_node(name: str = "n1", *, cpu: int = 4000, memory: int = 1000, pods: int = 10, **fields: object) -> NodeInfo:
    allocatable = (("cpu", cpu), ("memory", memory), ("pods", pods))
    return NodeInfo(name=name, labels=(("kubernetes.io/hostname", name),), ready=True, allocatable=allocatable, **fields)  # type: ignore[arg-type]


def make_pod(name: str = "p", *, cpu: int = 100, **fields: object) -> PodInfo:
    return PodInfo(key=Name("default", name), uid=f"uid-{name}", requests=(("cpu", cpu),), **fields)  # type: ignore[arg-type]


def make_claim(name: str = "c", **fields: object) -> ClaimInfo:
    return ClaimInfo(key=Name("default", name), uid=f"uid-{name}", **fields)  # type: ignore[arg-type]


def snapshot(*nodes: NodeInfo, claims: tuple[ClaimInfo, ...] = (), volumes: tuple[VolumeInfo, ...] = (), **fields: object) -> Snapshot:
    return Snapshot(
        nodes=tuple(NodeState(info=node) for node in nodes),
        claims={claim.key: claim for claim in claims},
        volumes={volume.name: volume for volume in volumes},
        volumes_by_claim_uid={volume.claim_uid: volume for volume in volumes if volume.claim_uid},
        **fields,  # type: ignore[arg-type]
    )


def why(world: Snapshot, pod: PodInfo) -> str:
    (decision,) = make_plan(world, [pod])
    assert isinstance(decision, Unplaceable)
    return decision.message


def where(world: Snapshot, *pods: PodInfo) -> dict[str, str]:
    decisions = make_plan(world, pods)
    assert all(isinstance(decision, Placement) for decision in decisions), decisions
    return {decision.pod.key.name: decision.node_name for decision in decisions if isinstance(decision, Placement)}


TAINT = Taint("dedicated", "gpu", "NoSchedule")


@pytest.mark.parametrize(
    ("node", "pod", "message"),
    [
        (make_node(cpu=50), make_pod(), "0/1 nodes are available: 1 Insufficient cpu."),
        (make_node(pods=0), make_pod(), "0/1 nodes are available: 1 Too many pods."),
        (make_node(), replace(make_pod(), requests=(("example.com/gpu", 1),)), "0/1 nodes are available: 1 Insufficient example.com/gpu."),
        (make_node(unschedulable=True), make_pod(), "0/1 nodes are available: 1 node(s) were unschedulable."),
        (make_node(taints=(TAINT,)), make_pod(), "0/1 nodes are available: 1 node(s) had untolerated taint {dedicated: gpu}."),
        (replace(make_node(), ready=False), make_pod(), "0/1 nodes are available: 1 node(s) were not ready."),
        (
            make_node(),
            make_pod(node_selector=(("disk", "ssd"),)),
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
        ),
        (make_node(), make_pod(claims=("x",)), '0/1 nodes are available: persistentvolumeclaim "x" not found.'),
    ],
)
def test_says_why_a_node_does_not_fit(node: NodeInfo, pod: PodInfo, message: str) -> None:
    assert why(snapshot(node), pod) == message


def test_counts_nodes_per_reason() -> None:
    world = snapshot(make_node("a", cpu=1), make_node("b", cpu=1), make_node("c", taints=(TAINT,)))
    assert why(world, make_pod()) == ("0/3 nodes are available: 1 node(s) had untolerated taint {dedicated: gpu}, 2 Insufficient cpu.")
    assert why(snapshot(make_node(cpu=1, memory=1)), replace(make_pod(), requests=(("cpu", 2), ("memory", 2)))) == (
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."
    )
    assert why(snapshot(), make_pod()) == "no nodes available to schedule pods"


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        (Toleration("dedicated", "Equal", "gpu", "NoSchedule"), True),
        (Toleration("dedicated", "Equal", "gpu", ""), True),
        (Toleration("dedicated", "Exists", "", ""), True),
        (Toleration("", "Exists", "", ""), True),
        (Toleration("dedicated", "Equal", "cpu", ""), False),
        (Toleration("dedicated", "Exists", "", "NoExecute"), False),
        (Toleration("other", "Exists", "", ""), False),
        (Toleration("", "Equal", "gpu", ""), False),
    ],
)
def test_tolerations(toleration: Toleration, tolerated: bool) -> None:
    assert TAINT.tolerated_by((toleration,)) is tolerated


def test_soft_taints_keep_nobody_away() -> None:
    assert where(snapshot(make_node(taints=(Taint("a", "", "PreferNoSchedule"),))), make_pod()) == {"p": "n1"}


def test_host_ports_conflict_on_the_same_and_on_all_addresses() -> None:
    taken = HostPort("127.0.0.1", 80, "TCP")
    node = NodeState(info=make_node(), host_ports=frozenset({taken}))
    world = Snapshot(nodes=(node,))
    for port in (taken, HostPort("0.0.0.0", 80, "TCP")):
        assert "free ports" in why(world, make_pod(host_ports=(port,)))
    for port in (HostPort("127.0.0.2", 80, "TCP"), HostPort("127.0.0.1", 80, "UDP")):
        assert where(world, make_pod(host_ports=(port,))) == {"p": "n1"}
    first, second = make_plan(snapshot(make_node()), [make_pod("a", host_ports=(taken,)), make_pod("b", host_ports=(taken,))])
    assert (type(first), type(second)) == (Placement, Unplaceable)


def test_spreads_replicas_and_load() -> None:
    world = snapshot(make_node("a"), make_node("b"), make_node("c"))
    replicas = [make_pod(f"p{n}", group="web") for n in range(3)]
    assert sorted(where(world, *replicas).values()) == ["a", "b", "c"]
    busy = Snapshot(nodes=(NodeState(info=make_node("a"), used=(("cpu", 3000),)), NodeState(info=make_node("b"))))
    assert where(busy, make_pod()) == {"p": "b"}


def test_priority_then_age_decide_who_gets_the_last_place() -> None:
    pods = [make_pod("young", created="2"), make_pod("old", created="1"), make_pod("important", created="3", priority=5)]
    decisions = make_plan(snapshot(make_node(pods=1)), pods)
    assert [decision.pod.key.name for decision in decisions] == ["important", "old", "young"]
    assert [type(decision) for decision in decisions] == [Placement, Unplaceable, Unplaceable]


def test_bound_claim_keeps_the_pod_on_its_node() -> None:
    claim = make_claim(volume_name="v", bound=True)
    volume = VolumeInfo(name="v", node_name="b", claim_uid=claim.uid)
    world = snapshot(make_node("a"), make_node("b"), claims=(claim,), volumes=(volume,))
    (decision,) = make_plan(world, [make_pod(claims=("c",))])
    assert decision == Placement(make_pod(claims=("c",)), "b")
    gone = snapshot(make_node("a"), claims=(claim,), volumes=(volume,))
    assert why(gone, make_pod(claims=("c",))) == "0/1 nodes are available: 1 node(s) had volume node affinity conflict."
    lost = snapshot(make_node("a"), claims=(claim,))
    assert 'persistentvolume "v" not found' in why(lost, make_pod(claims=("c",)))


def test_volume_that_was_made_before_a_crash_is_used() -> None:
    claim = make_claim()
    volume = VolumeInfo(name="pvc-uid-c", node_name="b", claim_uid=claim.uid)
    world = snapshot(make_node("a"), make_node("b", cpu=200), claims=(claim,), volumes=(volume,))
    (decision,) = make_plan(world, [make_pod(claims=("c",))])
    assert decision == Placement(make_pod(claims=("c",)), "b", (claim,))


def test_claim_that_is_assumed_in_the_round_gets_one_location() -> None:
    world = snapshot(make_node("a"), make_node("b"), claims=(make_claim(),))
    placed = where(world, make_pod("p1", claims=("c",), group="g"), make_pod("p2", claims=("c",), group="g"))
    assert len(set(placed.values())) == 1


def test_claim_for_one_pod_is_never_given_to_two() -> None:
    claim = make_claim(access_modes=("ReadWriteOncePod",))
    first, second = make_plan(snapshot(make_node(), claims=(claim,)), [make_pod("a", claims=("c",)), make_pod("b", claims=("c",))])
    assert (type(first), type(second)) == (Placement, Unplaceable)
    in_use = snapshot(make_node(), claims=(claim,), claims_in_use=frozenset({claim.key}))
    assert "ReadWriteOncePod" in why(in_use, make_pod(claims=("c",)))


@pytest.mark.parametrize(("claim", "part"), [(make_claim(deleting=True), "is being deleted"), (make_claim(storage_class="x"), '"x"')])
def test_unusable_claims_are_explained(claim: ClaimInfo, part: str) -> None:
    assert part in why(snapshot(make_node(), claims=(claim,)), make_pod(claims=("c",)))


NODES = st.lists(
    st.builds(
        lambda n, cpu, pods, ready, cordon: replace(make_node(f"n{n}", cpu=cpu, pods=pods, unschedulable=cordon), ready=ready),
        st.integers(0, 5), st.integers(0, 1000), st.integers(0, 5), st.booleans(), st.booleans(),
    ),
    max_size=6, unique_by=lambda node: node.name,
)  # fmt: skip
PODS = st.lists(
    st.builds(
        lambda n, cpu, priority, claims, port: make_pod(
            f"p{n}", cpu=cpu, priority=priority, claims=claims, host_ports=(HostPort("127.0.0.1", port, "TCP"),) if port else ()
        ),
        st.integers(0, 20), st.integers(0, 600), st.integers(0, 2), st.sampled_from([(), ("c",), ("d",), ("c", "d")]), st.integers(0, 2),
    ),
    max_size=10, unique_by=lambda pod: pod.key,
)  # fmt: skip


@settings(deadline=None)
@given(NODES, PODS, st.integers(0, 2**32))
def test_never_overfills_never_splits_a_claim_and_ignores_order(nodes: list[NodeInfo], pods: list[PodInfo], seed: int) -> None:
    claims = (make_claim("c"), make_claim("d", access_modes=("ReadWriteOncePod",)))
    world = snapshot(*nodes, claims=claims)
    plan = make_plan(world, pods)
    rng = random.Random(seed)
    shuffled = list(nodes)
    rng.shuffle(shuffled)
    rng.shuffle(pods)
    assert make_plan(snapshot(*shuffled, claims=claims), pods) == plan
    by_name = {node.name: node for node in nodes}
    used: dict[str, Counter[str]] = {}
    ports: set[tuple[str, HostPort]] = set()
    homes: dict[str, set[str]] = {"c": set(), "d": set()}
    holders_of_d = 0
    for decision in plan:
        if isinstance(decision, Unplaceable):
            assert decision.message
            continue
        usage = used.setdefault(decision.node_name, Counter())
        usage["cpu"] += dict(decision.pod.requests)["cpu"]
        usage["pods"] += 1
        for port in decision.pod.host_ports:
            assert (decision.node_name, port) not in ports
            ports.add((decision.node_name, port))
        for name in decision.pod.claims:
            homes[name].add(decision.node_name)
            holders_of_d += name == "d"
    for name, usage in used.items():
        assert by_name[name].ready
        assert not by_name[name].unschedulable
        assert all(usage[resource] <= amount for resource, amount in by_name[name].allocatable if resource in usage)
    assert all(len(home) <= 1 for home in homes.values())
    assert holders_of_d <= 1


@settings(deadline=None)
@given(NODES, PODS, st.integers(0, 10))
def test_converges_through_the_account_after_any_prefix(nodes: list[NodeInfo], pods: list[PodInfo], crash_after: int) -> None:
    """Apply a part of a plan, start anew from what is stored, and so on: in the end nothing that fits is left."""
    claims = {name: make_claim(name) for name in ("c", "d")}
    volumes: list[VolumeInfo] = []
    bound: dict[Name, PodInfo] = {}
    for _ in range(len(pods) + 3):
        state = ClusterState()
        for node in nodes:
            state.on_node(None, node)
        for claim in claims.values():
            state.on_claim(None, claim)
        for volume in volumes:
            state.on_volume(None, volume)
        for pod in pods:
            state.on_pod(None, bound.get(pod.key, pod))
        placements = [d for d in make_plan(state.snapshot(), state.pending.values()) if isinstance(d, Placement)]
        if not placements:
            break
        for decision in placements[: max(1, crash_after)]:
            for claim in decision.bind_claims:
                if not claims[claim.key.name].volume_name:
                    volumes.append(VolumeInfo(name=f"pvc-{claim.uid}", node_name=decision.node_name, claim_uid=claim.uid))
                    claims[claim.key.name] = replace(claim, volume_name=f"pvc-{claim.uid}", bound=True)
            bound[decision.pod.key] = replace(decision.pod, node_name=decision.node_name)
    else:
        raise AssertionError("does not converge")
    assert len({volume.claim_uid for volume in volumes}) == len(volumes)


def test_projections_read_what_the_api_server_delivers() -> None:
    pod = project_pod(
        {
            "metadata": {"name": "p", "namespace": "d", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {
                "containers": [
                    {"resources": {"requests": {"cpu": "0.5"}, "limits": {"cpu": "1", "memory": "1Ki"}}, "ports": [{"hostPort": 80}]},
                    {"resources": {"requests": {"cpu": "250m"}}},
                ],
                "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}],
            },
        }
    )
    assert pod.requests == (("cpu", 750), ("memory", 1024))
    assert pod.host_ports == (HostPort("127.0.0.1", 80, "TCP"),)
    assert pod.claims == ("c",)
    node = project_node(
        {"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": 2}, "conditions": [{"type": "Ready", "status": "True"}]}}
    )
    assert (node.allocatable, node.ready) == ((("cpu", 2000),), True)
    claim = project_claim(
        {"metadata": {"name": "c"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}, "status": {"phase": "Bound"}}
    )
    assert (claim.size, claim.bound, claim.reclaim_policy) == ("1Gi", True, "Retain")
    terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n"]}]}]
    spec = {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}, "claimRef": {"namespace": "d", "name": "c", "uid": "u"}}
    assert project_volume({"metadata": {"name": "v"}, "spec": spec}).node_name == "n"


def test_account_counts_assumed_pods_until_they_are_seen_or_taken_back() -> None:
    state = ClusterState()
    state.on_node(None, make_node(pods=1))
    pod = make_pod()
    state.on_pod(None, pod)
    state.assume(pod, "n1", ())
    assert state.pending == {}
    assert dict(state.snapshot().nodes[0].used)["pods"] == 1
    state.on_pod(pod, pod)  # an old version arrives late
    assert state.pending == {}
    bound = replace(pod, node_name="n1")
    state.on_pod(pod, bound)
    assert dict(state.snapshot().nodes[0].used)["pods"] == 1
    state.forget(pod, ())  # too late: it is bound
    assert state.pending == {}
    before = state.changes
    state.on_pod(bound, None)
    assert state.snapshot().nodes[0].used == ()
    assert state.changes > before
    state.on_pod(None, pod)
    state.assume(pod, "n1", (make_claim(),))
    state.forget(pod, (make_claim(),))
    assert state.pending == {pod.key: pod}
    assert state.snapshot().nodes[0].used == ()


def affinity(*expressions: dict[str, object]) -> PodInfo:
    terms = [{"matchExpressions": [expression]} for expression in expressions]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return project_pod({"metadata": {"name": "p"}, "spec": {"containers": [], "affinity": {"nodeAffinity": required}}})


def test_one_term_of_the_required_node_affinity_must_match() -> None:
    world = snapshot(make_node("n1"), make_node("n2"))
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"]}
    nowhere = {"key": "disk", "operator": "Exists"}
    assert where(world, affinity(nowhere, here)) == {"p": "n2"}
    assert why(world, affinity(nowhere)) == "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
    assert why(world, affinity()) == "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."


def test_a_gated_pod_is_not_scheduled_until_its_gates_are_gone() -> None:
    state = ClusterState()
    gated = project_pod({"metadata": {"name": "p"}, "spec": {"containers": [], "schedulingGates": [{"name": "g"}]}})
    state.on_pod(None, gated)
    assert not state.pending
    state.on_pod(gated, replace(gated, gated=False))
    assert list(state.pending) == [gated.key]


def test_ports_of_sidecars_count() -> None:
    ports = {"ports": [{"containerPort": 80, "hostPort": 8080}]}
    spec = {"containers": [{}], "initContainers": [{**ports, "restartPolicy": "Always"}, {"ports": [{"containerPort": 1, "hostPort": 1}]}]}
    assert [port.port for port in project_pod({"metadata": {"name": "p"}, "spec": spec}).host_ports] == [8080]
