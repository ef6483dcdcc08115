"""Pods looked at from inside: create one as a manifest says, wait for what its status says, run a shell in its containers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lattice.api import pod
from lattice.testing.cluster import LocalCluster
from lattice.testing.polling import eventually

FOREVER = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"
"""Runs until it is told to end, and then ends at once."""


def shell(name: str, script: str = FOREVER, **fields: Any) -> dict[str, Any]:
    """Return a container that runs a shell script."""
    basic = {"name": name, "image": "busybox:latest", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script]}
    return {**basic, **fields}


class Inside:
    """The Pods of a cluster's first node.

    Args:
        cluster: started, or to be started before the first call.
    """

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster

    async def create(self, name: str, *containers: Mapping[str, Any], annotations: Mapping[str, str] | None = None, **spec: Any) -> pod.Pod:
        """Create a Pod in the namespace ``default``, by the manifest's own field names."""
        metadata = {"name": name, "namespace": "default", "annotations": dict(annotations or {}), "labels": {"app": name}}
        body = {"metadata": metadata, "spec": {"containers": list(containers), "terminationGracePeriodSeconds": 2, **spec}}
        return await self.cluster.client.create(pod.Pod.model_validate(body))

    async def running(self, name: str, *, deadline_s: float = 60.0) -> pod.Pod:
        """Wait until all containers of a Pod are ready, and return it."""

        async def reached() -> pod.Pod:
            found = await self.cluster.client.get(pod.Pod, name, "default")
            assert any(c.type == "Ready" and c.status == "True" for c in found.status.conditions), found.status.to_dict()
            return found

        found = await eventually(reached, deadline_s, f"pod {name} to be ready")
        assert found is not None
        return found

    async def waiting(self, name: str, *wanted: str, text: str = "", deadline_s: float = 60.0) -> str:
        """Wait until a container of a Pod waits for one of these reasons, with this text in its message, and return the message."""

        async def reached() -> str:
            found = await self.cluster.client.get(pod.Pod, name, "default")
            states = [status.state.waiting for status in (*found.status.init_container_statuses, *found.status.container_statuses)]
            reasons = {state.reason: state.message or "" for state in states if state is not None}
            told = next((message or "-" for reason, message in reasons.items() if reason in wanted and text in message), "")
            assert told, found.status.to_dict()
            return told

        message = await eventually(reached, deadline_s, f"pod {name} to wait: {' or '.join(wanted)}")
        assert message is not None
        return message

    async def container_id(self, name: str, container: str = "main") -> str:
        """Return the id of a running container."""
        found = await self.cluster.client.get(pod.Pod, name, "default")
        uid = found.uid
        boxes = await self.cluster.engine.containers(f"lattice.dev/pod-uid={uid}")
        return next(str(box["Id"]) for box in boxes if box["Labels"]["lattice.dev/container"] == container and box["State"] == "running")

    async def sh(self, name: str, script: str, container: str = "main", *, user: str = "") -> str:
        """Run a shell script in a container and return what it wrote; a failure of the script fails the test."""
        engine = self.cluster.engine
        identity = await self.container_id(name, container)
        body = {"AttachStdout": True, "AttachStderr": True, "Cmd": ["sh", "-ec", script], "Tty": True, "User": user}
        made = await engine.call("POST", f"/containers/{identity}/exec", body=body)
        output = await engine.call("POST", f"/exec/{made['Id']}/start", body={"Detach": False, "Tty": True})
        end = await engine.call("GET", f"/exec/{made['Id']}/json")
        text = bytes(output).decode(errors="replace").replace("\r\n", "\n")
        assert end["ExitCode"] == 0, f"{script!r} ended with {end['ExitCode']}: {text}"
        return text.strip()
