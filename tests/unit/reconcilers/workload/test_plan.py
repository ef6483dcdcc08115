"""The plan of a Workload, against a model of the API server and the agent: tables, and the properties that every planner has."""

from __future__ import annotations

import base64
import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller.reconcilers.workload import naming, template
from controller.reconcilers.workload.model import CreateClaim, CreatePod, CreateSecret, DeletePod, NameTaken, Observed, Plan, SetRetention
from controller.reconcilers.workload.plan import make_plan
from lattice.api import conditions, meta, names, pod, storage, workload

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def make_workload(**spec: object) -> workload.Workload:
    if "preset" not in spec and "image" not in spec:
        spec["preset"] = {"name": "postgresql", "version": "15"}
    return workload.Workload.model_validate(
        {"metadata": {"name": "db", "namespace": "default", "uid": "w1", "generation": 1}, "spec": spec}
    )


@dataclass
class World:
    """Applies actions as the API server would, and plays the agent."""

    owner: workload.Workload
    pods: dict[str, pod.Pod] = field(default_factory=dict)
    claims: dict[str, storage.PersistentVolumeClaim] = field(default_factory=dict)
    secret: object = None
    now: datetime = NOW
    serial: int = 0

    def observe(self, rng: random.Random | None = None) -> Observed:
        pods, claims = list(self.pods.values()), list(self.claims.values())
        if rng is not None:
            rng.shuffle(pods)
            rng.shuffle(claims)
        return Observed(
            workload=self.owner, now=self.now, generated_password="s3cret", pods=tuple(pods), claims=tuple(claims), credentials=self.secret
        )  # type: ignore[arg-type]

    def apply(self, action: object) -> None:
        self.serial += 1
        match action:
            case CreateSecret(secret):
                assert self.secret is None
                self.secret = secret
            case CreateClaim(claim):
                assert claim.name not in self.claims
                self.claims[claim.name] = claim
            case CreatePod(new):
                assert new.name not in self.pods
                stamp = meta.changed(new.metadata, uid=f"p{self.serial}", creation_timestamp=self.now)
                self.pods[new.name] = meta.changed(new, metadata=stamp)
                self._check_one_holder()
            case DeletePod(name, uid, _):
                assert self.pods[name].uid == uid
                if self.pods[name].spec.node_name:
                    self.change(name, metadata=meta.changed(self.pods[name].metadata, deletion_timestamp=self.now))
                else:
                    del self.pods[name]
            case SetRetention():
                claim = self.claims.get(action.name)
                owners = (action.owner,) if action.owner else ()
                if claim is not None:
                    annotations = {names.ANNOTATION_RECLAIM_POLICY: action.reclaim_policy or "Retain"}
                    changed = meta.changed(claim.metadata, owner_references=owners, annotations=annotations)
                    self.claims[action.name] = meta.changed(claim, metadata=changed)
                else:
                    self.secret = meta.changed(self.secret, metadata=meta.changed(self.secret.metadata, owner_references=owners))  # type: ignore[attr-defined,type-var]

    def _check_one_holder(self) -> None:
        """Pods that were made before the Workload had storage hold nothing."""
        held = [
            volume.persistent_volume_claim.claim_name
            for p in self.pods.values()
            for volume in p.spec.volumes
            if volume.persistent_volume_claim is not None
        ]
        assert len(held) == len(set(held)), "two holders of one claim"

    def change(self, name: str, **fields: object) -> None:
        self.pods[name] = meta.changed(self.pods[name], **fields)

    def run_agent(self) -> None:
        """Bind, start and make ready what is wanted; confirm the end of what is going."""
        for name, p in list(self.pods.items()):
            if p.metadata.deletion_timestamp:
                del self.pods[name]
            elif p.status.phase != "Failed":
                self.set_ready(name)

    def set_ready(self, name: str, ready: bool = True) -> None:
        p = self.pods[name]
        status = pod.PodStatus(phase="Running", conditions=(meta.Condition(type="Ready", status="True" if ready else "False"),))
        self.change(name, spec=meta.changed(p.spec, node_name="n1"), status=status)

    def step(self) -> Plan:
        plan = make_plan(self.observe())
        for action in plan.actions:
            self.apply(action)
        self.owner = meta.changed(self.owner, status=plan.status)
        return plan

    def converge(self) -> Plan:
        for _ in range(60):
            plan = self.step()
            if not plan.actions and all(not p.metadata.deletion_timestamp for p in self.pods.values()) and plan.status.phase != "Deploying":
                return plan
            self.run_agent()
            self.now += timedelta(seconds=11)
        raise AssertionError(f"does not converge: {plan}")

    def set_spec(self, **spec: object) -> None:
        self.owner = meta.changed(self.owner, spec=make_workload(**spec).spec)


