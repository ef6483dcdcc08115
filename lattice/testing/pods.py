"""Pods for tests: builders, the manifests of ``tests/data/pods``, and what tests wait for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lattice.api import errors, pod
from lattice.client.client import Client
from lattice.testing.polling import eventually

IMAGE = "busybox:latest"
SLEEP = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"
"""A program that ends at once when it is told to."""


def make_container(name: str = "main", script: str = SLEEP, **fields: Any) -> dict[str, Any]:
    """Return a container of a spec that runs a shell script."""
    return {"name": name, "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script], **fields}


def make_pod(name: str, *containers: dict[str, Any], **spec: Any) -> pod.Pod:
    """Return a Pod of the namespace default; without containers, of one that sleeps."""
    fields = {"containers": [*containers] or [make_container()], "terminationGracePeriodSeconds": 2, **spec}
    return pod.Pod.model_validate({"metadata": {"name": name, "namespace": "default"}, "spec": fields})


def load_pod(path: Path) -> pod.Pod:
    """Return the Pod of a manifest, in the namespace default."""
    document = yaml.safe_load(path.read_text())
    document["metadata"].setdefault("namespace", "default")
    return pod.Pod.model_validate(document)


def is_ready(found: pod.Pod) -> bool:
    """Return whether a Pod's condition says that it is ready."""
    return any(condition.type == "Ready" and condition.status == "True" for condition in found.status.conditions)


def container_status(found: pod.Pod, name: str) -> pod.ContainerStatus:
    """Return the status of a container of any role.

    Raises:
        LookupError: there is none yet.
    """
    status = found.status
    for one in (*status.init_container_statuses, *status.container_statuses, *status.ephemeral_container_statuses):
        if one.name == name:
            return one
    raise LookupError(f"no status of container {name} in {found.status.to_dict()}")


def ended(found: pod.Pod, name: str) -> pod.ContainerStateTerminated:
    """Return how a container has ended.

    Raises:
        AssertionError: it has not.
    """
    state = container_status(found, name).state.terminated
    assert state is not None, found.status.to_dict()
    return state


async def wait_ready(client: Client, name: str, *, deadline_s: float = 60.0) -> pod.Pod:
    """Wait until a Pod is ready, and return it."""

    async def look() -> pod.Pod:
        found = await client.get(pod.Pod, name, "default")
        assert is_ready(found), found.status.to_dict()
        return found

    return await eventually(look, deadline_s, f"Pod {name} to be ready")


async def wait_phase(client: Client, name: str, phase: pod.Phase, *, deadline_s: float = 60.0) -> pod.Pod:
    """Wait until a Pod is in a phase, and return it."""

    async def look() -> pod.Pod:
        found = await client.get(pod.Pod, name, "default")
        assert found.status.phase == phase, found.status.to_dict()
        return found

    return await eventually(look, deadline_s, f"Pod {name} to be {phase}")


async def wait_state(client: Client, name: str, container: str, what: str, *, deadline_s: float = 60.0) -> pod.Pod:
    """Wait until a container is ``running``, ``terminated``, or waits with the reason ``what``; return its Pod."""

    async def look() -> pod.Pod:
        found = await client.get(pod.Pod, name, "default")
        state = container_status(found, container).state
        seen = state.waiting.reason if state.waiting else "running" if state.running else "terminated"
        assert seen == what, found.status.to_dict()
        return found

    return await eventually(look, deadline_s, f"container {container} of Pod {name} to be {what}")


async def wait_gone(client: Client, name: str, *, deadline_s: float = 60.0) -> None:
    """Wait until a Pod has left the store."""

    async def look() -> bool:
        try:
            found = await client.get(pod.Pod, name, "default")
        except errors.NotFoundError:
            return True
        raise AssertionError(found.status.to_dict())

    await eventually(look, deadline_s, f"Pod {name} to be gone")
