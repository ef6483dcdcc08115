"""Which host ports a Pod gets. Pure.

Called by the worker of a Pod before it creates a container. An explicit ``hostPort`` is taken as it is, or refused; an automatic one keeps
the number it had (``sticky``), where that is free, else it is the lowest free number of the range. Whether a foreign program listens on a
number is told by ``is_free``, which the caller answers by trying to bind it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from lattice.api import pod
from lattice.api.errors import LatticeError
from nodeagent.runtime import base

LOCALHOST: Final = "127.0.0.1"
WIDE_RANGE: Final = (30000, 40000)
DEFAULT_RANGE: Final = (30000, 32767)
"""Kubernetes' node ports; just below Linux' default of ports for outgoing connections, which begins at 32768."""


class NoPortError(LatticeError):
    """A port cannot be had. The message says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRange:
    """Numbers for automatic ports, both ends included."""

    first: int
    last: int


def default_range(ephemeral_first: int) -> PortRange:
    """Return the range for a kernel that takes ports from ``ephemeral_first`` up for outgoing connections."""
    first, last = WIDE_RANGE if ephemeral_first > WIDE_RANGE[1] else DEFAULT_RANGE
    return PortRange(first=first, last=last)


def parse_range(text: str) -> PortRange:
    """Parse ``30000-32767``.

    Raises:
        ValueError: it is not a range of ports.
    """
    first, _, last = text.partition("-")
    if not (first.isdigit() and last.isdigit() and 1 <= int(first) <= int(last) <= 65535):
        raise ValueError(f"{text!r} is not a port range: write two numbers from 1 to 65535, such as 30000-32767")
    return PortRange(first=int(first), last=int(last))


def allocate(
    wanted: tuple[pod.ContainerPort, ...],
    *,
    sticky: tuple[base.PortBinding, ...],
    reserved: Collection[int],
    ports: PortRange,
    is_free: Callable[[str, int], bool],
) -> tuple[base.PortBinding, ...]:
    """Return the published ports of a container.

    Args:
        wanted: the ports of its spec.
        sticky: what it had before.
        reserved: host ports of other Pods of this node.
        ports: where automatic ones come from.
        is_free: whether an address and number can be bound now.

    Raises:
        NoPortError: an explicit port is taken, or the range is used up.
    """
    had = {(port.container_port, port.protocol, port.host_ip): port.host_port for port in sticky}
    taken = set(reserved) | {port.host_port for port in wanted if port.host_port}
    result = []
    for port in wanted:
        host_ip = port.host_ip or LOCALHOST
        if port.host_port:
            number = port.host_port
            if number in reserved:
                raise NoPortError(f"host port {number} of container port {port.container_port} is in use by another Pod of this node")
            if not is_free(host_ip, number):
                raise NoPortError(f"host port {number} of container port {port.container_port} is in use by another program on this node")
        else:
            number = _automatic(had.get((port.container_port, port.protocol, host_ip)), host_ip, taken, ports, is_free)
            taken.add(number)
        result.append(base.PortBinding(container_port=port.container_port, host_port=number, host_ip=host_ip, protocol=port.protocol))
    return tuple(result)


def _automatic(before: int | None, host_ip: str, taken: set[int], ports: PortRange, is_free: Callable[[str, int], bool]) -> int:
    if before is not None and before not in taken and is_free(host_ip, before):
        return before
    for number in range(ports.first, ports.last + 1):
        if number not in taken and is_free(host_ip, number):
            return number
    raise NoPortError(f"no free host port is left in {ports.first}-{ports.last}")
