"""Pods that write more than they may: which limit counts, and what is said, in kubelet's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lattice.api import pod
from nodeagent.pressure.limits import Measured, exceeded, is_limited, volumes_of
from nodeagent.runtime.docker_disk import tree_bytes

MIB = 1024**2


def make_pod(*limits: str | None, volumes: list[dict[str, Any]] | None = None) -> pod.Pod:
    containers = [
        {"name": f"c{number}", "image": "i", "resources": {"limits": {"ephemeral-storage": limit} if limit else {}}}
        for number, limit in enumerate(limits or (None,))
    ]
    return pod.Pod.model_validate({"metadata": {"name": "p"}, "spec": {"containers": containers, "volumes": volumes or []}})


CACHE = [{"name": "cache", "emptyDir": {"sizeLimit": "1Mi"}}]


@pytest.mark.parametrize(
    ("wanted", "measured", "message"),
    [
        (make_pod(volumes=CACHE), Measured(volumes={"cache": MIB}), ""),
        (make_pod(volumes=CACHE), Measured(volumes={"cache": MIB + 1}), 'Usage of EmptyDir volume "cache" exceeds the limit "1Mi". '),
        (make_pod(volumes=[{"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1"}}]), Measured(volumes={"m": 9}), ""),
        (make_pod("2Mi"), Measured(containers={"c0": 2 * MIB}), ""),
        (make_pod("2Mi", None), Measured(containers={"c0": 3 * MIB}), 'Container c0 exceeded its local ephemeral storage limit "2Mi". '),
        (make_pod("2Mi", None), Measured(containers={"c1": 99 * MIB}), ""),
        (
            make_pod("2Mi"),
            Measured(containers={"c0": 3 * MIB}),
            "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ",
        ),
        (
            make_pod("2Mi", "1Mi", volumes=[{"name": "v", "emptyDir": {}}]),
            Measured(containers={"c0": MIB}, volumes={"v": 3 * MIB}),
            "Pod ephemeral local storage usage exceeds the total limit of containers 3Mi. ",
        ),
        (make_pod(), Measured(containers={"c0": 10**12}), ""),
    ],
)
def test_the_limit_that_is_exceeded(wanted: pod.Pod, measured: Measured, message: str) -> None:
    assert exceeded(wanted, measured) == message
    assert is_limited(wanted) or not message


def test_only_pods_with_limits_are_measured_and_only_what_is_on_disk() -> None:
    assert not is_limited(
        make_pod(volumes=[{"name": "v", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}])
    )
    assert is_limited(make_pod(volumes=CACHE))
    assert is_limited(make_pod(None, "1Gi"))
    assert volumes_of(make_pod(volumes=[*CACHE, {"name": "m", "emptyDir": {"medium": "Memory"}}])) == ("cache",)


def test_a_directory_takes_what_its_files_take_and_links_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "v" / "deep").mkdir(parents=True)
    (tmp_path / "v" / "deep" / "file").write_bytes(b"x" * 3 * MIB)
    (tmp_path / "big").write_bytes(b"x" * 20 * MIB)
    (tmp_path / "v" / "link").symlink_to(tmp_path)
    with (tmp_path / "v" / "sparse").open("wb") as sparse:
        sparse.truncate(10**12)
    found = tree_bytes(tmp_path / "v")
    assert found is not None
    assert 3 * MIB <= found < 4 * MIB
    assert tree_bytes(tmp_path / "absent") is None
