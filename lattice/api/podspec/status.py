"""Observed state of a Pod and of its containers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lattice.api import meta, quantity
from lattice.api.podspec.resources import ResourceRequirements

Phase = Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"]
QOSClass = Literal["Guaranteed", "Burstable", "BestEffort"]


class ContainerStateWaiting(meta.Model):
    """Not started yet."""

    reason: str | None = None
    """Such as ``ContainerCreating``, ``ImagePullBackOff``, ``CrashLoopBackOff``, ``CreateContainerConfigError``."""
    message: str | None = None
    """Sentence for a person."""


class ContainerStateRunning(meta.Model):
    """Running."""

    started_at: meta.Time | None = None
    """Start of the process, as Docker says."""


class ContainerStateTerminated(meta.Model):
    """Ended."""

    exit_code: int = 0
    """Exit code; 128+n for a signal n."""
    signal: int | None = None
    """Signal that ended it."""
    reason: str | None = None
    """``Completed``, ``Error``, ``OOMKilled``."""
    message: str | None = None
    """What the container left as its message, else a sentence for a person."""
    started_at: meta.Time | None = None
    """Start."""
    finished_at: meta.Time | None = None
    """End."""
    container_id: str | None = None
    """``docker://<id>``."""


class ContainerState(meta.Model):
    """Exactly one of the three."""

    waiting: ContainerStateWaiting | None = None
    """Not started yet."""
    running: ContainerStateRunning | None = None
    """Running."""
    terminated: ContainerStateTerminated | None = None
    """Ended."""


class VolumeMountStatus(meta.Model):
    """A volume in a container, as it is mounted."""

    name: str
    """Name of the volume."""
    mount_path: str
    """Path in the container."""
    read_only: bool | None = None
    """Whether writes fail."""
    recursive_read_only: str | None = None
    """Whether mounts below are read-only too."""


class LinuxContainerUser(meta.Model):
    """Who the first process runs as."""

    uid: int
    """Uid."""
    gid: int
    """Gid."""
    supplemental_groups: meta.AtomicList[int] = ()
    """More gids."""


class ContainerUser(meta.Model):
    """Who the first process runs as."""

    linux: LinuxContainerUser | None = None
    """On Linux."""


class ContainerStatus(meta.Model):
    """Observed state of a container."""

    name: str
    """Name of the container."""
    state: ContainerState = Field(default_factory=ContainerState)
    """State."""
    last_state: ContainerState = Field(default_factory=ContainerState)
    """How it ended the last time."""
    ready: bool = False
    """Whether it is ready; for an init container, whether it has completed."""
    restart_count: int = 0
    """How often it was restarted."""
    image: str = ""
    """Image as asked for."""
    image_id: str = ""
    """Id or digest of the image that runs."""
    container_id: str | None = None
    """``docker://<id>``."""
    started: bool | None = None
    """Whether it runs, its postStart hook has ended and its startup probe, if any, has succeeded."""
    allocated_resources: quantity.ResourceList | None = None
    """Reserved on the Node."""
    resources: ResourceRequirements | None = None
    """Requests and limits that hold for the running container."""
    volume_mounts: Annotated[tuple[VolumeMountStatus, ...], meta.list_map("mountPath")] = ()
    """Volumes as they are mounted."""
    user: ContainerUser | None = None
    """Who the first process runs as."""
    stop_signal: str | None = None
    """Signal that stops the container."""


class PodIP(meta.Model):
    """An address of the Pod."""

    ip: str | None = Field(default=None, alias="ip")
    """The address."""


class HostIP(meta.Model):
    """An address of the Node."""

    ip: str | None = Field(default=None, alias="ip")
    """The address."""


class PodStatus(meta.Model):
    """Observed state of a Pod. ``PodScheduled`` is the scheduler's condition; all else is the agent's."""

    phase: Phase | None = None
    """Where in its life the Pod is."""
    conditions: Annotated[tuple[meta.Condition, ...], meta.list_map("type")] = ()
    """``PodScheduled``, ``Initialized``, ``ContainersReady``, ``Ready``."""
    message: str | None = None
    """Why, a sentence."""
    reason: str | None = None
    """Why, for machines."""
    nominated_node_name: str | None = None
    """Node that is made free for the Pod; never set."""
    host_ip: str | None = Field(default=None, alias="hostIP")
    """Address of the Node."""
    host_ips: meta.AtomicList[HostIP] = Field(default=(), alias="hostIPs")
    """The same, as a list."""
    pod_ip: str | None = Field(default=None, alias="podIP")
    """Address of the Pod on the node's bridge; not reachable from other nodes."""
    pod_ips: Annotated[tuple[PodIP, ...], meta.list_map("ip")] = Field(default=(), alias="podIPs")
    """The same, as a list."""
    start_time: meta.Time | None = None
    """When the agent first saw the Pod."""
    init_container_statuses: meta.AtomicList[ContainerStatus] = ()
    """Init containers and sidecars, in the order of the spec."""
    container_statuses: meta.AtomicList[ContainerStatus] = ()
    """Containers."""
    ephemeral_container_statuses: meta.AtomicList[ContainerStatus] = ()
    """Ephemeral containers."""
    qos_class: QOSClass | None = None
    """From requests and limits."""
    resize: str | None = None
    """State of a change of resources; never set."""
    observed_generation: int | None = None
    """Generation of the spec that this status was made from."""
