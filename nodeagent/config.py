"""Settings of an agent as values. Read from flags, environment and file by ``nodeagent.settings``, or built by a test.

Each field but ``transport`` and ``sources`` has a row in ``nodeagent/settings/table.py`` that says how it is written; a test holds
the two together.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lattice.api import quantity
from lattice.client import base as client_base
from nodeagent.ports import plan as ports_plan
from nodeagent.runtime import base

API_SOCKET_NAME = "agent.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPath:
    """A directory of this machine that Pods may mount, with everything below it."""

    prefix: str
    """Absolute and normal: no ``..``, no doubled or trailing slash."""
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """See the fields."""

    name: str
    """Name of the Node object."""
    data_dir: Path
    """Identity, cluster mark and last desired set; one agent at a time."""
    kubeconfig: Path | None = None
    """How to reach the API server; not needed with ``transport``."""
    transport: client_base.Transport | None = None
    """A ready transport, for one process that is both halves (``lattice up``) and for tests. The agent does not close it."""
    docker_host: str | None = None
    """``unix:///path`` or ``tcp://host:port``; ``None``: ``$DOCKER_HOST``, then the usual socket."""
    docker_config: Path | None = None
    """Docker's ``config.json`` with the provider's own registry logins; ``None``: Pods use their own ``imagePullSecrets`` only."""

    cpu: str | None = None
    """Quantity offered; ``None``: all that the engine reports."""
    memory: str | None = None
    """Quantity offered; ``None``: what the engine reports less a tenth, at least 256 MiB less, for the system itself."""
    disk: str | None = None
    """Quantity offered as ephemeral storage; ``None``: nine tenths of what is free under Docker's data directory at the start."""
    max_pods: int = 110
    """Kubernetes' default; a bridge network takes about a thousand ports."""
    gpus: int = 0
    """GPUs offered, as the extended resource ``nvidia.com/gpu``. None unless said: Docker does not report them."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Further labels of the Node."""

    port_range: ports_plan.PortRange | None = None
    """Where automatic host ports come from; ``None``: as the kernel's own range allows."""
    host_ip: str = "127.0.0.1"
    """Address that the Node and its Pods show as the host's."""
    publish_addresses: tuple[str, ...] = ()
    """Host addresses on which a Pod's ``hostIP`` may publish a port besides 127.0.0.1; empty: any that the Pod asks for."""
    isolation: bool = True
    """Keep Pods out of the provider's own network. Off only where the rules cannot be set (rootless) or need not be; the Node says so."""
    network_range: str = "10.210.0.0/16"
    """Where the networks of the namespaces come from: a /26 each, or what it takes for ``max_pods`` in one namespace (110: a /25)."""
    network_helper_image: str = base.NETWORK_HELPER_IMAGE
    """Image with ``nft``, for the short-lived container that sets the rules."""

    allow_host_paths: tuple[HostPath, ...] = ()
    """What ``hostPath`` volumes may mount; nothing unless said."""
    allow_privileged: bool = False
    """Whether Pods may be privileged: such a Pod is as good as root on this machine."""
    allowed_capabilities: tuple[str, ...] = ()
    """Capabilities that Pods may add to the usual ones, without ``CAP_``."""
    allow_unconfined: bool = False
    """Whether Pods may switch seccomp off."""
    seccomp_dir: Path | None = None
    """Where ``seccompProfile`` of type Localhost finds its files; ``None``: such Pods are refused."""
    pids_limit: int = 4096
    """Most processes and threads of one container."""

    images: tuple[str, ...] = ()
    """Images pulled ahead and kept."""
    image_gc_high_percent: int = 85
    """Use of Docker's disk above which unused images are removed. Kubernetes' default."""
    image_gc_low_percent: int = 80
    """Use of Docker's disk down to which they are removed. Kubernetes' default."""
    disk_reserve: str = "5%"
    """What stays free on Docker's disk, a quantity or a percentage: a pull that would cross it is refused."""
    eviction_disk_available: str = "5%"
    """Free disk below which the Node is under DiskPressure, a quantity or a percentage."""
    eviction_memory_available: str = "100Mi"
    """Free memory below which the Node is under MemoryPressure, a quantity or a percentage. Kubernetes' default."""
    eviction_pids_available: str = "5%"
    """Free process ids below which the Node is under PIDPressure, a number or a percentage."""
    log_max_size: str = "10Mi"
    """Size at which a container's log is rotated. Smaller ones lose lines of a burst while they are followed (measured)."""
    log_max_files: int = 3
    """How many of them are kept for a container."""
    max_parallel_starts: int = 4
    """Starts of containers at a time: more only lengthen the queue inside Docker (measured)."""
    max_parallel_pulls: int = 3
    """Pulls of images at a time: more share the same line."""

    run_dir: Path | None = None
    """Files of Secret and ConfigMap volumes; ``None``: ``/run/lattice/<node uid>`` as root (a tmpfs), else ``<data dir>/run``."""
    api_socket: Path | None = None
    """The local API's Unix socket; ``None``: ``agent.sock`` in the data directory."""
    metrics_address: str | None = None
    """``HOST:PORT`` for Prometheus; ``None``: no such port is opened."""

    sources: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Setting to who said it: ``flag --cpu``, ``LATTICE_NODE_CPU`` or ``<file>: cpu``. For people; nothing depends on it."""

    def run_directory(self, node_uid: str) -> Path:
        """Return where the files of Pods go."""
        if self.run_dir is not None:
            return self.run_dir
        return Path("/run/lattice") / node_uid if os.geteuid() == 0 else self.data_dir / "run"

    def socket_path(self) -> Path:
        """Return where the local API listens."""
        return self.api_socket or self.data_dir / API_SOCKET_NAME

    def log_max_size_bytes(self) -> int:
        """Return the size at which a log is rotated."""
        return quantity.to_units(self.log_max_size)


def amount_of(text: str, total: int) -> int:
    """Return what a quantity or a percentage is of ``total``, in whole units: ``5%`` of 200 is 10, ``1Ki`` is 1024 of anything."""
    if text.endswith("%"):
        return int(float(text[:-1]) * total / 100)
    return quantity.to_units(text)
