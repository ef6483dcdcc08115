"""Ports, names and name lookup."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lattice.api import meta

Protocol = Literal["TCP", "UDP"]
DNSPolicy = Literal["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]


class ContainerPort(meta.Model):
    """A port of a container, published on the node's address ``hostIP`` (default 127.0.0.1)."""

    name: str | None = None
    """Name, unique in the Pod."""
    container_port: int = Field(ge=1, le=65535)
    """Port that the container listens on."""
    host_port: int | None = Field(default=None, ge=0, le=65535)
    """Port on the node. Absent or 0: the agent picks one from its range and keeps it."""
    host_ip: str | None = Field(default=None, alias="hostIP")
    """Address on the node to publish on."""
    protocol: Protocol = "TCP"
    """Protocol."""


class HostAlias(meta.Model):
    """A line of ``/etc/hosts``."""

    ip: str = Field(alias="ip")
    """Address."""
    hostnames: meta.AtomicList[str] = ()
    """Names for it."""


class PodDNSConfigOption(meta.Model):
    """An option of the resolver."""

    name: str | None = None
    """Name, such as ``ndots``."""
    value: str | None = None
    """Value, where the option has one."""


class PodDNSConfig(meta.Model):
    """Name lookup of the Pod, in addition to what ``dnsPolicy`` gives."""

    nameservers: meta.AtomicList[str] = ()
    """Addresses of resolvers; at most 3."""
    searches: meta.AtomicList[str] = ()
    """Search domains; at most 32."""
    options: meta.AtomicList[PodDNSConfigOption] = ()
    """Options of the resolver."""
