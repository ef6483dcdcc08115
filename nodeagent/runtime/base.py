"""The runtime: what the agent needs of a container engine, and nothing more.

Two implementations: ``docker.py`` (over ``docker_engine.py``, the only importer of the Docker client) and ``fake.py`` (failures as data).
One contract suite (``tests/contract/test_runtime*.py``) proves both. Values in, values out; every call may raise the errors below and no
other.

Ownership is by container labels (``LABEL_*``). Calls that change something are idempotent: starting what runs, stopping what stopped and
removing what is gone are successes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, NewType, Protocol

from lattice.api.errors import LatticeError
from nodeagent.runtime import streams

ContainerId = NewType("ContainerId", str)

NETWORK_HELPER_IMAGE: Final = "registry.k8s.io/build-image/distroless-iptables:v0.6.5"
"""Has ``nft``, a shell and ``cat``, for the architectures that Kubernetes runs on: what kube-proxy is built on."""

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
LABEL_SANDBOX: Final = "lattice.dev/sandbox"
"""Id of the container whose network this one has joined; absent on one that has its own."""
LABEL_POD_IP: Final = "lattice.dev/pod-ip"

CAPABILITIES: Final = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")
"""What official images need to own their data directory and step down from root. Docker's default has six more (raw sockets, mknod,
chroot, audit, file and process capabilities); none of the images that we test needs them."""
LOG_MAX_SIZE_BYTES: Final = 10 * 1024 * 1024
LOG_MAX_FILES: Final = 3
"""Smaller files lose lines of a burst while a reader follows (measured: 200k x 2 loses half of 30,000 lines, 10m x 3 none)."""

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
    """A mount. ``kind``: ``volume`` (source is a volume name), ``tmpfs``, or ``bind`` (source is a host path, absolute)."""

    kind: str
    target: str
    source: str = ""
    read_only: bool = False
    size_bytes: int | None = None
    """Size of a ``tmpfs``; ``None``: half of the machine's memory."""
    mode: int | None = None
    """Permission bits of the root of a ``tmpfs``; ``None``: 0777 with the sticky bit."""
    copy_image: bool = True
    """An empty ``volume`` gets what the image has at this path, with its owner, when it is first mounted."""
    sub_path: str = ""
    """A directory within a ``volume``, resolved by the engine so that no link leads out of it. Takes version 1.45 of Docker's API."""
    propagation: str | None = None
    """Of a ``bind``: ``rprivate`` (``None``), ``rslave`` or ``rshared``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRequest:
    """Graphics processors for a container: these ``ids``, or ``count`` of any (-1: all)."""

    count: int = 0
    ids: tuple[str, ...] = ()
    driver: str = "nvidia"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerConfig:
    """Everything that makes a container. The defaults isolate: what weakens them is written out by who makes the configuration."""

    name: str
    image: str
    labels: Mapping[str, str]
    # Process
    entrypoint: tuple[str, ...] | None = None
    """``None``: the image's."""
    command: tuple[str, ...] | None = None
    """``None``: the image's, unless ``entrypoint`` is set."""
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    working_dir: str | None = None
    user: str | None = None
    """``uid``, ``uid:gid`` or a name; ``None``: the image's."""
    groups: tuple[str, ...] = ()
    """Supplementary groups, by number."""
    tty: bool = False
    stdin: bool = False
    """Standard input stays open without anybody attached."""
    stdin_once: bool = False
    """Standard input is closed when the first who attached to it goes."""
    init: bool = True
    """A first process that hands signals on and collects orphans."""
    stop_signal: str | None = None
    """Such as ``SIGQUIT``; ``None``: the image's, else SIGTERM."""
    # Files
    mounts: tuple[Mount, ...] = ()
    read_only_root: bool = False
    shm_size_bytes: int | None = None
    # Network
    network: str | None = None
    """Name of a network, ``none``, ``host``, or ``container:<id>``; ``None``: the engine's default bridge."""
    ip: str | None = None
    """Address in ``network``; ``None``: the engine picks one."""
    ipv6: str | None = None
    """IPv6 address in ``network``."""
    network_aliases: tuple[str, ...] = ()
    """Names in ``network``, next to the container's own."""
    ports: tuple[PortBinding, ...] = ()
    hostname: str | None = None
    domainname: str | None = None
    dns_servers: tuple[str, ...] = ()
    dns_searches: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[tuple[str, str], ...] = ()
    """Lines of ``/etc/hosts``: name, address."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    pid_mode: str | None = None
    """``container:<id>``: shares that container's processes."""
    ipc_mode: str | None = None
    """``container:<id>``, ``shareable`` or ``private`` (the engine's default)."""
    # Limits
    cpu_millis: int | None = None
    """Hard quota, thousandths of a core."""
    cpu_shares: int | None = None
    """Weight while cores are short; the engine's default is 1024."""
    memory_bytes: int | None = None
    """Hard limit, without swap."""
    pids_limit: int = 4096
    oom_score_adj: int | None = None
    gpus: GpuRequest | None = None
    log_max_size_bytes: int = LOG_MAX_SIZE_BYTES
    log_max_files: int = LOG_MAX_FILES
    # Rights
    capabilities: tuple[str, ...] = CAPABILITIES
    """All that the container has; without the prefix ``CAP_``."""
    privileged: bool = False
    no_new_privileges: bool = True
    seccomp: str | None = None
    """A profile as JSON, or ``unconfined``; ``None``: the engine's."""
    apparmor: str | None = None
    """Name of a profile, or ``unconfined``; ``None``: the engine's."""


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
    image_digest: str = ""
    """``name@sha256:...`` of its image, where it was pulled from a registry."""
    error: str = ""
    ip: str = ""
    ports: tuple[PortBinding, ...] = ()
    volumes: tuple[str, ...] = ()
    """Names of the Docker volumes it mounts."""
    memory_limited: bool = False
    """It has a memory limit of its own: an end by SIGKILL may be the kernel's."""


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
    exit_code: int | None = None
    """Of a ``die``."""
    at: datetime | None = None
    """When it happened, by the engine's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecResult:
    """The end of a command in a container. Output is cut at 16 KiB."""

    exit_code: int
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStats:
    """Counters of a running container; zeros of one that does not run."""

    cpu_s: float
    """CPU time used since its start, over all cores."""
    memory_bytes: int
    """All memory that is charged to it, with the page cache."""
    working_set_bytes: int
    """What of it cannot be taken away without swapping: without the cache that was not used lately. kubelet's measure."""
    pids: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image on the node."""

    id: str
    names: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDetails:
    """What an image says of itself."""

    id: str
    digests: tuple[str, ...] = ()
    """``name@sha256:...`` for each registry that it was pulled from."""
    size_bytes: int = 0
    user: str = ""
    """``""``: root."""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    working_dir: str = ""
    stop_signal: str = ""
    """``""``: SIGTERM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A bridge network of the engine, ours or not."""

    name: str
    subnets: tuple[str, ...]
    """As ``10.210.0.0/26``, of either family."""
    labels: Mapping[str, str] = field(default_factory=dict)
    bridge: str = ""
    """Name of its interface on the engine's machine, at most 15 characters; empty: the engine chooses it."""