def condition(plan: Plan, name: str) -> meta.Condition:
    found = conditions.get_condition(plan.status.conditions, name)
    assert found is not None
    return found


def test_preset_makes_secret_claim_and_pod_in_this_order() -> None:
    plan = make_plan(World(make_workload()).observe())
    assert [type(action) for action in plan.actions] == [CreateSecret, CreateClaim, CreatePod]
    secret, claim, new = plan.actions[0].secret, plan.actions[1].claim, plan.actions[2].pod  # type: ignore[union-attr]
    assert base64.b64decode(secret.data["password"]) == b"s3cret"
    assert secret.data.keys() == {"username", "password", "database"}
    assert claim.name == "db-data-0"
    assert claim.metadata.owner_references == ()
    assert claim.spec.access_modes == ("ReadWriteOncePod",)
    assert new.metadata.owner_references[0].uid == "w1"
    container = new.spec.containers[0]
    assert container.image == "postgres:15"
    assert container.readiness_probe.exec.command == ("pg_isready", "-U", "postgres", "-d", "postgres", "-h", "127.0.0.1")
    assert plan.status.phase == "Deploying"
    assert plan.status.credentials_secret == "db-credentials"


@pytest.mark.parametrize("name", ["postgresql", "redis"])
def test_password_is_only_in_the_secret(name: str) -> None:
    version = {"postgresql": "15", "redis": "7"}[name]
    plan = make_plan(World(make_workload(preset={"name": name, "version": version})).observe())
    assert "s3cret" not in repr(plan)
    assert all(b"s3cret" not in action.pod.to_json() for action in plan.actions if isinstance(action, CreatePod))


def test_redis_password_cannot_break_out_of_the_config_file() -> None:
    world = World(make_workload(preset={"name": "redis", "version": "7"}))
    plan = make_plan(replace(world.observe(), given_password='a"\nsave ""'))
    config = base64.b64decode(plan.actions[0].secret.data["redis.conf"]).decode()  # type: ignore[union-attr]
    assert config.splitlines()[0] == 'requirepass "a\\x22\\x0asave\\x20\\x22\\x22"'


def test_running_is_said_only_of_what_is_ready() -> None:
    world = World(make_workload(replicas=2))
    world.step()
    plan = world.step()
    assert (plan.actions, plan.status.phase, plan.status.ready_replicas) == ((), "Deploying", 0)
    first, second = sorted(world.pods)
    world.set_ready(first)
    assert world.step().status.phase == "Deploying"
    world.set_ready(second)
    plan = world.step()
    assert (plan.status.phase, plan.status.ready_replicas, plan.status.updated_replicas) == ("Running", 2, 2)
    assert condition(plan, "Available").status == "True"
    world.set_ready(first, ready=False)
    assert world.step().status.phase == "Deploying"


@pytest.mark.parametrize(
    ("spec", "reason", "part"),
    [
        ({"preset": {"name": "postgresql", "version": "9"}}, "UnknownPresetVersion", "13, 14, 15"),
        ({"preset": {"name": "redis", "version": "8"}}, "UnknownPresetVersion", "6, 7"),
        ({"preset": {"name": "redis", "version": "7"}, "image": "x"}, "InvalidSource", "exactly one"),
        ({"preset": {"name": "postgresql", "version": "15", "parameters": {"user": "a; drop"}}}, "InvalidParameters", "user"),
        ({"preset": {"name": "redis", "version": "7", "parameters": {"user": "a"}}}, "InvalidParameters", "none"),
        (
            {"preset": {"name": "postgresql", "version": "15"}, "env": [{"name": "POSTGRES_PASSWORD", "value": "x"}]},
            "InvalidEnvironment",
            "",
        ),
        ({"preset": {"name": "postgresql", "version": "15"}, "storage": {"mountPath": "/x"}}, "InvalidStorage", "/var/lib"),
        ({"preset": {"name": "postgresql", "version": "15"}, "command": ["sh"]}, "InvalidCommand", "args"),
        ({"image": "x", "storage": {"size": "1Gi"}}, "InvalidStorage", "mountPath"),
    ],
)
def test_invalid_spec_stalls_and_touches_nothing(spec: dict[str, object], reason: str, part: str) -> None:
    world = World(make_workload(replicas=1))
    world.converge()
    pods = dict(world.pods)
    world.set_spec(**spec)
    plan = world.step()
    assert (plan.actions, plan.status.phase) == ((), "Failed")
    assert condition(plan, "Stalled").status == "True"
    assert condition(plan, "Stalled").reason == reason
    assert part in condition(plan, "Stalled").message
    assert world.pods == pods


