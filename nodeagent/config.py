"""Settings of an agent: built by ``nodeagent.main`` from its command line, or by ``lattice node`` and ``lattice up``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lattice.client import base as client_base
from nodeagent.ports import plan as ports_plan


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
    cpu: str | None = None
    """Quantity offered; ``None``: all that the engine reports."""
    memory: str | None = None
    """Quantity offered; ``None``: what the engine reports less a tenth, at least 256 MiB less, for the system itself."""
    disk: str | None = None
    """Quantity offered as ephemeral storage; ``None``: nine tenths of what is free under Docker's data directory at the start."""
    max_pods: int = 110
    """Kubernetes' default; a bridge network takes about a thousand ports."""
    port_range: ports_plan.PortRange | None = None
    """Where automatic host ports come from; ``None``: as the kernel's own range allows."""
    run_dir: Path | None = None
    """Files of Secret and ConfigMap volumes; ``None``: ``/run/lattice/<node uid>`` as root (a tmpfs), else ``<data dir>/run``."""
    host_ip: str = "127.0.0.1"
    """Address that the Node and its Pods show as the host's."""

    def run_directory(self, node_uid: str) -> Path:
        """Return where the files of Pods go."""
        if self.run_dir is not None:
            return self.run_dir
        return Path("/run/lattice") / node_uid if os.geteuid() == 0 else self.data_dir / "run"
