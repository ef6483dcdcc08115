"""The command line against a real control plane in a process of its own, without a node."""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from lattice.testing.polling import eventually
from lattice.testing.processes import Process, free_port

LATTICE = (sys.executable, "-m", "lattice.cli.main")
Run = Callable[..., subprocess.CompletedProcess[str]]
CONFIGMAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, labels: {tier: test}}\ndata: {%s}\n"


@pytest.fixture
async def lattice(tmp_path: Path) -> AsyncIterator[Run]:
    config = tmp_path / "kubeconfig"
    flags = ["server", "--data-dir", str(tmp_path / "data"), "--listen", f"127.0.0.1:{free_port()}", "--kubeconfig-out", str(config)]
    server = Process((*LATTICE, *flags), log=tmp_path / "server.log")
    server.start()

    async def ready() -> bool:
        assert server.running, server.tail()
        return "ready: https://" in server.tail()

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [*LATTICE, "--kubeconfig", str(config), *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30, check=False)

    await eventually(ready, 20, "the server to be ready")
    yield run
    assert await server.stop() == 0


async def test_apply_get_describe_delete(lattice: Run) -> None:
    assert lattice("apply", "-f", "-", stdin=CONFIGMAP % "a: '1', b: '1'").stdout == "configmap/settings created\n"
    assert lattice("apply", "-f", "-", stdin=CONFIGMAP % "a: '1', b: '1'").stdout == "configmap/settings unchanged\n"
    assert lattice("apply", "-f", "-", stdin=CONFIGMAP % "a: '2'").stdout == "configmap/settings configured\n"
    shown = lattice("get", "cm/settings", "-o", "yaml").stdout
    assert "a: '2'" in shown
    assert "b: '1'" not in shown.partition("metadata")[0]
    assert lattice("get", "cm", "-l", "tier=test", "-o", "name").stdout == "configmap/settings\n"
    assert "No configmaps found" in lattice("get", "cm", "-l", "tier=other").stderr
    assert "tier=test" in lattice("describe", "cm", "settings").stdout
    assert lattice("delete", "cm", "settings").returncode == 0
    for verb in ("get", "describe", "delete"):
        again = lattice(verb, "cm", "settings")
        assert again.returncode == 3
        assert "settings" in again.stderr


async def test_a_secret_does_not_show_in_a_description(lattice: Run) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hush-hush}\n"
    assert lattice("apply", "-f", "-", stdin=secret).returncode == 0
    assert lattice("apply", "-f", "-", stdin=secret).stdout == "secret/s unchanged\n"
    described = lattice("describe", "secret", "s").stdout
    assert "bytes" in described
    assert "hush" not in described
    assert "aHVzaC1odXNo" not in described


async def test_an_invalid_manifest_is_refused_with_its_field(lattice: Run) -> None:
    wrong = "apiVersion: lattice.dev/v1\nkind: Workload\nmetadata: {name: w}\nspec: {image: nginx, replicas: -1}\n"
    refused = lattice("apply", "-f", "-", stdin=wrong)
    assert refused.returncode == 1
    assert "spec.replicas" in refused.stderr
    assert "Traceback" not in refused.stderr


async def test_a_backup_is_whole_and_private(lattice: Run, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    assert "objects in" in lattice("backup", str(file)).stdout
    assert file.stat().st_mode & 0o077 == 0
    restored = lattice("restore", str(file), "--data-dir", str(tmp_path / "other"))
    assert restored.returncode == 0, restored.stderr
    assert "epoch is 2" in restored.stdout
