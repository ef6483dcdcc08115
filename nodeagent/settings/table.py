"""The settings of an agent, one row each: where its flag, its environment variable and its place in the file come from. Data only.

From this table are made: the options of ``lattice node`` and of ``python -m nodeagent``, the reading of ``LATTICE_NODE_*`` and of
``node.yaml`` (``reading.py``), and the page ``docs/reference/node-settings.md`` (``reference.py``). To add a setting: a field in
``nodeagent/config.py``, a row here, ``hack/gen``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from nodeagent.settings import values
from nodeagent.settings.values import Kind

ENVIRONMENT_PREFIX: Final = "LATTICE_NODE_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row. ``name`` is the field of :class:`nodeagent.config.AgentConfig`."""

    name: str
    kind: Kind
    help: str
    """One or two sentences; the first is the option's help."""
    default: str = ""
    """What holds if nothing is said, in words, where the field's default does not say it."""

    @property
    def flag(self) -> str:
        """The option: ``--max-pods``. Options that may be given several times are in the singular."""
        return f"--{_SINGULAR.get(self.name, self.name).replace('_', '-')}"

    @property
    def variable(self) -> str:
        """The environment variable: ``LATTICE_NODE_MAX_PODS``."""
        return f"{ENVIRONMENT_PREFIX}{self.name.upper()}"

    @property
    def key(self) -> str:
        """The key in the file: ``maxPods``."""
        return re.sub(r"_([a-z])", lambda found: found[1].upper(), self.name)


_SINGULAR: Final = {
    "labels": "label",
    "publish_addresses": "publish_address",
    "allow_host_paths": "allow_host_path",
    "allowed_capabilities": "allow_capability",
    "images": "image",
}

SECTIONS: Final[dict[str, tuple[Setting, ...]]] = {
    "Who and where": (
        Setting(name="name", kind=values.NODE_NAME, help="Name of the Node.", default="this machine's name"),
        Setting(name="kubeconfig", kind=values.FILE, help="The node's kubeconfig.", default="`$KUBECONFIG`, then `~/.kube/config`"),
        Setting(
            name="data_dir",
            kind=values.DIRECTORY,
            help="The node's identity and last desired state; one agent at a time.",
            default="`~/.local/share/lattice/node`",
        ),
        Setting(
            name="run_dir",
            kind=values.DIRECTORY,
            help="Files of Secret and ConfigMap volumes.",
            default="`/run/lattice/<node uid>` as root, else `run` in the data directory",
        ),
        Setting(
            name="docker_host",
            kind=values.TEXT,
            help="Docker engine, unix:///PATH or tcp://HOST:PORT.",
            default="`$DOCKER_HOST`, then `unix:///var/run/docker.sock`",
        ),
        Setting(
            name="docker_config",
            kind=values.FILE,
            help="Docker's config.json with logins of registries, for all Pods of this node.",
            default="Pods have their own `imagePullSecrets` only",
        ),
        Setting(name="api_socket", kind=values.FILE, help="Unix socket of the local API.", default="`agent.sock` in the data directory"),
        Setting(name="metrics_address", kind=values.HOST_PORT, help="Serve Prometheus metrics here.", default="not served"),
    ),
    "What is offered": (
        Setting(name="cpu", kind=values.QUANTITY, help="Offered cores, such as 2 or 1500m.", default="all that Docker reports"),
        Setting(
            name="memory",
            kind=values.QUANTITY,
            help="Offered memory, such as 4Gi.",
            default="what Docker reports less a tenth, at least 256Mi less",
        ),
        Setting(
            name="disk",
            kind=values.QUANTITY,
            help="Offered disk, such as 50Gi.",
            default="nine tenths of what is free at the first start",
        ),
        Setting(name="max_pods", kind=values.number(0, 1000), help="Most Pods at once."),
        Setting(name="gpus", kind=values.number(0, 64), help="Offered GPUs, as nvidia.com/gpu. Docker needs NVIDIA's runtime for them."),
        Setting(name="labels", kind=values.LABELS, help="A further label of the Node. In the file, a mapping.", default="none"),
    ),
    "Network": (
        Setting(
            name="port_range",
            kind=values.PORT_RANGE,
            help="Automatic host ports, such as 30000-32767.",
            default="as the kernel's own range allows",
        ),
        Setting(name="host_ip", kind=values.ADDRESS, help="Address that the Node and its Pods show as the host's."),
        Setting(
            name="publish_addresses",
            kind=values.ADDRESSES,
            help="Host address on which a Pod may publish ports, besides loopback; 0.0.0.0 stands for all of IPv4, :: for all.",
            default="any that a Pod asks for by `hostIP`",
        ),
        Setting(
            name="isolation",
            kind=values.SWITCH,
            help="Keep Pods out of this machine's own network. Off, the Node shows NetworkIsolated=False.",
        ),
        Setting(name="network_range", kind=values.NETWORK_RANGE, help="Where the networks of namespaces come from, a /26 each or larger."),
        Setting(name="network_helper_image", kind=values.IMAGE, help="Image with nft, for the container that sets the rules."),
    ),
    "What Pods may do": (
        Setting(
            name="allow_host_paths",
            kind=values.HOST_PATHS,
            help="Directory that hostPath volumes may mount, with all below it; read-only unless :rw.",
            default="none",
        ),
        Setting(name="allow_privileged", kind=values.SWITCH, help="Let Pods be privileged: as good as root on this machine."),
        Setting(
            name="allowed_capabilities",
            kind=values.CAPABILITIES,
            help="Capability that Pods may add to the usual ones.",
            default="none",
        ),
        Setting(name="allow_unconfined", kind=values.SWITCH, help="Let Pods switch seccomp off."),
        Setting(
            name="seccomp_dir",
            kind=values.DIRECTORY,
            help="Where profiles of type Localhost are.",
            default="such Pods are refused",
        ),
        Setting(name="pids_limit", kind=values.number(16, 4_000_000), help="Most processes and threads of one container."),
    ),
    "Images, disk, logs": (
        Setting(name="images", kind=values.IMAGES, help="Image to pull ahead and keep.", default="none"),
        Setting(
            name="image_gc_high_percent",
            kind=values.number(1, 100),
            help="Use of Docker's disk above which unused images are removed.",
        ),
        Setting(name="image_gc_low_percent", kind=values.number(0, 99), help="Use of Docker's disk down to which they are removed."),
        Setting(name="disk_reserve", kind=values.SHARE, help="What stays free on Docker's disk: a pull that would cross it is refused."),
        Setting(name="eviction_disk_available", kind=values.SHARE, help="Free disk below which the Node is under DiskPressure."),
        Setting(name="eviction_memory_available", kind=values.SHARE, help="Free memory below which the Node is under MemoryPressure."),
        Setting(name="eviction_pids_available", kind=values.SHARE, help="Free process ids below which the Node is under PIDPressure."),
        Setting(name="log_max_size", kind=values.QUANTITY, help="Size at which a container's log is rotated."),
        Setting(name="log_max_files", kind=values.number(1, 100), help="Log files kept for a container."),
    ),
    "Load": (
        Setting(name="max_parallel_starts", kind=values.number(1, 64), help="Starts of containers at a time."),
        Setting(name="max_parallel_pulls", kind=values.number(1, 64), help="Pulls of images at a time."),
    ),
}
"""In the order in which they are shown."""

SETTINGS: Final[tuple[Setting, ...]] = tuple(row for rows in SECTIONS.values() for row in rows)
