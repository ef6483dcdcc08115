"""Rows of the table of a Pod's fields (``lattice/api/podfields``) without a story of their own: many fields on one Pod, on real Docker."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lattice.api import configmap, node, pod, storage
from lattice.testing.cluster import LocalCluster
from lattice.testing.kubectl import Kubectl, table
from lattice.testing.polling import eventually
from lattice.testing.processes import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(240)]
FOREVER = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"]
BUSY = {"image": "busybox:latest", "imagePullPolicy": "IfNotPresent"}


def make(name: str, *containers: dict[str, Any], labels: dict[str, str] | None = None, **spec: Any) -> pod.Pod:
    metadata = {"name": name, "namespace": "default", "labels": labels or {}}
    return pod.Pod.model_validate(
        {"metadata": metadata, "spec": {"containers": list(containers), "terminationGracePeriodSeconds": 5, **spec}}
    )


async def read(cluster: LocalCluster, name: str) -> pod.Pod:
    return await cluster.client.get(pod.Pod, name, "default")


async def wait_ready(cluster: LocalCluster, name: str, deadline_s: float = 60) -> pod.Pod:
    async def reached() -> pod.Pod:
        found = await read(cluster, name)
        assert any(c.type == "Ready" and c.status == "True" for c in found.status.conditions), found.status.to_dict()
        return found

    found = await eventually(reached, deadline_s, f"{name} to be ready")
    assert found is not None
    return found


async def wait_message(cluster: LocalCluster, name: str) -> dict[str, str]:
    """Return the ``key=value`` lines that a Pod of one container has left as its message."""

    async def reached() -> str:
        found = await read(cluster, name)
        assert found.status.phase == "Succeeded", found.status.to_dict()
        ended = found.status.container_statuses[0].state.terminated
        assert ended is not None
        return ended.message or "-"

    message = await eventually(reached, 60, f"{name} to succeed")
    assert message is not None
    return {key: value for line in message.splitlines() for key, _, value in [line.partition("=")]}


LOOK = """
{ echo a=$(cat /c/sub/a); echo amode=$(stat -L -c %a /c/sub/a); echo cfiles=$(ls /c); echo one=$(cat /one)
  echo secret=$(cat /s/k); echo smode=$(stat -L -c %a /s/k); echo optional=$(ls /o | wc -l)
  echo name=$(cat /d/name); echo note=$(cat /d/note); echo limit=$(cat /d/limit); echo dmode=$(stat -L -c %a /d/name)
  echo tmpfs=$(grep ' /m ' /proc/mounts | cut -d' ' -f3); echo size=$(df -k /m | tail -n 1 | awk '{print $2}')
  touch /e/x; echo below=$(ls /all/files)
  touch /data/x; echo gid=$(stat -c %g /data/x)
  touch /c/y 2>/dev/null || echo readonly=yes
  touch /pro/y 2>/dev/null || echo pro=no
  echo account=$ACCOUNT; echo env=$S_k; echo ip=$IP; echo missing=$MISSING
} > /dev/termination-log
"""


async def test_volumes_show_their_files_and_keep_their_rules(cluster: LocalCluster) -> None:
    create = cluster.client.create
    await create(configmap.ConfigMap.model_validate({"metadata": {"name": "conf", "namespace": "default"}, "data": {"a": "1", "b": "2"}}))
    await create(configmap.Secret.model_validate({"metadata": {"name": "key", "namespace": "default"}, "stringData": {"k": "hidden"}}))
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    await create(storage.PersistentVolumeClaim.model_validate({"metadata": {"name": "data", "namespace": "default"}, "spec": claim}))
    volumes = [
        {"name": "c", "configMap": {"name": "conf", "items": [{"key": "a", "path": "sub/a", "mode": 0o440}]}},
        {"name": "s", "secret": {"secretName": "key", "defaultMode": 0o444}},
        {"name": "o", "secret": {"secretName": "nowhere", "optional": True}},
        {"name": "oc", "configMap": {"name": "nowhere", "optional": True, "defaultMode": 0o600}},
        {
            "name": "d",
            "downwardAPI": {
                "defaultMode": 0o444,
                "items": [
                    {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
                    {"path": "note", "mode": 0o400, "fieldRef": {"fieldPath": "metadata.labels['note']"}},
                    {"path": "limit", "resourceFieldRef": {"containerName": "main", "resource": "limits.memory", "divisor": "1Mi"}},
                ],
            },
        },
        {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "2Mi"}},
        {"name": "e", "emptyDir": {}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "pro", "persistentVolumeClaim": {"claimName": "data", "readOnly": True}},
    ]
    mounts = [
        {"name": "c", "mountPath": "/c", "readOnly": True},
        {"name": "c", "mountPath": "/one", "subPath": "sub/a"},
        {"name": "s", "mountPath": "/s"},
        {"name": "o", "mountPath": "/o"},
        {"name": "oc", "mountPath": "/oc"},
        {"name": "d", "mountPath": "/d"},
        {"name": "m", "mountPath": "/m"},
        {"name": "e", "mountPath": "/all"},
        {"name": "e", "mountPath": "/e", "subPathExpr": "$(POD)"},
        {"name": "data", "mountPath": "/data"},
        {"name": "pro", "mountPath": "/pro"},
    ]
    env = [
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "ACCOUNT", "valueFrom": {"fieldRef": {"fieldPath": "spec.serviceAccountName"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
    ]
    sources = [{"prefix": "S_", "secretRef": {"name": "key"}}, {"secretRef": {"name": "nowhere", "optional": True}}]
    main = {
        "name": "main", **BUSY, "command": ["sh", "-c", LOOK], "volumeMounts": mounts, "env": env, "envFrom": sources,
        "resources": {"limits": {"memory": "32Mi"}},
    }  # fmt: skip
    security = {"fsGroup": 2345, "fsGroupChangePolicy": "OnRootMismatch"}
    await create(
        make(
            "files",
            main,
            labels={"note": "hello"},
            volumes=volumes,
            restartPolicy="Never",
            securityContext=security,
            serviceAccountName="me",
        )
    )
    seen = await wait_message(cluster, "files")
    assert (seen["a"], seen["one"], seen["cfiles"], seen["amode"]) == ("1", "1", "sub", "440")
    assert (seen["secret"], seen["smode"], seen["optional"]) == ("hidden", "444", "0")
    assert (seen["name"], seen["note"], seen["limit"], seen["dmode"]) == ("files", "hello", "32", "444")
    assert (seen["tmpfs"], seen["size"]) == ("tmpfs", "2048")
    assert (seen["below"], seen["gid"], seen["readonly"], seen["pro"]) == ("x", "2345", "yes", "no")
    assert (seen["account"], seen["env"], seen["missing"]) == ("me", "hidden", "")
    assert seen["ip"] == (await read(cluster, "files")).status.host_ip


CONFIG = """
user root; error_log /dev/null; pid /tmp/nginx.pid; events {}
http {
  log_format probe '$request_uri $http_x_probe $scheme'; access_log /shared/log probe;
  server { listen 8080; location = /live { if (-f /shared/cured) { return 200; } return 500; } location / { return 200; } }
  server { listen 8443 ssl; ssl_certificate /tls/cert; ssl_certificate_key /tls/key; location / { return 200; } }
}
"""
SERVE = """
test -e /shared/first && touch /shared/cured; touch /shared/first
nginx -c /conf/nginx.conf -g 'daemon off;' &
trap 'kill $!; tail -n 12 /shared/log > /dev/termination-log; exit 0' QUIT TERM
wait
"""


def certificate() -> tuple[str, str]:
    """Return a certificate that nobody trusts, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "probe")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return made.public_bytes(encoding).decode(), key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain).decode()


