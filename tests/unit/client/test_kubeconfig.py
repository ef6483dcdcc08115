"""Kubeconfig files: found, resolved, refused, written."""

import base64
import stat
from pathlib import Path

import pytest
import yaml

from lattice.api import errors
from lattice.client import kubeconfig


def _file(path: Path, **changes: object) -> Path:
    content = kubeconfig.document(server="https://127.0.0.1:7443", ca_data=b"PEM", user="admin", token="secret")
    path.write_text(yaml.safe_dump({**content, **changes}))
    return path


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config"
    kubeconfig.write(path, server="https://h:1", ca_data="PEM", user="admin", token="t")
    config = kubeconfig.load(path)
    assert (config.server, config.ca_data, config.token, config.namespace, config.context) == (
        "https://h:1",
        b"PEM",
        "t",
        "default",
        "lattice",
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["config"]


def test_the_file_is_found_as_kubectl_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kubeconfig.paths(environ={}) == (tmp_path / ".kube" / "config",)
    assert kubeconfig.paths(environ={"KUBECONFIG": "/a::/b"}) == (Path("/a"), Path("/b"))
    assert kubeconfig.paths(Path("/c"), environ={"KUBECONFIG": "/a"}) == (Path("/c"),)


def test_several_files_are_one_and_the_first_wins(tmp_path: Path) -> None:
    first = _file(tmp_path / "a", clusters=[], users=[])
    second = _file(tmp_path / "b", **{"current-context": "other"})
    config = kubeconfig.load(environ={"KUBECONFIG": f"{tmp_path / 'absent'}:{first}:{second}"})
    assert (config.context, config.token) == ("lattice", "secret")


def test_files_are_relative_to_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"CA")
    path = _file(
        tmp_path / "config",
        clusters=[{"name": "lattice", "cluster": {"server": "https://h:1", "certificate-authority": "ca.pem"}}],
        users=[{"name": "lattice-admin", "user": {"tokenFile": "token"}}],
    )
    config = kubeconfig.load(path)
    assert config.ca_data == b"CA"
    assert config.token_file == tmp_path / "token"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"current-context": ""}, "names no current context; choose one with --context"),
        ({"current-context": "nope"}, "there is no context 'nope' in .* there is: lattice"),
        ({"clusters": []}, "names a cluster 'lattice' that is not there"),
        ({"clusters": [{"name": "lattice", "cluster": {}}]}, "has no server address"),
        ({"clusters": [{"name": "lattice", "cluster": {"server": "https://h", "certificate-authority-data": "%"}}]}, "not base64"),
        ({"clusters": [{"name": "lattice", "cluster": {"server": "https://h", "certificate-authority": "no.pem"}}]}, "cannot be read"),
        ({"users": [{"name": "lattice-admin", "user": {"exec": {"command": "x"}}}]}, "signs in by 'exec'"),
        ({"users": [{"name": "lattice-admin", "user": {"username": "x"}}]}, "signs in by 'username'"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence(tmp_path: Path, changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(errors.UsageError, match=sentence):
        kubeconfig.load(_file(tmp_path / "config", **changes))


@pytest.mark.parametrize("content", ["[", "- a", "just text", "\x00"])
def test_what_is_no_kubeconfig_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(errors.UsageError, match=str(path)):
        kubeconfig.load(path)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="there is no kubeconfig"):
        kubeconfig.load(tmp_path / "absent")


def test_merging_keeps_what_is_there_and_replaces_its_own(tmp_path: Path) -> None:
    path = tmp_path / "config"
    kubeconfig.write(path, server="https://other", ca_data=None, user="me", token="o", name="other")
    for token in ("one", "two"):
        kubeconfig.merge(path, kubeconfig.document(server="https://h", ca_data=b"PEM", user="admin", token=token))
    content = yaml.safe_load(path.read_text())
    assert [entry["name"] for entry in content["contexts"]] == ["other", "lattice"]
    assert kubeconfig.load(path).token == "two"
    assert kubeconfig.load(path, context="other").token == "o"


def test_a_symbolic_link_stays(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("")
    link.symlink_to(target)
    kubeconfig.write(link, server="https://h", ca_data=None, user="u", token="t")
    assert link.is_symlink()
    assert kubeconfig.load(target).token == "t"


def test_credentials_do_not_show() -> None:
    config = kubeconfig.KubeConfig(server="https://h", token="hush", client_key_data=base64.b64encode(b"hush"))
    assert "hush" not in repr(config)
