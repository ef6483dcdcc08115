"""What a Pod takes: the sum over its containers, with init containers and sidecars as kube-scheduler counts them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.scheduler.requests import pod_requests


def asks(cpu, *, sidecar=False, **more):
    container = {"resources": {"requests": {"cpu": f"{cpu}m", **more}}}
    return {**container, "restartPolicy": "Always"} if sidecar else container


@pytest.mark.parametrize(
    ("containers", "inits", "cpu"),
    [
        ([asks(100), asks(200)], [], 300),
        ([asks(100)], [asks(500), asks(300)], 500),
        ([asks(100)], [asks(50), asks(30)], 100),
        ([asks(100)], [asks(50, sidecar=True)], 150),
        # a sidecar runs beside the init containers that come after it, not before
        ([asks(100)], [asks(500), asks(50, sidecar=True)], 500),
        ([asks(100)], [asks(50, sidecar=True), asks(500)], 550),
        # upstream's example: 1 + 2 sidecars before a big init container, then one more sidecar
        ([asks(100)], [asks(10, sidecar=True), asks(20, sidecar=True), asks(200), asks(40, sidecar=True)], 230),
        ([asks(300)], [asks(10, sidecar=True), asks(20, sidecar=True), asks(200), asks(40, sidecar=True)], 370),
    ],
)
def test_sum(containers, inits, cpu):
    assert dict(pod_requests({"containers": containers, "initContainers": inits})) == {"cpu": cpu}


def test_every_resource_is_summed_by_itself():
    spec = {
        "containers": [asks(100, **{"ephemeral-storage": "1Ki"})],
        "initContainers": [{"resources": {"limits": {"nvidia.com/gpu": 1, "memory": "2Ki"}}}],
        "ephemeralContainers": [asks(1000)],
    }
    assert dict(pod_requests(spec)) == {"cpu": 100, "ephemeral-storage": 1024, "memory": 2048, "nvidia.com/gpu": 1}


def test_a_limit_counts_where_there_is_no_request():
    spec = {"containers": [{"resources": {"limits": {"cpu": 1, "memory": "1Ki"}, "requests": {"cpu": "500m"}}}]}
    assert dict(pod_requests(spec)) == {"cpu": 500, "memory": 1024}


INITS = st.lists(st.builds(asks, st.integers(0, 1000), sidecar=st.booleans()), max_size=6)


@given(containers=st.lists(st.builds(asks, st.integers(0, 1000)), min_size=1, max_size=3), inits=INITS)
def test_it_is_enough_at_every_moment(containers, inits):
    def cpu(container):
        return int(container["resources"]["requests"]["cpu"][:-1])

    taken = dict(pod_requests({"containers": containers, "initContainers": inits})).get("cpu", 0)
    beside, moments = 0, []
    for container in inits:
        moments.append(beside + cpu(container))
        beside += cpu(container) if container.get("restartPolicy") else 0
    moments.append(beside + sum(map(cpu, containers)))
    assert taken == max(moments)