def test_scale_down_ends_the_highest_ordinals_and_keeps_claims() -> None:
    world = World(make_workload(replicas=3))
    world.converge()
    world.set_spec(replicas=1)
    plan = world.step()
    ordinals = [world.pods[action.name].metadata.labels[names.LABEL_ORDINAL] for action in plan.actions if isinstance(action, DeletePod)]
    assert ordinals == ["2", "1"]
    world.converge()
    assert len(world.pods) == 1
    assert len(world.claims) == 3


def test_zero_replicas_stop() -> None:
    world = World(make_workload(replicas=0))
    assert world.step() == make_plan(world.observe())
    assert world.owner.status.phase == "Stopped"
    assert not world.pods
    assert not world.claims


def test_replacement_with_storage_waits_until_the_old_pod_has_left_the_store() -> None:
    world = World(make_workload())
    world.converge()
    (name,) = world.pods
    world.change(name, metadata=meta.changed(world.pods[name].metadata, deletion_timestamp=NOW))
    plan = world.step()
    assert plan.actions == ()
    assert "waiting for its end" in condition(plan, "Progressing").message
    world.run_agent()
    assert [type(action) for action in world.step().actions] == [CreatePod]


def test_replacement_without_storage_starts_at_once_under_the_next_attempt() -> None:
    world = World(make_workload(image="nginx"))
    world.converge()
    (name,) = world.pods
    world.change(name, metadata=meta.changed(world.pods[name].metadata, deletion_timestamp=NOW))
    (create,) = world.step().actions
    assert isinstance(create, CreatePod)
    assert create.pod.name == name[:-1] + "1"


def test_pod_that_fails_at_once_is_not_made_again_at_once() -> None:
    world = World(make_workload(image="nginx"))
    world.step()
    (name,) = world.pods
    world.change(name, status=pod.PodStatus(phase="Failed", reason="PortTaken", message="port 80 is taken"))
    plan = world.step()
    assert plan.actions == ()
    assert plan.requeue_after_s == pytest.approx(10.0)
    assert "port 80 is taken" in condition(plan, "Progressing").message
    world.now += timedelta(seconds=10)
    assert {type(action) for action in world.step().actions} == {CreatePod, DeletePod}


@pytest.mark.parametrize("with_storage", [True, False])
def test_template_change_takes_one_ready_replica_at_a_time(with_storage: bool) -> None:
    def spec(tag: str) -> dict[str, object]:
        extra = {"storage": {"mountPath": "/data"}} if with_storage else {}
        return {"replicas": 3, "image": f"nginx:{tag}", **extra}

    world = World(make_workload(**spec("1")))
    world.converge()
    world.set_spec(**spec("2"))
    for _ in range(30):
        before = sum(1 for p in world.pods.values() if p.status.phase == "Running" and not p.metadata.deletion_timestamp)
        plan = world.step()
        after = sum(1 for p in world.pods.values() if p.status.phase == "Running" and not p.metadata.deletion_timestamp)
        assert before - after <= 1
        assert after >= 2
        world.run_agent()
    assert plan.status.phase == "Running"
    assert {p.spec.containers[0].image for p in world.pods.values()} == {"nginx:2"}


def test_reapplied_workload_takes_over_kept_data() -> None:
    world = World(make_workload())
    world.converge()
    again = World(meta.changed(make_workload(), metadata=meta.changed(make_workload().metadata, uid="w2")))
    again.claims, again.secret = world.claims, world.secret
    assert [type(action) for action in again.step().actions] == [CreatePod]


def test_changed_parameters_of_kept_data_stall() -> None:
    world = World(make_workload())
    world.converge()
    world.set_spec(preset={"name": "postgresql", "version": "15", "parameters": {"user": "other"}})
    assert condition(world.step(), "Stalled").reason == "ParametersImmutable"