class RuntimeUnavailableError(LatticeError):
    """The engine does not answer. Ask again; conclude nothing about containers."""


class ImageNotFoundError(LatticeError):
    """The image is not on the node (create), or not in its registry, or access is denied (pull)."""


class ImagePullError(LatticeError):
    """The registry could not be reached or failed. Worth another try."""


class RegistryUnavailableError(ImagePullError):
    """The registry did not answer at all."""


class PortTakenError(LatticeError):
    """A host port is in use by another container or a foreign program."""

    def __init__(self, message: str, *, host_port: int | None = None) -> None:
        super().__init__(message)
        self.host_port = host_port


class NameTakenError(LatticeError):
    """A container of this name exists, or a network."""


class SubnetTakenError(LatticeError):
    """Another network of the engine has addresses of this subnet."""


class AddressTakenError(LatticeError):
    """Another container has this address in the network."""


class NetworkGoneError(LatticeError):
    """The network that a container is to be in does not exist (any more)."""


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
        """Start it.

        Raises ``PortTakenError``, ``AddressTakenError``, ``NetworkGoneError``, ``InvalidContainerError``, ``ContainerGoneError``.
        """
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

    def follow_logs(self, container_id: ContainerId, query: streams.LogQuery) -> AsyncGenerator[Sequence[streams.LogEntry]]:
        """Yield a log's entries in order, as many at a time as there are; with ``follow`` until the container ends.

        Raises ``ContainerGoneError``, and ``RuntimeUnavailableError`` when the engine goes away: ask again from the last entry's time.
        """
        ...

    async def open_exec(self, container_id: ContainerId, command: Sequence[str], *, stdin: bool, tty: bool) -> streams.Process:
        """Start a command in a running container. Raises ``ContainerGoneError``, ``RuntimeFailedError`` (it does not run)."""
        ...

    async def open_attach(self, container_id: ContainerId, *, stdin: bool) -> streams.Process:
        """Join the streams of a running container's own program, from now on. Raises as ``open_exec``."""
        ...

    async def connect(self, container_id: ContainerId, port: int) -> streams.Connection:
        """Connect to a TCP port in a running container's network, also to one that listens on its loopback alone.

        Raises ``ContainerGoneError``, ``RuntimeFailedError`` (nothing listens there, or it does not run).
        """
        ...

    async def put_archive(self, container_id: ContainerId, path: str, tar: bytes) -> None:
        """Unpack a tar archive below ``path`` in it (it may be stopped)."""
        ...

    async def pull(self, image: str, *, auth: Mapping[str, str] | None = None, progress: Callable[[int], None] | None = None) -> None:
        """Pull an image. Raises ``ImageNotFoundError``, ``ImagePullError``.

        ``progress`` is called with the size in bytes of what is to be downloaded, as far as it is known; if it raises, the pull ends, the
        engine drops what it has of the image, and the error comes out of here.
        """
        ...

    async def has_image(self, image: str) -> bool:
        """Return whether the image is on the node."""
        ...

    async def inspect_image(self, image: str) -> ImageDetails | None:
        """Return what is known of an image, by any of its names or its id; ``None``: it is not on the node."""
        ...

    async def import_image(self, image: str, tar: bytes, *, entrypoint: Sequence[str]) -> None:
        """Make an image, named ``name:tag``, whose root filesystem is this archive. Another image of the name loses the name."""
        ...

    async def images(self) -> Sequence[Image]:
        """Return the images on the node."""
        ...

    async def remove_image(self, image: str) -> bool:
        """Take a name from an image (or remove it by its id); with its last name it goes. Gone already is a success.

        Returns ``False``, and does nothing, while a container is made from it, running or not, another image builds on it, or (where it was
        named by its id) it has several names.
        """
        ...

    async def stats(self, container_id: ContainerId) -> ContainerStats:
        """Return what a container uses. Costs the engine a few milliseconds. Raises ``ContainerGoneError``."""
        ...

    async def written_bytes(self, container_id: ContainerId) -> int:
        """Return what a container has written: its own layer, and its log as far as that can be seen. The engine looks at each file.

        Raises ``ContainerGoneError``.
        """
        ...

    async def volume_bytes(self, names: Collection[str]) -> Mapping[str, int]:
        """Return the sizes of these volumes; those that are not there or cannot be measured are left out. The engine looks at each file."""
        ...

    async def ensure_volume(self, name: str, *, labels: Mapping[str, str], options: Mapping[str, str] | None = None) -> bool:
        """Make a volume where it does not exist; return whether it was made now.

        ``options`` are those of Docker's local driver: ``type=tmpfs`` makes one in memory, which is there while a container mounts it.
        """
        ...

    async def volume_path(self, name: str) -> str | None:
        """Return the directory on the engine's machine where the data of a volume is; ``None``: there is no such volume."""
        ...

    async def has_volume_sub_paths(self) -> bool:
        """Return whether the engine can mount a directory within a volume (``Mount.sub_path``)."""
        ...

    async def volumes(self, labels: Mapping[str, str]) -> Sequence[str]:
        """Return the names of the volumes with these labels."""
        ...

    async def remove_volume(self, name: str) -> None:
        """Remove a volume and its data. Gone already is a success. Raises ``RuntimeFailedError`` while a container uses it."""
        ...

    async def networks(self, labels: Mapping[str, str] | None = None) -> Sequence[Network]:
        """Return the networks that have subnets, those with all these labels, by name."""
        ...

    async def create_network(self, network: Network) -> None:
        """Make a bridge network. Raises ``NameTakenError``, ``SubnetTakenError``."""
        ...

    async def remove_network(self, name: str) -> None:
        """Remove a network. Gone already is a success. Raises ``RuntimeFailedError`` while a running container is in it."""
        ...

    def events(self) -> AsyncGenerator[RuntimeEvent]:
        """Yield ``EVENT_SUBSCRIBED``, then container events from then on. Raises ``RuntimeUnavailableError`` when the engine goes away."""
        ...

    async def close(self) -> None:
        """Release connections. Idempotent."""
        ...
