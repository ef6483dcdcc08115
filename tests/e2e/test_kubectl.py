"""A stock kubectl looks at Lattice, changes it, and is told no where it must be told no."""

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest

from lattice.testing.polling import eventually
from lattice.testing.stories import wait_no_containers, wait_phase

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.kubectl, pytest.mark.timeout(120)]


class Kubectl:
    """kubectl with one kubeconfig and a cache of its own."""

    def __init__(self, binary: str, kubeconfig: Path, cache: Path) -> None:
        self.binary, self.kubeconfig = binary, kubeconfig
        self.env = {**os.environ, "KUBECACHEDIR": str(cache), "HOME": str(cache), "KUBECONFIG": str(kubeconfig)}

    async def __call__(self, *arguments: str, stdin: str = "", token: str = "") -> subprocess.CompletedProcess[str]:
        extra = ["--token", token] if token else []
        return await asyncio.to_thread(
            subprocess.run, [self.binary, *arguments, *extra], input=stdin, env=self.env, capture_output=True, text=True, timeout=60
        )

    async def ok(self, *arguments: str, stdin: str = "") -> str:
        done = await self(*arguments, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout


@pytest.fixture
def k(kubectl: str, cluster, tmp_path: Path) -> Kubectl:
    return Kubectl(kubectl, cluster.kubeconfig, tmp_path / "kube-cache")


async def test_kubectl_applies_watches_describes_and_deletes_a_workload(k: Kubectl, cluster) -> None:
    manifest = str(EXAMPLES / "03-image" / "workload.yaml")
    assert "created" in await k.ok("apply", "--validate=false", "-f", manifest)
    assert "unchanged" in await k.ok("apply", "--validate=false", "-f", manifest) or "configured" in await k.ok(
        "apply", "--validate=false", "-f", manifest
    )
    name = json.loads(await k.ok("get", "workloads", "-o", "json"))["items"][0]["metadata"]["name"]
    await wait_phase(cluster.client, name)
    assert name in await k.ok("get", "workloads")
    assert name in await k.ok("get", "wl,pods", "-A")
    assert "Phase:" in await k.ok("describe", "workload", name)
    pod = json.loads(await k.ok("get", "pods", "-o", "json"))["items"][0]["metadata"]["name"]
    assert "Running" in await k.ok("describe", "pod", pod)
    assert await k.ok("wait", f"pod/{pod}", "--for=condition=Ready", "--timeout=20s")
    assert await k.ok("get", "pod", pod, "-o", "jsonpath={.status.phase}") == "Running"
    assert cluster.name in await k.ok("get", "nodes")
    assert "Allocatable" in await k.ok("describe", "node", cluster.name)
    await k.ok("patch", "workload", name, "--type=merge", "-p", '{"spec":{"replicas":3}}')

    async def three() -> bool:
        return len(json.loads(await k.ok("get", "pods", "-o", "json"))["items"]) == 3

    await eventually(three, 20, "three Pods")
    await k.ok("delete", "workload", name, "--timeout=40s")
    await wait_no_containers(cluster)


async def test_kubectl_works_on_secrets_and_configmaps(k: Kubectl) -> None:
    await k.ok("apply", "--validate=false", "-f", "-", stdin=_configmap({"a": "1"}))
    assert "configured" in await k.ok("apply", "--validate=false", "-f", "-", stdin=_configmap({"b": "2"}))
    assert json.loads(await k.ok("get", "configmap", "settings", "-o", "json"))["data"] == {"b": "2"}
    await k.ok("label", "configmap", "settings", "tier=test")
    assert "settings" in await k.ok("get", "cm", "-l", "tier=test")
    assert "settings" not in await k.ok("get", "cm", "-l", "tier!=test")
    await k.ok("annotate", "configmap", "settings", "note=x")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "v"}}
    await k.ok("apply", "--validate=false", "-f", "-", stdin=json.dumps(secret))
    assert await k.ok("get", "secret", "s", "-o", "jsonpath={.data.k}") == "dg=="
    assert "dg==" not in await k.ok("describe", "secret", "s")
    await k.ok("delete", "secret/s", "configmap/settings")
    gone = await k("get", "secret", "s")
    assert gone.returncode == 1
    assert 'secrets "s" not found' in gone.stderr


async def test_kubectl_watches_changes(k: Kubectl) -> None:
    watching = asyncio.create_task(k("get", "configmaps", "--watch-only", "-o", "name", "--request-timeout=4s"))
    for number in range(30):  # until the watch stands, and then some
        await k.ok("apply", "--validate=false", "-f", "-", stdin=_configmap({"n": str(number)}))
        if watching.done():
            break
    assert "configmap/settings" in (await watching).stdout


async def test_a_user_without_rights_is_forbidden_and_a_stranger_unauthorized(k: Kubectl) -> None:
    forbidden = await k("get", "pods", token="alice-token")
    assert forbidden.returncode == 1
    assert 'User "alice" cannot list resource "pods" in API group "" in the namespace "default"' in forbidden.stderr
    for verb in (["delete", "workload", "x"], ["create", "configmap", "x", "--validate=false"], ["get", "secrets", "-A"]):
        assert (await k(*verb, token="alice-token")).returncode == 1
    stranger = await k("get", "pods", token="wrong")
    assert stranger.returncode == 1
    assert "Unauthorized" in stranger.stderr or "must be logged in" in stranger.stderr


def _configmap(data: dict[str, str]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": data})
