"""What an agent's process has in it: a guest on somebody's machine carries no numpy, no gRPC, no terminal library, no control plane."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from lattice.api import pod
from lattice.testing.polling import eventually
from lattice.testing.processes import Process

SCRIPT = """
import signal, sys
from pathlib import Path
listed = Path(sys.argv.pop(1))
def tell(*_):
    listed.with_suffix(".new").write_text("\\n".join(sorted(sys.modules)))
    listed.with_suffix(".new").rename(listed)
signal.signal(signal.SIGUSR1, tell)
from lattice.cli.main import main
sys.exit(main())
"""
UNWANTED = {
    "numpy",
    "grpc",
    "google",
    "rich",
    "controller",
    "cel_expr_python",
    "re2",
    "jsonschema_rs",
    "cryptography",
    "isal",
    "pytest",
    "h2",
}
POD = {
    "metadata": {"name": "p", "namespace": "default"},
    "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": "busybox:latest", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "1000"]}],
    },
}
pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(120)]


async def test_a_working_agent_has_loaded_nothing_heavy(make_cluster, tmp_path: Path) -> None:
    cluster = await make_cluster(start=False)
    await cluster.start_server()
    cluster.client = cluster.client_for("admin-token")
    config = cluster.kubeconfig_for(cluster.name, "node-token")
    arguments = ["node", "--kubeconfig", str(config), "--name", cluster.name, "--docker-host", cluster.docker_host]
    arguments += ["--data-dir", str(cluster.directory / f"agent-{cluster.name}"), "--port-range", "30000-32767"]
    listed = tmp_path / "modules"
    agent = Process((sys.executable, "-c", SCRIPT, str(listed), *arguments), log=cluster.directory / "agent.log")
    cluster.agents[cluster.name] = agent
    await cluster.start_agent()
    await cluster.client.create(pod.Pod.model_validate(POD))

    async def running() -> bool:
        return (await cluster.client.get(pod.Pod, "p", "default")).status.phase == "Running"

    await eventually(running, 60, "the Pod to run")
    agent._process.send_signal(signal.SIGUSR1)
    await eventually(listed.exists, 20, "the agent to say what it has loaded")
    loaded = {name.partition(".")[0] for name in listed.read_text().split()}
    assert "nodeagent" in loaded
    assert loaded & UNWANTED == set()