async def test_probes_and_hooks_ask_as_they_are_told(cluster: LocalCluster) -> None:
    cert, key = certificate()
    await cluster.client.create(
        configmap.Secret.model_validate({"metadata": {"name": "tls", "namespace": "default"}, "stringData": {"cert": cert, "key": key}})
    )
    port = free_port()
    header = {"httpHeaders": [{"name": "X-Probe", "value": "asked"}]}
    quick = {"initialDelaySeconds": 1, "periodSeconds": 1, "timeoutSeconds": 5, "successThreshold": 1, "failureThreshold": 2}
    server = {
        "name": "server", "image": "nginx:alpine", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", SERVE],
        "ports": [{"name": "plain", "containerPort": 8080, "hostPort": port}, {"name": "tls", "containerPort": 8443}],
        "volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in ("shared", "tls", "conf")],
        "startupProbe": {"tcpSocket": {"host": "127.0.0.1", "port": port}, "periodSeconds": 1, "failureThreshold": 60},
        "livenessProbe": {"httpGet": {"path": "/live", "port": "plain", **header}, **quick},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "tls", "scheme": "HTTPS"}, "periodSeconds": 1},
        "lifecycle": {
            "postStart": {"sleep": {"seconds": 2}},
            "preStop": {"httpGet": {"path": "/stopping", "port": 8080, **header}},
        },
    }  # fmt: skip
    after = {
        "name": "after",
        **BUSY,
        "command": FOREVER,
        "readinessProbe": {"httpGet": {"host": "127.0.0.1", "port": port}, "periodSeconds": 1},
    }
    volumes = [{"name": "shared", "emptyDir": {}}, {"name": "tls", "secret": {"secretName": "tls"}}]
    volumes.append({"name": "conf", "configMap": {"name": "conf"}})
    conf = {"metadata": {"name": "conf", "namespace": "default"}, "data": {"nginx.conf": CONFIG}}
    await cluster.client.create(configmap.ConfigMap.model_validate(conf))
    await cluster.client.create(make("probed", server, after, volumes=volumes))

    async def cured() -> pod.Pod:
        found = await read(cluster, "probed")
        assert [one.restart_count for one in found.status.container_statuses] == [1, 0], [
            one.state.to_dict() for one in found.status.container_statuses
        ]
        assert all(one.ready for one in found.status.container_statuses), found.status.to_dict()
        return found

    found = await eventually(cured, 90, "the server to be restarted by its liveness probe, and then to be ready")
    assert found is not None
    first = next(one for one in found.status.container_statuses if one.name == "server")
    second = next(one for one in found.status.container_statuses if one.name == "after")
    ended = first.last_state.terminated
    assert ended is not None
    assert ended.exit_code == 0
    asked = (ended.message or "").splitlines()
    assert "/live asked http" in asked
    assert "/ready - https" in asked
    assert "/stopping asked http" in asked  # the hook comes before the signal
    assert second.state.running is not None
    assert second.state.running.started_at is not None
    assert ended.started_at is not None
    assert (second.state.running.started_at - ended.started_at).total_seconds() >= 1  # the first one's hook takes two seconds


