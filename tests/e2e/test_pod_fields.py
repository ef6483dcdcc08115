"""What a process in a container sees of the fields of its Pod, on a real engine."""

import os
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
import yaml

from lattice.api import configmap, pod
from lattice.testing.cluster import LocalCluster
from lattice.testing.inside import FOREVER, Inside, shell
from lattice.testing.polling import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(240)]


def lines(text: str) -> dict[str, str]:
    """Return ``name=value`` or ``name: value`` lines as a dictionary."""
    return {line.replace(":\t", "=").partition("=")[0]: line.replace(":\t", "=").partition("=")[2].strip() for line in text.splitlines()}


async def test_a_process_gets_its_environment_names_limits_and_rights(cluster: LocalCluster) -> None:
    inside = Inside(cluster)
    settings = configmap.ConfigMap.model_validate({"metadata": {"name": "settings", "namespace": "default"}, "data": {"MODE": "fast"}})
    secret = configmap.Secret.model_validate({"metadata": {"name": "login", "namespace": "default"}, "stringData": {"password": "p w"}})
    await cluster.client.create(settings)
    await cluster.client.create(secret)
    env = [
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)2 $$(A) $(NO)"},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "requests.memory", "divisor": "1Mi"}}},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}},
        {"name": "ABSENT", "valueFrom": {"configMapKeyRef": {"name": "nowhere", "key": "x", "optional": True}}},
    ]
    main = shell(
        "main",
        f"trap 'echo told > /tmp/told; exit 0' USR1; {FOREVER}",
        args=["$(B)"],
        workingDir="/usr",
        env=env,
        envFrom=[{"configMapRef": {"name": "settings"}, "prefix": "S_"}],
        resources={"limits": {"cpu": "250m", "memory": "48Mi"}, "requests": {"cpu": "125m", "memory": "32Mi"}},
        securityContext={"readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}},
        lifecycle={"stopSignal": "SIGUSR1"},
        volumeMounts=[{"name": "tmp", "mountPath": "/tmp"}],
        tty=True,
        stdin=True,
        stdinOnce=True,
    )
    await inside.create(
        "fields",
        main,
        os={"name": "linux"},
        hostname="web-1",
        subdomain="db",
        hostAliases=[{"ip": "192.0.2.7", "hostnames": ["far", "away.example"]}],
        dnsPolicy="None",
        dnsConfig={"nameservers": ["192.0.2.53"], "searches": ["a.example", "b.example"], "options": [{"name": "ndots", "value": "2"}]},
        volumes=[{"name": "tmp", "emptyDir": {}}],
        securityContext={
            "runAsUser": 1000,
            "runAsGroup": 3000,
            "runAsNonRoot": True,
            "supplementalGroups": [4000],
            "fsGroup": 2000,
            "sysctls": [{"name": "net.ipv4.tcp_keepalive_time", "value": "321"}],
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    )
    await inside.running("fields")

    seen = lines(await inside.sh("fields", "env"))
    assert (seen["A"], seen["B"], seen["S_MODE"], seen["PASSWORD"]) == ("1", "12 $(A) $(NO)", "fast", "p w")
    assert (seen["POD"], seen["APP"], seen["NODE"], seen["CPU"], seen["MEMORY"]) == ("fields", "fields", "test", "250", "32")
    assert "ABSENT" not in seen
    assert seen["IP"] == (await cluster.client.get(pod.Pod, "fields", "default")).status.pod_ip

    assert (await inside.sh("fields", "hostname; id -u; id -g; cat /proc/sys/net/ipv4/tcp_keepalive_time")).split() == (
        ["web-1", "1000", "3000", "321"]
    )
    assert set((await inside.sh("fields", "id -G")).split()) == {"2000", "3000", "4000"}
    hosts = await inside.sh("fields", "cat /etc/hosts")
    assert "192.0.2.7\tfar" in hosts
    assert "192.0.2.7\taway.example" in hosts
    assert "web-1.db" in hosts
    resolver = await inside.sh("fields", "cat /etc/resolv.conf")
    assert "search a.example b.example" in resolver
    assert "ndots:2" in resolver

    status = lines(await inside.sh("fields", "cat /proc/1/status"))
    assert (int(status["CapBnd"], 16), status["NoNewPrivs"], status["Seccomp"]) == (1 << 10, "1", "2")
    assert await inside.sh("fields", "pwd") == "/usr"
    with pytest.raises(AssertionError, match="Read-only file system"):
        await inside.sh("fields", "touch /usr/x")
    box = await cluster.engine.inspect(await inside.container_id("fields"))
    host = box["HostConfig"]
    assert (host["CpuQuota"], host["CpuShares"], host["Memory"], host["MemorySwap"]) == (25_000, 128, 48 * 2**20, 48 * 2**20)
    assert 2 < host["OomScoreAdj"] < 1000
    assert (box["Config"]["StopSignal"], box["Config"]["Tty"], box["Config"]["OpenStdin"], box["Config"]["StdinOnce"]) == (
        "SIGUSR1", True, True, True,
    )  # fmt: skip
    assert box["Config"]["Cmd"] == ["12 $(A) $(NO)"]
    assert not [mount for mount in box["Mounts"] if "docker.sock" in mount["Source"]]


async def is_privileged(inside: Inside) -> bool:
    """Return whether the Pod ``privileged`` got it. An engine that lacks capabilities itself (in a container) cannot give all of them."""
    found = await inside.cluster.client.get(pod.Pod, "privileged", "default")
    (status,) = found.status.container_statuses
    if status.last_state.terminated is not None:
        assert "unable to apply caps" in (status.last_state.terminated.message or "")
        return True
    return bool((await inside.cluster.engine.inspect(await inside.container_id("privileged")))["HostConfig"]["Privileged"])


async def test_what_weakens_isolation_needs_the_owner_s_word(make_cluster: Callable[..., LocalCluster], tmp_path: Path) -> None:
    cluster = await make_cluster(start=False)
    await cluster.start_server()
    cluster.client = cluster.client_for("admin-token")
    data, profiles = tmp_path / "shared", tmp_path / "profiles"
    data.mkdir()
    (data / "inner").mkdir()
    (data / "inner" / "file").write_text("from the node")
    (data / "link").symlink_to("/etc")
    profiles.mkdir()
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}
    (profiles / "no-mkdir.json").write_bytes(orjson.dumps(profile))
    inside = Inside(cluster)
    await cluster.start_agent()

    def mounting(path: str, *, read_only: bool = True, **source: str) -> dict[str, object]:
        return {
            "containers": [shell("main", volumeMounts=[{"name": "v", "mountPath": "/node", "readOnly": read_only}])],
            "volumes": [{"name": "v", "hostPath": {"path": path, **source}}],
        }

    async def make(name: str, security: dict[str, object] | None = None, **spec: object) -> None:
        containers = spec.pop("containers", [shell("main", securityContext=security or {})])
        await inside.create(name, *containers, **spec)  # type: ignore[misc]

    await make("privileged", {"privileged": True})
    await make("mighty", {"capabilities": {"add": ["NET_ADMIN"]}})
    await make("unconfined", {"seccompProfile": {"type": "Unconfined"}})
    await make("profile", {"seccompProfile": {"type": "Localhost", "localhostProfile": "no-mkdir.json"}})
    await make("host", **mounting(str(data / "inner")))
    await make("writer", **mounting(str(data / "new" / "deep"), read_only=False, type="DirectoryOrCreate"))
    await make("linked", **mounting(str(data / "link")))
    await make("elsewhere", **mounting("/etc"))
    await make("socket", **mounting(str(data / "inner"), type="Socket"))
    await make("root", {"runAsNonRoot": True})

    assert "--allow-privileged" in await inside.waiting("privileged", "PrivilegedNotAllowed")
    assert "NET_ADMIN" in await inside.waiting("mighty", "CapabilityNotAllowed")
    assert "--allow-unconfined" in await inside.waiting("unconfined", "UnconfinedNotAllowed")
    assert "--seccomp-dir" in await inside.waiting("profile", "Unsupported")
    for name in ("host", "writer", "linked", "elsewhere", "socket"):
        assert "does not allow" in await inside.waiting(name, "HostPathNotAllowed")
    assert "image will run as root" in await inside.waiting("root", "CreateContainerConfigError")

    await cluster.agents["test"].stop()
    settings = {
        "allowPrivileged": True,
        "seccompDir": str(profiles),
        "allowHostPaths": [f"{data}:rw"],
    }
    (cluster.directory / "agent-test" / "node.yaml").write_text(yaml.safe_dump(settings))
    await cluster.start_agent()

    for name in ("mighty", "unconfined", "profile", "host", "writer"):
        await inside.running(name)
    assert await inside.sh("host", "cat /node/file") == "from the node"
    with pytest.raises(AssertionError, match="Read-only file system"):
        await inside.sh("host", "touch /node/x")
    await inside.sh("writer", "echo hello > /node/said")
    assert (data / "new" / "deep" / "said").read_text() == "hello\n"
    assert "is a link" in await inside.waiting("linked", "CreateContainerConfigError")
    assert "does not allow" in await inside.waiting("elsewhere", "HostPathNotAllowed")
    assert "is not a socket" in await inside.waiting("socket", "CreateContainerConfigError")
    with pytest.raises(AssertionError, match="not permitted"):
        await inside.sh("profile", "mkdir /tmp/x")
    assert lines(await inside.sh("unconfined", "cat /proc/self/status"))["Seccomp"] == "0"
    assert int(lines(await inside.sh("mighty", "cat /proc/1/status"))["CapBnd"], 16) & 1 << 12
    await eventually(lambda: is_privileged(inside), 60, "the privileged container to be what it asks for")

    uids = {(await cluster.client.get(pod.Pod, name, "default")).uid for name in ("host", "writer")}
    for name in ("host", "writer"):
        await cluster.client.delete(pod.Pod, name, "default")

    def mounted() -> bool:
        held = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if any(uid in line for uid in uids)]
        return not held

    if os.geteuid() == 0:
        await eventually(mounted, 30, "the mounts of removed Pods to be let go")
    assert (data / "new" / "deep" / "said").exists()
