"""The status of the Node object, from what is known of engine, machine and offer. Pure; called by ``node.py``.

Guarantees: an unchanged machine gives an equal status, so that nothing is written; conditions change their time only with their status;
what the engine said last stays while it is away, but for the conditions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lattice.api import conditions, meta, node, quantity
from lattice.version import VERSION
from nodeagent.config import AgentConfig
from nodeagent.facts import Fact
from nodeagent.runtime import base

MAX_IMAGES: Final = 50
"""As kubelet's ``nodeStatusMaxImages``: the largest, so that the object stays small."""
GPU: Final = "nvidia.com/gpu"
_MAX_NAMES: Final = 5
"""Names of one image, as kubelet's."""
_MIB: Final = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the system says of itself, besides the engine."""

    machine_id: str = ""
    boot_id: str = ""
    os_image: str = ""
    disk_bytes: int | None = None
    """Size of the file system that Docker keeps its data on; ``None``: not known."""
    disk_free_bytes: int | None = None
    """What is free there for an ordinary program."""


def ready_fact(unavailable: str) -> Fact:
    """Return the condition Ready. ``unavailable``: why the engine cannot be used, empty if it can."""
    if unavailable:
        message = "Docker does not answer; start it, the agent goes on by itself"
        return Fact(type="Ready", status="False", reason="DockerUnavailable", message=message)
    return Fact(type="Ready", status="True", reason="AgentReady", message="the agent and Docker are running")


def make_status(
    config: AgentConfig,
    node_uid: str,
    info: base.EngineInfo | None,
    machine: Machine,
    images: Sequence[base.Image],
    facts: Iterable[Fact],
    before: node.NodeStatus,
    now: datetime,
) -> node.NodeStatus:
    """Return the whole status.

    Args:
        config: what is offered.
        node_uid: identity of the node.
        info: what the engine says; ``None``: it is away.
        machine: what the system says.
        images: all images of the engine.
        facts: all conditions; types of ``before`` that are not among them are dropped.
        before: the status that was written last.
        now: transition time of what changes now.
    """
    said = [node.NodeCondition(type=fact.type, status=fact.status, reason=fact.reason, message=fact.message) for fact in facts]
    known = {condition.type for condition in before.conditions}
    listed = conditions.merge_conditions(before.conditions, said, now, owned=known)
    if info is None:
        return meta.changed(before, conditions=listed)
    capacity = {"cpu": str(info.cpus), "memory": str(info.memory_bytes), "pods": str(config.max_pods), **_gpus(config)}
    if (disk := _disk_capacity(machine, before)) is not None:
        capacity["ephemeral-storage"] = disk
    return node.NodeStatus(
        capacity=capacity,
        allocatable=_allocatable(config, info, machine, before),
        conditions=listed,
        addresses=(
            node.NodeAddress(type="InternalIP", address=config.host_ip),
            node.NodeAddress(type="Hostname", address=config.name),
        ),
        node_info=node.NodeSystemInfo(
            machine_id=machine.machine_id or node_uid,
            system_uuid=node_uid,
            boot_id=machine.boot_id,
            kernel_version=info.kernel_version,
            os_image=machine.os_image or info.os_image,
            container_runtime_version=f"docker://{info.version}",
            kubelet_version=f"v{VERSION}-lattice",
            operating_system="linux",
            architecture=info.architecture,
        ),
        images=shown_images(images),
    )


def _disk_capacity(machine: Machine, before: node.NodeStatus) -> str | None:
    if machine.disk_bytes is not None:
        return quantity.format_bytes(machine.disk_bytes // _MIB * _MIB)
    return before.capacity.get("ephemeral-storage")


def _gpus(config: AgentConfig) -> dict[str, str]:
    return {GPU: str(config.gpus)} if config.gpus else {}


def _allocatable(config: AgentConfig, info: base.EngineInfo, machine: Machine, before: node.NodeStatus) -> dict[str, str]:
    """Return what Pods may use: what is offered, else all but a reserve for the system itself."""
    reserve = max(256 * _MIB, info.memory_bytes // 10)
    result = {
        "cpu": config.cpu or str(info.cpus),
        "memory": config.memory or quantity.format_bytes((info.memory_bytes - reserve) // _MIB * _MIB),
        "pods": str(config.max_pods),
        **_gpus(config),
    }
    # What is free falls with what Pods write, which is theirs to use: it counts as it was when the node came first.
    disk = config.disk or before.allocatable.get("ephemeral-storage")
    if not disk and machine.disk_free_bytes is not None:
        disk = quantity.format_bytes(machine.disk_free_bytes * 9 // 10 // _MIB * _MIB)
    if disk:
        result["ephemeral-storage"] = disk
    return result


def shown_images(images: Iterable[base.Image]) -> tuple[node.ContainerImage, ...]:
    """Return the images that a status lists: the largest first, those without a name left out."""
    largest = sorted((image for image in images if image.names), key=lambda image: (-image.size_bytes, image.names))[:MAX_IMAGES]
    return tuple(node.ContainerImage(names=image.names[:_MAX_NAMES], size_bytes=image.size_bytes) for image in largest)
