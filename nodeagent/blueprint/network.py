"""Names, resolvers and kernel parameters of the container that has the Pod's network: its only one, or the pause container. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lattice.api import pod
from nodeagent.blueprint.values import ConfigError

_MAX_HOSTNAME: Final = 63
"""Of the kernel; Kubernetes cuts a Pod's name there too."""
SAFE_SYSCTLS: Final = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    }
)
"""Kubernetes' safe set: each has a namespace of its own and cannot hurt a neighbour (kubernetes.io, "Using sysctls in a cluster", 1.32)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Names as a container's configuration says them."""

    hostname: str | None = None
    domainname: str | None = None
    dns_servers: tuple[str, ...] = ()
    dns_searches: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[tuple[str, str], ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)


def hostname_of(wanted: pod.Pod) -> str:
    """Return the Pod's hostname: as written, else its name, cut to what the kernel takes."""
    return (wanted.spec.hostname or wanted.name)[:_MAX_HOSTNAME].rstrip(".-")


def make_names(wanted: pod.Pod) -> Names:
    """Return the names of a Pod.

    Raises:
        ConfigError: a sysctl is not safe.
    """
    spec = wanted.spec
    name = hostname_of(wanted)
    config = spec.dns_config or pod.PodDNSConfig()
    options = tuple(option.name + (f":{option.value}" if option.value else "") for option in config.options if option.name)
    return Names(
        hostname=name,
        domainname=spec.subdomain,
        dns_servers=tuple(config.nameservers),
        dns_searches=tuple(config.searches),
        dns_options=options,
        extra_hosts=tuple((host, alias.ip) for alias in spec.host_aliases for host in alias.hostnames),
        sysctls=_sysctls(wanted),
    )


def _sysctls(wanted: pod.Pod) -> dict[str, str]:
    asked = wanted.spec.security_context.sysctls if wanted.spec.security_context else ()
    for sysctl in asked:
        if sysctl.name.replace("/", ".") not in SAFE_SYSCTLS:
            text = f"sysctl {sysctl.name!r} is not in the safe set, and could reach other Pods: see the Pod reference"
            raise ConfigError("SysctlForbidden", text)
    return {sysctl.name.replace("/", "."): sysctl.value for sysctl in asked}