def test_foreign_object_of_the_name_stalls() -> None:
    world = World(make_workload())
    foreign = storage.PersistentVolumeClaim(metadata=meta.ObjectMeta(name="db-data-0", namespace="default", uid=meta.Uid("x")))
    world.claims["db-data-0"] = foreign
    plan = world.step()
    assert (plan.actions, condition(plan, "Stalled").reason) == ((), "NameTaken")
    assert plan.requeue_after_s is not None
    plan = make_plan(replace(World(make_workload()).observe(), name_taken=NameTaken("Pod", "db-x-0-0")))
    assert condition(plan, "Stalled").reason == "NameTaken"


def test_what_the_api_server_refuses_stalls_with_its_words() -> None:
    plan = make_plan(replace(World(make_workload()).observe(), rejected="spec.x: is bad"))
    assert (plan.actions, condition(plan, "Stalled").reason) == ((), "Rejected")
    assert "spec.x: is bad" in condition(plan, "Stalled").message
    assert plan.requeue_after_s is not None


def test_missing_password_secret_is_waited_for() -> None:
    ref = {"name": "postgresql", "version": "15", "passwordSecretRef": {"name": "mine"}}
    world = World(make_workload(preset=ref))
    plan = world.step()
    assert (plan.actions, plan.status.phase) == ((), "Validating")
    assert "'mine'" in condition(plan, "Progressing").message
    plan = make_plan(replace(world.observe(), given_password="given"))
    assert base64.b64decode(plan.actions[0].secret.data["password"]) == b"given"  # type: ignore[union-attr]


def test_delete_policy_is_on_claim_and_secret_and_follows_the_spec() -> None:
    world = World(make_workload(storage={"whenDeleted": "Delete"}))
    world.converge()
    assert world.claims["db-data-0"].metadata.annotations[names.ANNOTATION_RECLAIM_POLICY] == "Delete"
    assert world.claims["db-data-0"].metadata.owner_references
    world.set_spec(storage={"whenDeleted": "Retain"})
    assert [type(action) for action in world.step().actions] == [SetRetention, SetRetention]
    assert world.step().actions == ()
    assert not world.claims["db-data-0"].metadata.owner_references


@pytest.mark.parametrize(("restarts", "phase", "reason"), [(0, "Deploying", "Restarting"), (2, "Failed", "CrashLoopBackOff")])
def test_a_container_that_ends_once_is_restarted_and_one_that_keeps_ending_has_failed(restarts: int, phase: str, reason: str) -> None:
    world = World(make_workload())
    world.step()
    (name,) = world.pods
    state = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "name": "main", "restartCount": restarts}
    status = pod.PodStatus.model_validate({"phase": "Running", "containerStatuses": [state]})
    world.change(name, spec=meta.changed(world.pods[name].spec, node_name="n1"), status=status)
    plan = world.step()
    assert (plan.status.phase, condition(plan, "Progressing").reason) == (phase, reason)


@pytest.mark.parametrize(("waiting", "phase"), [("ErrImagePull", "Deploying"), ("ImagePullBackOff", "Failed")])
def test_status_says_what_the_container_waits_for(waiting: str, phase: str) -> None:
    world = World(make_workload())
    world.step()
    (name,) = world.pods
    state = {"state": {"waiting": {"reason": waiting, "message": "no such image"}}, "name": "main"}
    status = pod.PodStatus.model_validate({"phase": "Pending", "containerStatuses": [state]})
    world.change(name, spec=meta.changed(world.pods[name].spec, node_name="n1"), status=status)
    plan = world.step()
    assert plan.status.phase == phase
    assert (condition(plan, "Progressing").reason, "no such image" in condition(plan, "Progressing").message) == (waiting, True)


def test_scheduler_message_reaches_the_workload() -> None:
    world = World(make_workload())
    world.step()
    (name,) = world.pods
    why = meta.Condition(
        type="PodScheduled", status="False", reason="Unschedulable", message="0/1 nodes are available: 1 Insufficient cpu."
    )
    world.change(name, status=pod.PodStatus(phase="Pending", conditions=(why,)))
    assert "1 Insufficient cpu" in condition(world.step(), "Progressing").message


