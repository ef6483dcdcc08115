"""The containers of a Pod: which there are, in what role, and how they share one network. Pure.

Used by the Pod's worker. A Pod with one container has no pause container: a start costs 200 to 300 ms on the machines that we measured,
and its only container can hold the network itself. All others have one, which holds the network, the published ports and, where the Pod
asks for it, the processes; their containers join it, and may end and start again without the others noticing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from lattice.api import meta, pod
from nodeagent.blueprint.values import Blueprint
from nodeagent.runtime import base
from nodeagent.runtime.pause import PAUSE_IMAGE
from nodeagent.workloads.actions import PAUSE
from nodeagent.workloads.order import Role

_PAUSE_MEMORY_BYTES: Final = 16 * 1024**2
_PAUSE_USER: Final = "65535:65535"
_PAUSE_PIDS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One container of a Pod's spec."""

    role: Role
    container: pod.Container

    @property
    def name(self) -> str:
        """Its name, unique in the Pod."""
        return self.container.name


def members_of(spec: pod.PodSpec) -> tuple[Member, ...]:
    """Return the containers of a spec in the order of their starts; the pause container, if there is one, first."""
    return tuple(_members(spec))


def _members(spec: pod.PodSpec) -> Iterator[Member]:
    if needs_pause(spec):
        yield Member(role=Role.PAUSE, container=pod.Container(name=PAUSE, image=PAUSE_IMAGE, image_pull_policy="Never"))
    for container in spec.init_containers:
        yield Member(role=Role.SIDECAR if pod.is_sidecar(container) else Role.INIT, container=container)
    for container in spec.containers:
        yield Member(role=Role.APP, container=container)
    for container in spec.ephemeral_containers:
        yield Member(role=Role.EPHEMERAL, container=container)


def needs_pause(spec: pod.PodSpec) -> bool:
    """Return whether a Pod has a pause container. Never changes: ephemeral containers alone can be added to a Pod."""
    return len(spec.containers) + len(spec.init_containers) > 1 or bool(spec.share_process_namespace)


def published_ports(spec: pod.PodSpec) -> tuple[pod.ContainerPort, ...]:
    """Return the ports of all containers of a Pod: they are published where its network is."""
    return tuple(port for member in _members(spec) for port in member.container.ports)


def without_containers(wanted: pod.Pod) -> pod.Pod:
    """Return the Pod as its pause container sees it: with its names and network, without the rights and users of its containers."""
    security = wanted.spec.security_context
    kept = pod.PodSecurityContext(sysctls=security.sysctls) if security is not None and security.sysctls else None
    return meta.changed(wanted, spec=meta.changed(wanted.spec, security_context=kept))


def as_pause(blueprint: Blueprint) -> Blueprint:
    """Return the blueprint of a pause container: it can do nothing but wait."""
    config = replace(
        blueprint.config,
        capabilities=(),
        user=_PAUSE_USER,
        groups=(),
        init=False,
        ipc_mode="shareable",
        memory_bytes=_PAUSE_MEMORY_BYTES,
        cpu_millis=None,
        pids_limit=_PAUSE_PIDS,
        read_only_root=True,
        mounts=(),
        env=(),
    )
    return replace(blueprint, config=config)


def joined(
    config: base.ContainerConfig, to: base.Container, *, is_pause: bool, share_processes: bool, target: base.ContainerId | None = None
) -> base.ContainerConfig:
    """Return the configuration of a container that joins another one's network.

    Args:
        config: as if it had its own.
        to: who holds the network.
        is_pause: whether that is the pause container, whose shared memory is joined too.
        share_processes: whether all containers of the Pod see each other's processes.
        target: a debugging container sees this one's processes.
    """
    processes = target if target is not None else to.id if share_processes and is_pause else None
    return replace(
        config,
        labels={**config.labels, base.LABEL_SANDBOX: to.id},
        network=f"container:{to.id}",
        ip=None,
        ipv6=None,
        network_aliases=(),
        ports=(),
        hostname=None,
        domainname=None,
        dns_servers=(),
        dns_searches=(),
        dns_options=(),
        extra_hosts=(),
        sysctls={},
        shm_size_bytes=None if is_pause else config.shm_size_bytes,
        ipc_mode=f"container:{to.id}" if is_pause else config.ipc_mode,
        pid_mode=None if processes is None else f"container:{processes}",
        init=config.init and processes is None,
    )
