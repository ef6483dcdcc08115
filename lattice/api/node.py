"""Node: a provider's machine. Its agent writes it; the control plane writes taints."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lattice.api import meta, quantity

TaintEffect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class Taint(meta.Model):
    """Keeps Pods away that do not tolerate it."""

    key: str
    """Name of the taint."""
    value: str | None = None
    """Value of the taint."""
    effect: TaintEffect
    """What happens to Pods that do not tolerate it."""
    time_added: meta.Time | None = None
    """When it was added."""


class NodeSpec(meta.Model):
    """Desired state of a Node."""

    unschedulable: bool | None = None
    """If true, no new Pod is bound here (cordon)."""
    taints: meta.AtomicList[Taint] = ()
    """Taints of the Node."""
    provider_id: str | None = Field(default=None, alias="providerID")
    """``lattice://<node uuid>``: the UUID in the agent's data directory, which is the Node's identity. Written by the agent once."""


class NodeAddress(meta.Model):
    """An address of the Node, for information."""

    type: str
    """``Hostname`` or ``InternalIP``."""
    address: str
    """The address."""


class NodeSystemInfo(meta.Model):
    """What runs on the machine."""

    machine_id: str = Field(default="", alias="machineID")
    """Machine id."""
    system_uuid: str = Field(default="", alias="systemUUID")
    """The agent's node UUID."""
    boot_id: str = Field(default="", alias="bootID")
    """Changes at every boot."""
    kernel_version: str = ""
    """Kernel release."""
    os_image: str = ""
    """Name of the operating system."""
    container_runtime_version: str = ""
    """``docker://<version>``."""
    kubelet_version: str = ""
    """Version of the Lattice agent, as ``v<version>-lattice`` (tools show this field)."""
    kube_proxy_version: str = ""
    """Empty: there is no proxy."""
    operating_system: str = ""
    """``linux``."""
    architecture: str = ""
    """``amd64``, ``arm64``."""


class ContainerImage(meta.Model):
    """An image on the Node."""

    names: meta.AtomicList[str] = ()
    """Tags and digests."""
    size_bytes: int | None = None
    """Size in bytes."""


class NodeStatus(meta.Model):
    """Observed state of a Node, written by its agent; ``Ready=Unknown`` by the control plane when the agent is silent."""

    capacity: quantity.ResourceList = Field(default_factory=dict)
    """What the machine offers in all."""
    allocatable: quantity.ResourceList = Field(default_factory=dict)
    """What Pods may use."""
    conditions: Annotated[tuple[NodeCondition, ...], meta.list_map("type")] = ()
    """``Ready`` and others."""
    addresses: Annotated[tuple[NodeAddress, ...], meta.list_map("type")] = ()
    """Addresses, for information."""
    node_info: NodeSystemInfo | None = None
    """What runs on the machine."""
    images: meta.AtomicList[ContainerImage] = ()
    """Images on the machine, the largest 50."""


class NodeCondition(meta.Condition):
    """A condition of a Node."""

    last_heartbeat_time: meta.Time | None = None
    """When the agent last confirmed it (rarely written: the Lease is the heartbeat)."""


class Node(meta.Object):
    """A provider's machine."""

    KIND: ClassVar[str] = "Node"
    PLURAL: ClassVar[str] = "nodes"
    NAMESPACED: ClassVar[bool] = False

    spec: NodeSpec = Field(default_factory=NodeSpec)
    """Desired state."""
    status: NodeStatus = Field(default_factory=NodeStatus)
    """Observed state."""


NodeStatus.model_rebuild()
Node.model_rebuild()
