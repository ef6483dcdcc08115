"""Pods that write more than they may, on real Docker: they end as Failed with the reason Evicted, as kubelet ends them."""

from __future__ import annotations

import asyncio

import pytest

from lattice.api import pod
from lattice.testing.polling import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(120)]

WRITE = "dd if=/dev/zero of=/data/big bs=1M count={mib} 2>/dev/null; exec sleep 1000"


def make_pod(name: str, mib: int, *, limit: str = "", size_limit: str = "") -> pod.Pod:
    volume = {"name": "data", "emptyDir": {"sizeLimit": size_limit} if size_limit else {}}
    container = {
        "name": "main", "image": "busybox:latest", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", WRITE.format(mib=mib)],
        "resources": {"limits": {"ephemeral-storage": limit} if limit else {}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }  # fmt: skip
    return pod.Pod.model_validate(
        {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"containers": [container], "volumes": [volume], "terminationGracePeriodSeconds": 0},
        }
    )


async def test_a_pod_that_writes_more_than_it_may_is_evicted_and_others_are_not(cluster) -> None:
    wanted = [
        make_pod("over-volume", 5, size_limit="2Mi"),
        make_pod("over-pod", 5, limit="2Mi"),
        make_pod("within", 5, limit="50Mi", size_limit="20Mi"),
    ]
    await asyncio.gather(*(cluster.client.create(each) for each in wanted))

    async def evicted(name: str) -> pod.PodStatus | None:
        found = (await cluster.client.get(pod.Pod, name, "default")).status
        assert (found.phase, found.reason) == ("Failed", "Evicted"), found.to_dict()
        return found

    over_volume = await eventually(lambda: evicted("over-volume"), 60, "the Pod over its volume's limit to be evicted")
    assert over_volume.message == 'Usage of EmptyDir volume "data" exceeds the limit "2Mi". '
    over_pod = await eventually(lambda: evicted("over-pod"), 60, "the Pod over its own limit to be evicted")
    assert over_pod.message == "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "
    within = (await cluster.client.get(pod.Pod, "within", "default")).status
    assert (within.phase, within.container_statuses[0].restart_count) == ("Running", 0)
