"""What an agent finds on its disk after it was killed: all that it needs to start again, never a Pod whose end it had reached."""

import os
import shutil
from pathlib import Path

import orjson
import pytest

from lattice.api import configmap, errors, meta, pod
from nodeagent.checkpoint import FORMAT, ClusterMark, DataDirectory

FILES = Path(__file__).parents[2] / "data" / "checkpoint"
PASSWORD = "aHVudGVyMg=="


def make_pod(name: str) -> pod.Pod:
    container = pod.Container(name="main", image="busybox")
    return pod.Pod(
        metadata=meta.ObjectMeta(name=name, namespace="default", uid=meta.Uid(f"uid-{name}")), spec=pod.PodSpec(containers=(container,))
    )


def make_secret(password: str = PASSWORD) -> configmap.Secret:
    metadata = meta.ObjectMeta(name="login", namespace="default", uid=meta.Uid("uid-secret"))
    return configmap.Secret(metadata=metadata, data={"password": password})


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


@pytest.mark.parametrize("cut", [3, 40, 10**6])
def test_a_damaged_set_is_as_good_as_none(data: DataDirectory, tmp_path: Path, cut: int) -> None:
    data.save_desired([make_pod("a")])
    file = tmp_path / "desired.json"
    file.write_bytes(file.read_bytes()[:-cut])
    assert names(data) == []


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n[]", b"null\n", b'{"format":"x","sha256":""}\n', b"\xff\xfe\n", b'{"format":2}\n{}'])
def test_garbage_is_as_good_as_none(data: DataDirectory, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "desired.json").write_bytes(content)
    assert names(data) == []


def test_a_bit_that_flipped_is_noticed(data: DataDirectory, tmp_path: Path) -> None:
    data.save_desired([make_pod("a"), make_pod("b")])
    file = tmp_path / "desired.json"
    file.write_bytes(file.read_bytes().replace(b'"uid-b"', b'"uid-c"'))
    assert names(data) == []


def test_secrets_come_back_and_are_not_in_the_clear(data: DataDirectory, tmp_path: Path) -> None:
    data.save_desired([make_pod("a")], [make_secret()])
    found = [obj for obj in DataDirectory(tmp_path).load_desired() if isinstance(obj, configmap.Secret)]
    assert [dict(secret.data) for secret in found] == [{"password": PASSWORD}]
    for path in tmp_path.iterdir():
        assert PASSWORD.encode() not in path.read_bytes()
        assert b"hunter2" not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_changed_secret_alone_is_written(data: DataDirectory, tmp_path: Path) -> None:
    data.save_desired([make_secret()])
    before = (tmp_path / "desired.json").stat().st_ino
    data.save_desired([make_secret()])
    assert (tmp_path / "desired.json").stat().st_ino == before  # nothing has changed: nothing is written
    data.save_desired([make_secret("b3RoZXI=")])
    (found,) = DataDirectory(tmp_path).load_desired()
    assert isinstance(found, configmap.Secret)
    assert found.data["password"] == "b3RoZXI="


@pytest.mark.parametrize("key", [None, b"", b"x" * 31, b"x" * 32])
def test_without_the_right_key_all_but_the_secrets_comes_back(data: DataDirectory, tmp_path: Path, key: bytes | None) -> None:
    data.save_desired([make_pod("a")], [make_secret()])
    (tmp_path / "node.key").unlink()
    if key is not None:
        (tmp_path / "node.key").write_bytes(key)
    again = DataDirectory(tmp_path)
    assert names(again) == ["a"]
    again.save_desired([make_pod("a")], [make_secret()])  # and the next set from the server can be opened again
    assert sorted(names(DataDirectory(tmp_path))) == ["a", "login"]


def test_files_of_every_earlier_format_are_read(data: DataDirectory, tmp_path: Path) -> None:
    for number in range(1, FORMAT + 1):
        shutil.copy(FILES / f"format-{number}.json", tmp_path / "desired.json")
        if (key := FILES / f"format-{number}.key").exists():
            shutil.copy(key, tmp_path / "node.key")
        found = {obj.name: obj for obj in DataDirectory(tmp_path).load_desired()}
        expected = {"web", "web-data-0", "pvc-uid-claim"} | ({"login", "settings"} if number > 1 else set())
        assert set(found) == expected, number
        web = found["web"]
        assert isinstance(web, pod.Pod)
        assert web.status.container_statuses[0].restart_count == 2


def test_a_file_of_a_newer_agent_is_not_guessed_at(data: DataDirectory, tmp_path: Path) -> None:
    data.save_desired([make_pod("a")])
    head, _, body = (tmp_path / "desired.json").read_bytes().partition(b"\n")
    (tmp_path / "desired.json").write_bytes(orjson.dumps({**orjson.loads(head), "format": FORMAT + 1}) + b"\n" + body)
    assert names(DataDirectory(tmp_path)) == []


def test_a_write_that_fails_leaves_the_last_set(data: DataDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data.save_desired([make_pod("a")])

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            data.save_desired([make_pod("b")])
    assert names(DataDirectory(tmp_path)) == ["a"]
    data.save_desired([make_pod("b")])
    assert names(DataDirectory(tmp_path)) == ["b"]


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
