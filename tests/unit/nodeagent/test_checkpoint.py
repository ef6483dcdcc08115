"""What an agent finds on its disk after it was killed: never a Pod whose end it had reached."""

from pathlib import Path

import pytest

from lattice.api import errors, meta, pod
from nodeagent.checkpoint import ClusterMark, DataDirectory


def make_pod(name: str) -> pod.Pod:
    container = pod.Container(name="main", image="busybox")
    return pod.Pod(
        metadata=meta.ObjectMeta(name=name, namespace="default", uid=meta.Uid(f"uid-{name}")), spec=pod.PodSpec(containers=(container,))
    )


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    found = DataDirectory(tmp_path)
    found.open()
    return found


def names(data: DataDirectory) -> list[str]:
    return [obj.name for obj in data.load_desired()]


def test_a_pod_that_ended_after_the_last_save_is_not_loaded(data: DataDirectory, tmp_path: Path) -> None:
    data.save_desired([make_pod("a"), make_pod("b")])
    data.mark_ended("uid-a")
    assert names(DataDirectory(tmp_path)) == ["b"]


def test_a_pod_that_ended_is_not_saved_though_the_server_still_has_it(data: DataDirectory, tmp_path: Path) -> None:
    data.mark_ended("uid-a")
    data.save_desired([make_pod("a"), make_pod("b")])
    assert names(DataDirectory(tmp_path)) == ["b"]
    data.save_desired([make_pod("a"), make_pod("b"), make_pod("c")])
    assert names(DataDirectory(tmp_path)) == ["b", "c"]


def test_a_damaged_set_is_as_good_as_none(data: DataDirectory, tmp_path: Path) -> None:
    data.save_desired([make_pod("a")])
    file = tmp_path / "desired.json"
    file.write_bytes(file.read_bytes()[:-3])
    assert names(data) == []


def test_identity_and_cluster_are_kept(data: DataDirectory, tmp_path: Path) -> None:
    uid = data.node_uid()
    data.set_cluster_mark(ClusterMark(cluster_id="c", epoch=3))
    again = DataDirectory(tmp_path)
    assert again.node_uid() == uid
    assert again.cluster_mark() == ClusterMark(cluster_id="c", epoch=3)


def test_a_second_agent_on_the_directory_is_refused(data: DataDirectory, tmp_path: Path) -> None:
    assert data.node_uid()
    with pytest.raises(errors.UsageError, match="another agent"):
        DataDirectory(tmp_path).open()


def test_a_damaged_identity_is_not_replaced_by_a_new_one(data: DataDirectory, tmp_path: Path) -> None:
    (tmp_path / "node.json").write_text("{}")
    with pytest.raises(errors.UsageError, match="identity"):
        data.node_uid()