async def test_where_and_when_a_pod_runs_is_its_own_choice(cluster: LocalCluster) -> None:
    client = cluster.client
    box = {"name": "main", **BUSY, "command": FOREVER}

    def affine(value: str) -> dict[str, Any]:
        term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [value]}]}
        return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}

    await client.create(make("bound", box, nodeName="test", affinity=affine("test"), priority=7))
    await client.create(
        make("gated", box, schedulingGates=[{"name": "example.dev/quota"}], readinessGates=[{"conditionType": "example.dev/lb"}])
    )
    await client.create(make("elsewhere", box, affinity=affine("other")))
    await client.create(make("unmatched", box, nodeSelector={"disk": "fast"}))
    await client.create(make("foreign", box, schedulerName="somebody"))
    await wait_ready(cluster, "bound")
    for name in ("elsewhere", "unmatched"):

        async def told(name: str = name) -> bool:
            conditions = (await read(cluster, name)).status.conditions
            return any("didn't match Pod's node affinity/selector" in condition.message for condition in conditions)

        await eventually(told, 30, f"{name} to be unschedulable")
    assert (await read(cluster, "foreign")).status.conditions == ()
    gated = await read(cluster, "gated")
    assert (gated.spec.node_name, [condition.reason for condition in gated.status.conditions]) == (None, ["SchedulingGated"])

    await client.patch(pod.Pod, "gated", "default", {"spec": {"schedulingGates": None}})

    async def only_the_gate_is_missing() -> bool:
        found = await read(cluster, "gated")
        states = {condition.type: condition.status for condition in found.status.conditions}
        assert (states.get("ContainersReady"), states.get("Ready")) == ("True", "False"), found.status.to_dict()
        return True

    await eventually(only_the_gate_is_missing, 60, "the containers to be ready, and the Pod not")
    condition = {"type": "example.dev/lb", "status": "True"}
    found = await read(cluster, "gated")
    conditions = [*(one.to_dict() for one in found.status.conditions), condition]
    patch = {"metadata": {"resourceVersion": found.metadata.resource_version}, "status": {"conditions": conditions}}
    await client.patch(pod.Pod, "gated", "default", patch, subresource="status")
    await wait_ready(cluster, "gated")

    # A taint keeps Pods away that do not tolerate it.
    taint = {"key": "owner", "value": "me", "effect": "NoSchedule"}
    await client.patch(node.Node, "test", None, {"spec": {"taints": [taint]}})
    await client.create(make("shy", box))
    tolerated = {"key": "owner", "operator": "Equal", "value": "me", "effect": "NoSchedule"}
    await client.create(make("bold", box, tolerations=[tolerated]))
    await wait_ready(cluster, "bold")
    assert (await read(cluster, "shy")).spec.node_name is None


