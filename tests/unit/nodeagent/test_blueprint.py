"""From a Pod to the configuration of its containers: rights, limits, names, mounts, text of fields."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lattice.api import configmap, pod, storage
from nodeagent.blueprint import fields, naming, security
from nodeagent.blueprint.mounts import with_memory
from nodeagent.blueprint.plan import make_blueprint
from nodeagent.blueprint.values import Address, Blueprint, ConfigError, Node, References, Rules
from nodeagent.runtime import base, docker_create

NODE = Node(name="n1", uid="nu", cluster_id="c", host_ip="192.0.2.1", run_dir="/run/x", allocatable={"cpu": "4", "memory": "8Gi"})


def make_pod(container: dict[str, Any] | None = None, **spec: Any) -> pod.Pod:
    main = {"name": "main", "image": "busybox:1", **(container or {})}
    metadata = {"name": "p", "namespace": "ns", "uid": "u1", "labels": {"b": 'say "x"\n', "a": "1"}}
    return pod.Pod.model_validate({"metadata": metadata, "spec": {"containers": [main], **spec}})


def make(wanted: pod.Pod, references: References | None = None, *, rules: Rules | None = None, address: str = "") -> Blueprint:
    node = replace(NODE, rules=rules or Rules())
    return make_blueprint(wanted, wanted.spec.containers[0], references or References(), node, Address(ip=address))


def refusal(wanted: pod.Pod, rules: Rules | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        make(wanted, rules=rules)
    return caught.value.reason


def test_rights_are_few_unless_they_are_asked_for_and_allowed() -> None:
    plain = make(make_pod()).config
    assert (plain.capabilities, plain.no_new_privileges, plain.privileged, plain.seccomp) == (base.CAPABILITIES, True, False, None)
    capabilities = {"add": ["CAP_NET_ADMIN"], "drop": ["all"]}
    wanted = make_pod({"securityContext": {"capabilities": capabilities}})
    assert refusal(wanted) == "CapabilityNotAllowed"
    assert make(wanted, rules=Rules(capabilities=frozenset({"NET_ADMIN"}))).config.capabilities == ("NET_ADMIN",)
    dropped = make(make_pod({"securityContext": {"capabilities": {"drop": ["KILL"], "add": ["CHOWN"]}}})).config.capabilities
    assert set(dropped) == set(base.CAPABILITIES) - {"KILL"}
    assert refusal(make_pod({"securityContext": {"privileged": True}})) == "PrivilegedNotAllowed"
    mighty = make(make_pod({"securityContext": {"privileged": True}}), rules=Rules(privileged=True)).config
    assert (mighty.privileged, mighty.no_new_privileges, mighty.seccomp) == (True, False, "unconfined")
    assert "CapDrop" not in docker_create.host_config(mighty)


def test_a_container_s_own_rights_win_over_the_pod_s() -> None:
    whole = {"runAsUser": 1, "runAsGroup": 2, "runAsNonRoot": True, "fsGroup": 5, "supplementalGroups": [5, 6]}
    config = make(make_pod({"securityContext": {"runAsUser": 7}}, securityContext=whole)).config
    assert (config.user, config.groups) == ("7:2", ("5", "6"))
    assert refusal(make_pod({"securityContext": {"runAsUser": 0}}, securityContext=whole)) == "CreateContainerConfigError"
    later = make(make_pod(securityContext={"runAsNonRoot": True, "runAsGroup": 9}))
    assert (later.non_root, later.group, later.config.user) == (True, 9, None)


@pytest.mark.parametrize(("user", "root"), [("", True), ("root", True), ("0:5", True), ("12", False), ("12:0", False), ("web", None)])
def test_an_image_s_user_is_root_or_not_or_unknown(user: str, root: bool | None) -> None:
    assert security.runs_as_root(user) is root


def test_seccomp_is_docker_s_unless_the_owner_allows_another() -> None:
    unconfined = make_pod(securityContext={"seccompProfile": {"type": "Unconfined"}})
    assert refusal(unconfined) == "UnconfinedNotAllowed"
    assert make(unconfined, rules=Rules(unconfined=True)).config.seccomp == "unconfined"
    local = {"type": "Localhost", "localhostProfile": "a/b.json"}
    assert make(make_pod({"securityContext": {"seccompProfile": local}}), rules=Rules(seccomp_dir="/p")).seccomp_file == "/p/a/b.json"
    outside = make_pod(securityContext={"seccompProfile": {"type": "Localhost", "localhostProfile": "../x"}})
    assert refusal(outside, Rules(seccomp_dir="/p")) == "CreateContainerConfigError"


def test_limits_are_hard_and_requests_weigh() -> None:
    resources = {"limits": {"cpu": "250m", "memory": "64Mi", "nvidia.com/gpu": "2"}, "requests": {"cpu": "125m", "memory": "32Mi"}}
    config = make(make_pod({"resources": resources})).config
    assert (config.cpu_millis, config.cpu_shares, config.memory_bytes, config.oom_score_adj) == (250, 128, 64 * 2**20, 997)
    body = docker_create.host_config(config)
    assert body["DeviceRequests"] == [{"Driver": "nvidia", "Capabilities": [["gpu"]], "Count": 2}]
    assert make(make_pod()).config.oom_score_adj == 1000
    assert make(make_pod({"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}})).config.oom_score_adj is None


def test_fields_and_resources_as_text() -> None:
    assert fields.map_text({"b": 'say "x"\n', "a": "é\x01"}) == 'a="é\\x01"\nb="say \\"x\\"\\n"'
    wanted = make_pod({"resources": {"limits": {"memory": "1500Ki"}}})
    text = {
        (resource, divisor): fields.resource_text(
            wanted, wanted.spec.containers[0], pod.ResourceFieldSelector(resource=resource, divisor=divisor), NODE
        )
        for resource, divisor in (("limits.memory", "1Mi"), ("limits.cpu", "1m"), ("requests.memory", "1Ki"), ("requests.cpu", "0"))
    }
    assert list(text.values()) == ["2", "4000", "1500", "0"]


def test_the_address_is_filled_in_when_it_is_known() -> None:
    env = [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    wanted = make_pod({"env": env, "args": ["--at=$(IP):80"]})
    config = make(wanted).config
    with pytest.raises(ConfigError, match="no address"):
        naming.with_address(config)
    known = naming.with_address(replace(config, ip="10.1.1.1"))
    assert (dict(known.env)["IP"], known.command) == ("10.1.1.1", ("--at=10.1.1.1:80",))
    assert dict(make(wanted, address="10.2.2.2").config.env)["IP"] == "10.2.2.2"


def test_host_paths_are_those_that_the_owner_names() -> None:
    def mounting(path: str, *, read_only: bool) -> pod.Pod:
        mount = {"name": "v", "mountPath": "/v", "readOnly": read_only}
        return make_pod({"volumeMounts": [mount]}, volumes=[{"name": "v", "hostPath": {"path": path}}])

    rules = Rules(host_paths=(("/srv", False), ("/srv/media", True)))
    for path in ("/etc", "/srvx", "/srv/../etc", "/", "srv"):
        assert refusal(mounting(path, read_only=True), rules) == "HostPathNotAllowed"
    assert refusal(mounting("/srv/a", read_only=False), rules) == "HostPathNotAllowed"
    (held,) = make(mounting("/srv/a/b", read_only=True), rules=rules).guarded
    assert (held.prefix, held.path, held.read_only) == ("/srv", "a/b", True)
    (held,) = make(mounting("/srv/media/", read_only=False), rules=rules).guarded
    assert (held.prefix, held.path, held.read_only) == ("/srv/media", "", False)


def test_directories_of_a_pod_and_of_claims() -> None:
    claim = storage.PersistentVolumeClaim.model_validate({"metadata": {"name": "d", "namespace": "ns"}, "spec": {"volumeName": "pv"}})
    volume = {"metadata": {"name": "pv"}, "spec": {"csi": {"driver": "x", "volumeHandle": "handle"}}}
    references = References(claims={("ns", "d"): claim}, volumes={"pv": storage.PersistentVolume.model_validate(volume)})
    volumes = [
        {"name": "d", "persistentVolumeClaim": {"claimName": "d"}},
        {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]
    mounts = [
        {"name": "d", "mountPath": "/d"},
        {"name": "d", "mountPath": "/s", "subPathExpr": "x/$(A)"},
        {"name": "m", "mountPath": "/m"},
    ]
    env = [{"name": "A", "value": "1"}]
    wanted = make_pod({"volumeMounts": mounts, "env": env}, volumes=volumes, securityContext={"fsGroup": 7})
    made = make(wanted, references)
    assert made.volumes == ("handle",)
    assert [(held.volume, held.gid) for held in made.owned] == [("handle", 7)]
    assert [(held.volume, held.path, held.create) for held in made.guarded] == [("handle", "x/1", True)]
    (memory,) = made.scratch
    assert memory.options() == {"type": "tmpfs", "device": "tmpfs", "o": "mode=2777,gid=7,size=1048576"}
    kept = with_memory(Blueprint(config=made.config), wanted)
    assert [(mount.source, mount.target) for mount in kept.config.mounts] == [(memory.volume, "/memory/m")]
    for path in ("../x", "/x", "a/../../b"):
        bad = make_pod({"volumeMounts": [{"name": "m", "mountPath": "/m", "subPath": path}]}, volumes=volumes[1:])
        assert refusal(bad) == "CreateContainerConfigError"


def test_projected_files_later_ones_win_and_a_group_may_read() -> None:
    settings = configmap.ConfigMap.model_validate({"metadata": {"name": "s"}, "data": {"k": "1", "l": "2"}})
    sources = [
        {"configMap": {"name": "s"}},
        {"downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"secret": {"name": "none", "optional": True}},
    ]
    volumes = [{"name": "v", "projected": {"sources": sources, "defaultMode": 0o400}}]
    wanted = make_pod({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}, volumes=volumes, securityContext={"fsGroup": 7})
    (made,) = make(wanted, References(config_maps={("ns", "s"): settings})).files
    assert [(file.path, file.content, file.mode) for file in made.files] == [("k", b"1", 0o440), ("l", b"p", 0o440)]
    assert made.gid == 7


def test_names_resolvers_and_parameters() -> None:
    wanted = make_pod(
        hostname="h",
        subdomain="s",
        hostAliases=[{"ip": "192.0.2.9", "hostnames": ["a", "b"]}],
        dnsConfig={"nameservers": ["192.0.2.5"], "searches": ["x"], "options": [{"name": "ndots", "value": "3"}, {"name": "rotate"}]},
        securityContext={"sysctls": [{"name": "net/ipv4/tcp_syncookies", "value": "1"}]},
    )
    config = make(wanted).config
    assert (config.hostname, config.domainname, config.extra_hosts) == ("h", "s", (("a", "192.0.2.9"), ("b", "192.0.2.9")))
    assert (config.dns_servers, config.dns_searches, config.dns_options) == (("192.0.2.5",), ("x",), ("ndots:3", "rotate"))
    assert config.sysctls == {"net.ipv4.tcp_syncookies": "1"}
    assert refusal(make_pod(securityContext={"sysctls": [{"name": "kernel.panic", "value": "1"}]})) == "SysctlForbidden"


def test_the_hash_does_not_see_defaults_that_a_server_fills_in() -> None:
    env = [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    wanted = make_pod({"env": env})
    env[0]["valueFrom"]["fieldRef"]["apiVersion"] = "v1"  # type: ignore[index]
    filled = make_pod({"env": env, "terminationMessagePath": "/dev/termination-log", "imagePullPolicy": "IfNotPresent"})
    assert naming.spec_hash(wanted, wanted.spec.containers[0]) == naming.spec_hash(filled, filled.spec.containers[0])


def test_the_hash_of_the_first_release_stays_so_that_an_upgrade_restarts_nothing() -> None:
    container = {
        "name": "main",
        "image": "nginx:1",
        "command": ["a"],
        "args": ["b"],
        "workingDir": "/w",
        "env": [
            {"name": "N", "value": "1"},
            {"name": "F", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "c"}}],
        "volumeMounts": [{"name": "d", "mountPath": "/d", "readOnly": True}],
        "resources": {"limits": {"cpu": "1", "memory": "64Mi"}},
        "securityContext": {"runAsUser": 1, "readOnlyRootFilesystem": True},
    }
    wanted = make_pod(container)
    assert naming.spec_hash(wanted, wanted.spec.containers[0]) == "75183f81e1ba6ecf"  # computed by the agent of that release
