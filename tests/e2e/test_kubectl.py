"""A stock kubectl runs a Workload on a real node: applies it, watches it come up, looks at all of it, changes it and removes it.

What kubectl does where no container is needed is in the other test_kubectl files.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from lattice.testing.kubectl import Kubectl
from lattice.testing.polling import eventually
from lattice.testing.stories import wait_no_containers, wait_phase

MANIFEST = Path(__file__).resolve().parents[2] / "examples" / "03-image" / "workload.yaml"
pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.kubectl, pytest.mark.timeout(120)]


@pytest.fixture
def k(kubectl: str, cluster, tmp_path: Path) -> Kubectl:
    return Kubectl(kubectl, cluster.kubeconfig, directory=tmp_path, cache=tmp_path / "kube-cache")


async def test_kubectl_applies_watches_describes_and_deletes_a_workload(k: Kubectl, cluster) -> None:
    watching = k.start("get pods -w --output-watch-events")
    try:
        assert "created" in await k.ok(f"apply -f {MANIFEST}")
        name = (await k.json("get workloads"))["items"][0]["metadata"]["name"]
        await wait_phase(cluster.client, name)
        await k.ok(f"wait workload/{name} --for=condition=Available --timeout=20s")
        generation = (await k.json(f"get workload {name}"))["metadata"]["generation"]
        await k.ok(f"apply -f {MANIFEST}")
        assert (await k.json(f"get workload {name}"))["metadata"]["generation"] == generation
        [row] = await k.table(f"get workload {name}")
        assert (row["PHASE"], row["READY"]) == ("Running", row["REPLICAS"])
        assert f"workload.lattice.dev/{name}" in await k.ok("get wl,pods -A -o name")
        description = await k.ok(f"describe workload {name}")
        assert "Phase:" in description
        assert "SuccessfulCreate" in description  # an Event
        pod = (await k.json("get pods"))["items"][0]["metadata"]["name"]
        description = await k.ok(f"describe pod {pod}")
        assert f" {cluster.name}/" in description
        assert "Running" in description
        await k.ok(f"wait pod/{pod} --for=condition=Ready --timeout=20s")
        assert await k.ok(f"get pod {pod} -o jsonpath={{.status.phase}}") == "Running"
        assert {row["NODE"] for row in await k.table("get pods -o wide")} == {cluster.name}
        assert (await k.table("get nodes"))[0]["STATUS"] == "Ready"
        description = await k.ok(f"describe node {cluster.name}")
        assert "Allocatable" in description
        assert pod in description  # among the Pods that the node runs
        await k.ok(f"scale workload {name} --replicas=3")
        await k.ok(f"wait workload/{name} --for=jsonpath={{.status.readyReplicas}}=3 --timeout=40s")
        assert len((await k.json("get pods"))["items"]) == 3
        await k.ok(f"delete workload {name} --timeout=40s")
        await wait_no_containers(cluster)
        await eventually(lambda: f"DELETED    {pod}" in watching.log.read_text(), 20, "the watch to see the Pod go")
    finally:
        await watching.stop()
