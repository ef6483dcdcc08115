"""What end-to-end tests and benchmarks do again and again: apply a Workload, wait for a phase, look at what the engine really runs."""

from __future__ import annotations

import base64
import socket
from pathlib import Path
from typing import Any

import yaml

from lattice.api import configmap, errors, pod, scheme, workload
from lattice.client.client import Client
from lattice.testing.cluster import LocalCluster
from lattice.testing.polling import eventually


def load_workload(path: Path) -> workload.Workload:
    """Return the one Workload of a manifest."""
    parsed = scheme.parse_object(yaml.safe_load(path.read_text()))
    assert isinstance(parsed, workload.Workload)
    return parsed


def sleeper(name: str, *, replicas: int = 1, **spec: Any) -> workload.Workload:
    """Return a Workload that does nothing and ends at once when it is told to."""
    command = ["sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done"]
    return workload.Workload.model_validate(
        {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "replicas": replicas,
                "image": "busybox:latest",
                "imagePullPolicy": "IfNotPresent",
                "command": command,
                "terminationGracePeriodSeconds": 2,
                **spec,
            },
        }
    )


async def wait_phase(client: Client, name: str, phase: str = "Running", *, deadline_s: float = 60.0) -> workload.Workload:
    """Wait until a Workload of the namespace default is in a phase for its present spec, and return it."""

    async def reached() -> workload.Workload | None:
        found = await client.get(workload.Workload, name, "default")
        assert found.status.phase == phase, found.status.to_dict()
        assert found.status.observed_generation == found.metadata.generation
        return found

    found = await eventually(reached, deadline_s, f"workload {name} to be {phase}")
    assert found is not None
    return found


async def wait_gone(client: Client, kind: type[Any], name: str, namespace: str | None = "default", *, deadline_s: float = 60.0) -> None:
    """Wait until an object has left the store."""

    async def gone() -> bool:
        try:
            found = await client.get(kind, name, namespace)
        except errors.NotFoundError:
            return True
        raise AssertionError(found.metadata.to_dict())

    await eventually(gone, deadline_s, f"{kind.KIND} {name} to be gone")


async def pods_of(client: Client, name: str) -> list[pod.Pod]:
    """Return a Workload's Pods, in the order of their names."""
    found = await client.list(pod.Pod, "default", label_selector=f"lattice.dev/workload={name}")
    return sorted(found.items, key=lambda item: item.name)


async def containers_of(cluster: LocalCluster, node_name: str | None = None) -> list[dict[str, Any]]:
    """Return what the engine has of an agent's containers, in any state."""
    return await cluster.engine.containers(cluster.node_label(node_name))


async def wait_no_containers(cluster: LocalCluster, *, deadline_s: float = 60.0) -> None:
    """Wait until the engine has no container of the agent."""

    async def none() -> bool:
        left = await containers_of(cluster)
        assert not left, [(c["Names"], c["State"]) for c in left]
        return True

    await eventually(none, deadline_s, "the engine to have none of our containers")


async def credentials(client: Client, name: str) -> dict[str, str]:
    """Return the decoded credentials Secret of a Workload."""
    secret = await client.get(configmap.Secret, f"{name}-credentials", "default")
    return {key: base64.b64decode(value).decode() for key, value in secret.data.items()}


def listens(port: int) -> bool:
    """Return whether something accepts connections on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