def test_endpoints_come_from_the_agents_annotation_and_survive_nonsense() -> None:
    world = World(make_workload())
    world.converge()
    (name,) = world.pods

    def annotate(text: str) -> tuple[workload.WorkloadEndpoint, ...]:
        metadata = meta.changed(world.pods[name].metadata, annotations={names.ANNOTATION_HOST_PORTS: text})
        world.change(name, metadata=metadata)
        return world.step().status.endpoints

    (endpoint,) = annotate('[{"containerPort": 5432, "protocol": "TCP", "hostIP": "127.0.0.1", "hostPort": 30001}]')
    assert (endpoint.host_port, endpoint.node_name, endpoint.pod_name) == (30001, "n1", name)
    for nonsense in ("{", "7", "[7]", '[{"hostPort": "x"}]'):
        assert annotate(nonsense) == ()


def test_hash_ignores_key_order_defaults_and_status() -> None:
    one = make_workload(image="x", nodeSelector={"a": "1", "b": "2"}, ports=[{"containerPort": 80}])
    two = make_workload(image="x", nodeSelector={"b": "2", "a": "1"}, ports=[{"protocol": "TCP", "containerPort": 80}])
    two = meta.changed(two, status=workload.WorkloadStatus(phase="Running"))
    assert template.template_hash(one) == template.template_hash(two)
    assert template.template_hash(one) != template.template_hash(make_workload(image="y"))
    more = meta.changed(one, spec=meta.changed(one.spec, replicas=5))
    assert template.template_hash(one) == template.template_hash(more)


@given(st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?", fullmatch=True), st.integers(0, 999), st.integers(0, 99999))
def test_pod_names_are_dns_labels(name: str, ordinal: int, attempt: int) -> None:
    made = naming.pod(name, "0123abcd", ordinal, attempt)
    assert len(made) <= 63
    assert "." not in made
    assert len(naming.label_value(name)) <= 63


def test_long_names_stay_apart() -> None:
    assert naming.base("a" * 60) != naming.base("a" * 61)
    assert naming.base("a.b") != naming.base("a-b")


SPECS = st.fixed_dictionaries(
    {"replicas": st.integers(0, 4)},
    optional={"storage": st.sampled_from([{"mountPath": "/d"}, {"mountPath": "/d", "whenDeleted": "Delete"}])},
).flatmap(lambda base: st.sampled_from(["a", "b", "c"]).map(lambda image: {**base, "image": image}))
DISTURBANCES = st.lists(
    st.tuples(st.sampled_from(["fail", "delete", "unready", "vanish", "cut", "spec"]), st.integers(0, 9), SPECS), max_size=8
)


@settings(max_examples=60, deadline=None)
@given(SPECS, DISTURBANCES, st.integers(0, 2**32))
@example(
    {"replicas": 1, "image": "a"},
    [("delete", 0, {"replicas": 1, "image": "a"}), ("spec", 0, {"replicas": 2, "image": "a", "storage": {"mountPath": "/d"}})],
    0,
)  # gets storage while an old Pod is still going and its successor is there: both hold nothing
def test_converges_after_any_disturbance_and_any_crash(
    spec: dict[str, object], disturbances: list[tuple[str, int, dict[str, object]]], seed: int
) -> None:
    world = World(make_workload(**spec))
    rng = random.Random(seed)
    for what, number, other in disturbances:
        plan = make_plan(world.observe())
        assert make_plan(world.observe(rng)) == plan, "the order of observation matters"
        for action in plan.actions[: number if what == "cut" else None]:
            world.apply(action)
        if number % 2:
            world.run_agent()
        world.now += timedelta(seconds=number)
        victims = sorted(world.pods)
        if what == "spec":
            world.set_spec(**other)
        elif victims:
            name = victims[number % len(victims)]
            if what == "fail":
                world.change(name, status=pod.PodStatus(phase="Failed"))
            elif what == "delete":
                world.change(name, metadata=meta.changed(world.pods[name].metadata, deletion_timestamp=world.now))
            elif what == "unready":
                world.set_ready(name, ready=False)
            elif what == "vanish":
                del world.pods[name]
    world.converge()
    wanted = world.owner.spec.replicas
    assert sorted(p.metadata.labels[names.LABEL_ORDINAL] for p in world.pods.values()) == [str(n) for n in range(wanted)]
    assert world.owner.status.phase == ("Running" if wanted else "Stopped")
    plan = make_plan(world.observe())
    assert plan.actions == ()
    assert plan.status == world.owner.status
