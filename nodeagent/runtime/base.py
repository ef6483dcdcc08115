"""The runtime: what the agent needs of a container engine, and nothing more.

Two implementations: ``docker.py`` (the only importer of the Docker client) and ``fake.py`` (failures as data). One contract suite
(``tests/contract/test_runtime.py``) proves both. Values in, values out; every call may raise the errors below and no other.

Ownership is by container labels (``LABEL_*``). Calls that change something are idempotent: starting what runs, stopping what stopped and
removing what is gone are successes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, NewType, Protocol

from lattice.api.errors import LatticeError

ContainerId = NewType("ContainerId", str)

LABEL_NODE: Final = "lattice.dev/node-uid"
LABEL_CLUSTER: Final = "lattice.dev/cluster-id"
LABEL_POD_UID: Final = "lattice.dev/pod-uid"
LABEL_POD_NAME: Final = "lattice.dev/pod-name"
LABEL_POD_NAMESPACE: Final = "lattice.dev/pod-namespace"
LABEL_CONTAINER: Final = "lattice.dev/container"
LABEL_SPEC_HASH: Final = "lattice.dev/spec-hash"
LABEL_RESTARTS: Final = "lattice.dev/restarts"
LABEL_HOST_PORTS: Final = "lattice.dev/host-ports"
LABEL_VOLUME: Final = "lattice.dev/volume"

EVENT_SUBSCRIBED: Final = "subscribed"
"""Action of the first event of every stream: it tells that no event from now on is missed, so that a list made after it has no gap."""


class ContainerState(StrEnum):
    """Docker's container states, reduced to what the plan tells apart."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortBinding:
    """A published port."""

    container_port: int
    host_port: int
    host_ip: str = "127.0.0.1"
    protocol: str = "TCP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A mount. ``kind``: ``volume`` (source is a volume name), ``tmpfs``, or ``bind`` (source is a host path of the agent's own files)."""

    kind: str
    target: str
    source: str = ""
    read_only: bool = False
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerConfig:
    """Everything that makes a container. Equal configs have equal ``spec_hash`` labels."""

    name: str
    image: str
    labels: Mapping[str, str]
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    working_dir: str | None = None
    hostname: str | None = None
    user: str | None = None
    mounts: tuple[Mount, ...] = ()
    ports: tuple[PortBinding, ...] = ()
    cpu_millis: int | None = None
    memory_bytes: int | None = None
    pids_limit: int = 4096
    read_only_root: bool = False
    tty: bool = False
    stdin: bool = False
    cap_add: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """An observed container, ours or not."""

    id: ContainerId
    name: str
    image: str
    image_id: str
    labels: Mapping[str, str]
    state: ContainerState
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    error: str = ""
    ip: str = ""
    ports: tuple[PortBinding, ...] = ()
    volumes: tuple[str, ...] = ()
    """Names of the Docker volumes it mounts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """The engine and its machine."""

    version: str
    os_image: str
    kernel_version: str
    architecture: str
    cpus: int
    memory_bytes: int
    data_root: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeEvent:
    """Something happened to a container (``action``: create, start, die, oom, stop, destroy, pause, unpause …)."""

    container_id: ContainerId
    action: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecResult:
    """The end of a command in a container. Output is cut at 16 KiB."""

    exit_code: int
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image on the node."""

    id: str
    names: tuple[str, ...]
    size_bytes: int


class RuntimeUnavailableError(LatticeError):
    """The engine does not answer. Ask again; conclude nothing about containers."""


class ImageNotFoundError(LatticeError):
    """The image is not on the node (create), or not in its registry, or access is denied (pull)."""


class ImagePullError(LatticeError):
    """The registry could not be reached or failed. Worth another try."""


class PortTakenError(LatticeError):
    """A host port is in use by another container or a foreign program."""

    def __init__(self, message: str, *, host_port: int | None = None) -> None:
        super().__init__(message)
        self.host_port = host_port


class NameTakenError(LatticeError):
    """A container of this name exists."""


class ContainerGoneError(LatticeError):
    """The container does not exist (any more)."""


class InvalidContainerError(LatticeError):
    """The engine refuses this configuration, or the program cannot be started (no such file, no permission)."""


class RuntimeFailedError(LatticeError):
    """Any other failure of the engine; the message is the engine's."""


class Runtime(Protocol):
    """See the module's docstring."""

    async def info(self) -> EngineInfo:
        """Return facts of engine and machine."""
        ...

    async def ping(self) -> None:
        """Return if the engine answers, else raise ``RuntimeUnavailableError``."""
        ...

    async def list(self, labels: Mapping[str, str] | None = None) -> Sequence[Container]:
        """Return containers in any state, those with all these labels (a value of "" means: the label exists)."""
        ...

    async def inspect(self, container_id: ContainerId) -> Container:
        """Return one container. Raises ``ContainerGoneError``."""
        ...

    async def create(self, config: ContainerConfig) -> ContainerId:
        """Make a container without starting it. Raises ``ImageNotFoundError``, ``NameTakenError``, ``InvalidContainerError``."""
        ...

    async def start(self, container_id: ContainerId) -> None:
        """Start it. Raises ``PortTakenError``, ``InvalidContainerError``, ``ContainerGoneError``."""
        ...

    async def stop(self, container_id: ContainerId, *, grace_s: int) -> None:
        """Send the stop signal, after ``grace_s`` seconds SIGKILL, and wait for the end."""
        ...

    async def remove(self, container_id: ContainerId) -> None:
        """Remove it, running or not, with its anonymous volumes, never with named ones."""
        ...

    async def exec(self, container_id: ContainerId, command: Sequence[str], *, timeout_s: float) -> ExecResult:
        """Run a command in it. Raises ``TimeoutError`` after ``timeout_s``."""
        ...

    async def logs(self, container_id: ContainerId, *, tail: int) -> str:
        """Return its last lines, standard output and error together, at most 64 KiB."""
        ...

    async def put_archive(self, container_id: ContainerId, path: str, tar: bytes) -> None:
        """Unpack a tar archive below ``path`` in it (it may be stopped)."""
        ...

    async def pull(self, image: str, *, auth: Mapping[str, str] | None = None) -> None:
        """Pull an image. Raises ``ImageNotFoundError``, ``ImagePullError``."""
        ...

    async def has_image(self, image: str) -> bool:
        """Return whether the image is on the node."""
        ...

    async def images(self) -> Sequence[Image]:
        """Return the images on the node."""
        ...

    async def ensure_volume(self, name: str, *, labels: Mapping[str, str]) -> None:
        """Make a volume where it does not exist."""
        ...

    async def volumes(self, labels: Mapping[str, str]) -> Sequence[str]:
        """Return the names of the volumes with these labels."""
        ...

    async def remove_volume(self, name: str) -> None:
        """Remove a volume and its data. Gone already is a success. Raises ``RuntimeFailedError`` while a container uses it."""
        ...

    def events(self) -> AsyncGenerator[RuntimeEvent]:
        """Yield ``EVENT_SUBSCRIBED``, then container events from then on. Raises ``RuntimeUnavailableError`` when the engine goes away."""
        ...

    async def close(self) -> None:
        """Release connections. Idempotent."""
        ...
