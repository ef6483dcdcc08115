"""Containers: the main ones, init containers and sidecars, and ephemeral ones for debugging."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lattice.api import meta
from lattice.api.podspec.environment import EnvFromSource, EnvVar
from lattice.api.podspec.network import ContainerPort
from lattice.api.podspec.probes import Lifecycle, Probe
from lattice.api.podspec.resources import ContainerResizePolicy, ResourceRequirements
from lattice.api.podspec.security import SecurityContext
from lattice.api.podspec.volumes import VolumeDevice, VolumeMount

PullPolicy = Literal["Always", "IfNotPresent", "Never"]
TerminationMessagePolicy = Literal["File", "FallbackToLogsOnError"]


class Container(meta.Model):
    """A container of a Pod."""

    name: str = Field(min_length=1)
    """Name, a DNS label, unique in the Pod."""
    image: str | None = None
    """Image reference."""
    command: meta.AtomicList[str] = ()
    """Replaces the image's entrypoint."""
    args: meta.AtomicList[str] = ()
    """Replaces the image's command."""
    working_dir: str | None = None
    """Working directory."""
    ports: Annotated[tuple[ContainerPort, ...], meta.list_map("containerPort", "protocol")] = ()
    """Ports to publish."""
    env: Annotated[tuple[EnvVar, ...], meta.list_map("name")] = ()
    """Environment."""
    env_from: meta.AtomicList[EnvFromSource] = ()
    """Environment from whole objects; ``env`` wins."""
    resources: ResourceRequirements = Field(default_factory=ResourceRequirements)
    """Requests and limits."""
    resize_policy: meta.AtomicList[ContainerResizePolicy] = ()
    """What a change of resources does."""
    restart_policy: Literal["Always"] | None = None
    """For an init container: ``Always`` makes it a sidecar, which starts in its turn and runs as long as the Pod."""
    volume_mounts: Annotated[tuple[VolumeMount, ...], meta.list_map("mountPath")] = ()
    """Volumes in the container."""
    volume_devices: Annotated[tuple[VolumeDevice, ...], meta.list_map("devicePath")] = ()
    """Raw block devices."""
    liveness_probe: Probe | None = None
    """Failure restarts the container."""
    readiness_probe: Probe | None = None
    """Failure makes the Pod not ready."""
    startup_probe: Probe | None = None
    """The other probes wait for its success; failure restarts the container."""
    lifecycle: Lifecycle | None = None
    """Actions at the start and before the stop."""
    termination_message_path: str | None = None
    """File whose content is the message of the container's end; default ``/dev/termination-log``."""
    termination_message_policy: TerminationMessagePolicy | None = None
    """``FallbackToLogsOnError``: the end of the log, where the file is empty and the container failed. Default ``File``."""
    image_pull_policy: PullPolicy | None = None
    """Default ``Always`` for the tag ``latest`` or none, else ``IfNotPresent``."""
    security_context: SecurityContext | None = None
    """Rights."""
    stdin: bool | None = None
    """Whether standard input stays open."""
    stdin_once: bool | None = None
    """Whether standard input is closed when the first attached client leaves."""
    tty: bool | None = None
    """Whether it gets a terminal."""


class EphemeralContainer(Container):
    """A container that is added to a running Pod to look into it. Never restarted, nothing reserved."""

    target_container_name: str | None = None
    """Container whose processes it sees."""


def effective_request(container: Container, resource: str) -> str | None:
    """Return what a container reserves of a resource: its request, else its limit (Kubernetes' defaulting)."""
    return container.resources.requests.get(resource) or container.resources.limits.get(resource)


def is_sidecar(container: Container) -> bool:
    """Return whether an init container runs as long as the Pod."""
    return container.restart_policy == "Always"
