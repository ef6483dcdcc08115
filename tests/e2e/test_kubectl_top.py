"""`kubectl top` on a real node: cores and memory of the node, of Pods and of containers, through lines that the agents opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from lattice.testing.kubectl import Kubectl
from lattice.testing.polling import eventually

BUSY = """
apiVersion: v1
kind: Pod
metadata: {name: busy, labels: {app: busy}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: busybox:latest
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "while :; do :; done"]
    resources: {limits: {cpu: 200m, memory: 64Mi}}
"""
pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.kubectl, pytest.mark.timeout(120)]


async def test_kubectl_top_shows_what_nodes_pods_and_containers_use(kubectl: str, cluster, tmp_path: Path) -> None:
    k = Kubectl(kubectl, cluster.kubeconfig, directory=tmp_path, cache=tmp_path / "kube-cache")
    await k.ok("create -f -", stdin=BUSY)
    await k.ok("wait pod/busy --for=condition=Ready --timeout=60s")

    async def measured() -> bool:
        [row] = await k.table("top pods --no-headers=false")
        cores = int(row["CPU(cores)"].removesuffix("m"))
        assert 20 <= cores <= 400, row  # asked for all it can get, and held to a fifth of a core
        assert row["MEMORY(bytes)"].endswith("Mi")
        return True

    await eventually(measured, 40, "kubectl top pods")
    [node] = await k.table("top nodes")
    assert node["NAME"] == cluster.name
    assert int(node["CPU(cores)"].removesuffix("m")) > 0
    assert int(node["MEMORY(bytes)"].removesuffix("Mi")) > 0
    assert node["CPU(%)"].endswith("%")
    [container] = await k.table("top pods --containers -l app=busy")
    assert (container["POD"], container["NAME"]) == ("busy", "main")
    assert "No resources found" in (await k("top pods -l app=other")).stderr
    assert {"nodes", "pods"} <= {row["NAME"] for row in await k.table("api-resources --api-group=metrics.k8s.io")}
