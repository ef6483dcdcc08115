"""Ports, pull policy, probes, environment, files: the small pure parts."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from lattice.api import configmap, meta, pod
from nodeagent.images import plan as images
from nodeagent.ports import plan as ports
from nodeagent.probes import plan as probes
from nodeagent.runtime import base, docker_create, docker_errors, docker_values
from nodeagent.volumes import files
from nodeagent.workloads import spec, status

RANGE = ports.PortRange(first=30000, last=30002)
NODE = spec.Node(name="n1", uid="node-uid", cluster_id="c", host_ip="127.0.0.1", run_dir="/run/x")


def make_pod(container: dict[str, object] | None = None, **fields: object) -> pod.Pod:
    main = {"name": "main", "image": "busybox:1", **(container or {})}
    return pod.Pod.model_validate({"metadata": {"name": "p", "namespace": "ns", "uid": "u1"}, "spec": {"containers": [main], **fields}})


def allocate(wanted: list[dict[str, object]], busy: set[int] = frozenset(), **fields: object) -> tuple[int, ...]:  # type: ignore[assignment]
    options: dict[str, object] = {"sticky": (), "reserved": (), "ports": RANGE, "is_free": lambda _ip, number: number not in busy, **fields}
    chosen = ports.allocate(tuple(pod.ContainerPort.model_validate(port) for port in wanted), **options)  # type: ignore[arg-type]
    return tuple(port.host_port for port in chosen)


def test_automatic_ports_are_the_lowest_free_ones() -> None:
    assert allocate([{"containerPort": 80}, {"containerPort": 81}], busy={30000}) == (30001, 30002)


def test_a_port_stays_where_it_was_unless_it_is_taken() -> None:
    before = (base.PortBinding(container_port=80, host_port=30002),)
    assert allocate([{"containerPort": 80}], sticky=before) == (30002,)
    assert allocate([{"containerPort": 80}], sticky=before, busy={30002}) == (30000,)


@pytest.mark.parametrize(("busy", "reserved"), [({8080}, ()), (set(), (8080,))])
def test_an_explicit_port_that_is_taken_is_refused(busy: set[int], reserved: tuple[int, ...]) -> None:
    with pytest.raises(ports.NoPortError):
        allocate([{"containerPort": 80, "hostPort": 8080}], busy=busy, reserved=reserved)


def test_an_empty_range_is_said() -> None:
    with pytest.raises(ports.NoPortError):
        allocate([{"containerPort": 80}], reserved=(30000, 30001, 30002))


@pytest.mark.parametrize("text", ["", "1", "5-4", "0-3", "1-70000", "a-b"])
def test_a_range_must_be_one(text: str) -> None:
    with pytest.raises(ValueError, match="not a port range"):
        ports.parse_range(text)


@pytest.mark.parametrize(
    ("image", "policy"),
    [("a", "Always"), ("a:latest", "Always"), ("h:5000/a", "Always"), ("a:1", "IfNotPresent"), ("a@sha256:1", "IfNotPresent")],
)
def test_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    assert images.policy_of(pod.Container(name="a", image=image)) == policy


def test_a_probe_changes_its_mind_at_the_thresholds() -> None:
    probe, state = pod.Probe(success_threshold=2, failure_threshold=2), probes.ProbeState()
    seen = []
    for success in (True, True, False, False, True, True):
        state = probes.record(state, probe, success=success)
        seen.append(state.healthy)
    assert seen == [None, True, True, False, False, True]


def test_eager_checks_do_not_use_up_the_threshold() -> None:
    probe = pod.Probe(period_seconds=10)
    assert probes.next_check_s(probe, probes.ProbeState(), elapsed_s=0, eager=True) == probes.EAGER_PERIOD_S
    assert probes.next_check_s(probe, probes.ProbeState(healthy=True), elapsed_s=0, eager=True) == 10
    assert not probes.counts_failure(probe, elapsed_s=1.0, last_failure_s=0.5)
    assert probes.counts_failure(probe, elapsed_s=10.5, last_failure_s=0.5)


def test_environment_is_expanded_in_order() -> None:
    secret = configmap.Secret(data={"k": base64.b64encode(b"v").decode()})
    wanted = make_pod(
        {
            "env": [
                {"name": "A", "value": "1"},
                {"name": "B", "value": "$(A)-$$(A)-$(NO)"},
                {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ],
            "envFrom": [{"secretRef": {"name": "s"}, "prefix": "P_"}],
            "args": ["--a=$(B)"],
        }
    )
    config = spec.make_blueprint(wanted, wanted.spec.containers[0], spec.References(secrets={("ns", "s"): secret}), NODE).config
    assert dict(config.env) == {"P_k": "v", "A": "1", "B": "1-$(A)-$(NO)", "C": "p"}
    assert config.command == ("--a=1-$(A)-$(NO)",)
    assert "'v'" not in repr(config)


def test_what_is_missing_has_a_reason() -> None:
    missing = make_pod({"envFrom": [{"secretRef": {"name": "s"}}]})
    with pytest.raises(spec.ConfigError) as caught:
        spec.make_blueprint(missing, missing.spec.containers[0], spec.References(), NODE)
    assert caught.value.reason == "CreateContainerConfigError"


def test_the_hash_follows_the_image_and_not_the_metadata() -> None:
    wanted = make_pod()
    relabelled = meta.changed(wanted, metadata=meta.ObjectMeta(name="p", namespace="ns", uid=meta.Uid("u1"), labels={"a": "b"}))
    assert spec.spec_hash(wanted, wanted.spec.containers[0]) == spec.spec_hash(relabelled, relabelled.spec.containers[0])
    other = make_pod({"image": "busybox:2"})
    assert spec.spec_hash(wanted, wanted.spec.containers[0]) != spec.spec_hash(other, other.spec.containers[0])


def test_host_ports_survive_their_text_and_garbage_is_nothing() -> None:
    bindings = (base.PortBinding(container_port=80, host_port=30000),)
    assert spec.parse_host_ports(spec.host_ports_text(bindings)) == bindings
    for text in ("", "{}", "[1]", '[{"containerPort": "x"}]'):
        assert spec.parse_host_ports(text) == ()


def test_files_are_written_once_and_kept_private(tmp_path: Path) -> None:
    directory = files.RunDirectory(tmp_path / "run")
    volumes = (files.FileVolume(name="v", files=(files.File(path="sub/k", content=b"x", mode=0o400),)),)
    assert directory.write("u", volumes)
    assert not directory.write("u", volumes)
    path = tmp_path / "run" / "u" / "v" / "sub" / "k"
    assert path.read_bytes() == b"x"
    assert path.stat().st_mode & 0o777 == 0o400
    assert (tmp_path / "run" / "u").stat().st_mode & 0o777 == 0o700
    assert directory.write("u", (files.FileVolume(name="v"),))
    assert not path.exists()
    directory.remove("u")
    assert directory.pods() == []


@pytest.mark.parametrize("path", ["", "/a", "../a", "a/../../b"])
def test_a_path_stays_inside_its_volume(path: str) -> None:
    assert not files.is_safe_path(path)


@pytest.mark.parametrize(
    ("code", "text", "pulling", "expected"),
    [
        (900, "Cannot connect", False, base.RuntimeUnavailableError),
        (500, "Bind for 127.0.0.1:8080 failed: port is already allocated", False, base.PortTakenError),
        (500, "listen tcp4 127.0.0.1:8080: bind: address already in use", False, base.PortTakenError),
        (404, "No such container: x", False, base.ContainerGoneError),
        (404, "No such image: x", False, base.ImageNotFoundError),
        (409, 'The container name "/x" is already in use by container "y"', False, base.NameTakenError),
        (404, "manifest for x not found: manifest unknown", True, base.ImageNotFoundError),
        (500, "unauthorized: authentication required", True, base.ImageNotFoundError),
        (500, "dial tcp: connect: connection refused", True, base.RegistryUnavailableError),
        (500, "received unexpected HTTP status: 500 Internal Server Error", True, base.ImagePullError),
        (400, "invalid mount config", False, base.InvalidContainerError),
        (500, "something else", False, base.RuntimeFailedError),
    ],
)
def test_docker_s_answers_have_a_meaning(code: int, text: str, pulling: bool, expected: type[Exception]) -> None:
    error = docker_errors.classify(code, text, doing="do it", pulling=pulling)
    assert type(error) is expected
    if isinstance(error, base.PortTakenError):
        assert error.host_port == 8080


def test_a_container_gets_the_safe_defaults() -> None:
    host = docker_create.host_config(base.ContainerConfig(name="a", image="i", labels={}, memory_bytes=100, cpu_millis=250))
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert (host["Memory"], host["MemorySwap"]) == (100, 100)
    assert (host["CpuQuota"], host["CpuPeriod"]) == (25_000, 100_000)
    assert host["RestartPolicy"] == {"Name": "no"}
    assert host["PidsLimit"] > 0


@pytest.mark.parametrize(
    ("image", "expected"), [("a", "a:latest"), ("a:1", "a:1"), ("h:5/a", "h:5/a:latest"), ("a@sha256:x", "a@sha256:x")]
)
def test_a_pull_names_one_image(image: str, expected: str) -> None:
    assert docker_values.with_tag(image) == expected


@pytest.mark.parametrize(
    ("limits", "requests", "expected"),
    [({}, {}, "BestEffort"), ({"cpu": "1", "memory": "1Gi"}, {}, "Guaranteed"), ({"memory": "1Gi"}, {"cpu": "1"}, "Burstable")],
)
def test_quality_of_service(limits: dict[str, str], requests: dict[str, str], expected: str) -> None:
    resources = pod.ResourceRequirements(limits=limits, requests=requests)
    assert status.qos_class(pod.PodSpec(containers=(pod.Container(name="a", resources=resources),))) == expected