async def test_kubectl_is_told_what_has_no_effect_and_what_is_refused(cluster: LocalCluster, kubectl: str, tmp_path: Path) -> None:
    run = Kubectl(kubectl, cluster.kubeconfig_for("admin", "admin-token"), directory=tmp_path, cache=tmp_path / "cache")
    box = {"name": "main", **BUSY, "command": FOREVER}
    spread = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    body = make("warned", box, topologySpreadConstraints=[spread]).to_dict()
    for command in ("apply -f -", "apply --server-side -f -"):
        done = await run(command, stdin=body)
        assert done.returncode == 0, done.stderr
        told = (
            "Warning: spec.topologySpreadConstraints: no effect: the scheduler spreads the replicas of a Workload by itself" in done.stderr
        )
        assert told == (command == "apply -f -"), done.stderr  # the second changes nothing
    body["metadata"]["name"] = "refused"
    body["spec"].update(hostNetwork=True, volumes=[{"name": "v", "nfs": {"server": "x", "path": "/"}}])
    done = await run("apply -f -", stdin=body)
    assert done.returncode == 1
    assert "spec.hostNetwork: Forbidden: a Pod does not get the node's network: publish ports instead" in done.stderr
    assert "spec.volumes[0].nfs: Forbidden: this kind of volume is not supported" in done.stderr

    once = {"name": "once", **BUSY, "command": ["sh", "-c", "sleep 3"]}
    side = {"name": "side", **BUSY, "command": FOREVER, "restartPolicy": "Always"}
    broken = {"name": "broken", **BUSY, "command": ["sh", "-c", "exit 3"]}
    await cluster.client.create(make("started", box, initContainers=[once, side]))
    await cluster.client.create(make("stuck", box, initContainers=[broken]))
    seen: dict[str, set[str]] = {"started": set(), "stuck": set()}

    async def listed() -> bool:
        for row in table(await run.ok("get pods")):
            if row["NAME"] in seen:
                seen[row["NAME"]].add(f"{row['READY']} {row['STATUS']}")
        assert "2/2 Running" in seen["started"], seen
        assert "0/1 Init:CrashLoopBackOff" in seen["stuck"], seen
        return True

    await eventually(listed, 60, "the two Pods to get where they can")
    assert "0/2 Init:0/2" in seen["started"], seen
    missing = {"name": "main", "image": "registry.invalid/nowhere:1", "imagePullPolicy": "Never"}
    await cluster.client.create(make("absent", missing))

    async def never_pulled() -> bool:
        (row,) = table(await run.ok("get pod absent"))
        assert row["STATUS"] == "ErrImageNeverPull", row
        return True

    await eventually(never_pulled, 30, "the missing image to be noticed")


async def test_processes_and_names_are_the_pods_own(cluster: LocalCluster) -> None:
    main = {"name": "main", **BUSY, "command": FOREVER}
    names = {"hostname": "web", "subdomain": "site"}
    script = "{ echo name=$(hostname); echo others=$(ps | grep -c 'trap .exit 0'); } > /tmp/look; sleep 3600"
    look = {"name": "look", **BUSY, "command": ["sh", "-c", script], "readinessProbe": {"exec": {"command": ["test", "-s", "/tmp/look"]}}}
    await cluster.client.create(make("shared", main, look, shareProcessNamespace=True, **names))
    found = await wait_ready(cluster, "shared")
    boxes = {
        one.name: await cluster.engine.inspect((one.container_id or "").removeprefix("docker://"))
        for one in found.status.container_statuses
    }
    modes = {described["HostConfig"]["PidMode"] for described in boxes.values()}
    assert len(modes) == 1
    assert modes.pop().startswith("container:")

    engine, identity = cluster.engine, (found.status.container_statuses[1].container_id or "").removeprefix("docker://")
    body = {"AttachStdout": True, "Tty": True, "Cmd": ["cat", "/tmp/look"]}
    exec_id = (await engine.call("POST", f"/containers/{identity}/exec", body=body))["Id"]
    said = bytes(await engine.call("POST", f"/exec/{exec_id}/start", body={"Tty": True})).decode().split()
    assert said[0] == "name=web"
    assert int(said[1].removeprefix("others=")) >= 1, said  # it sees the processes of the other container
