"""Host ports of this node: who has which, and whether a foreign program listens. State in memory, rebuilt from the containers' labels."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

from lattice.api import pod
from nodeagent.ports import plan
from nodeagent.runtime import base

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def range_of_this_machine() -> plan.PortRange:
    """Return the default range, which stays clear of the kernel's ports for outgoing connections."""
    try:
        return plan.default_range(int(_EPHEMERAL.read_text().split()[0]))
    except (OSError, ValueError, IndexError):
        return plan.default_range(0)


def can_bind(host_ip: str, number: int) -> bool:
    """Return whether nobody listens on an address and port now. Docker's own proxy for a published port counts as somebody."""
    family = socket.AF_INET6 if ":" in host_ip else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Docker does: connections that linger do not count
        try:
            probe.bind((host_ip, number))
        except OSError:
            return False
    return True


class Ports:
    """Reservations by Pod uid. Reserving is synchronous: two workers cannot get one number."""

    def __init__(self, ports: plan.PortRange) -> None:
        self._range = ports
        self._by_pod: dict[str, tuple[base.PortBinding, ...]] = {}
        self._refused: set[int] = set()
        """Numbers that Docker refused although they could be bound: held by something that this network namespace does not show."""

    def adopt(self, pod_uid: str, ports: tuple[base.PortBinding, ...]) -> None:
        """Note what a container that was found has."""
        if ports:
            self._by_pod[pod_uid] = ports

    def of(self, pod_uid: str) -> tuple[base.PortBinding, ...]:
        """Return the ports of a Pod."""
        return self._by_pod.get(pod_uid, ())

    def reserve(
        self, pod_uid: str, wanted: tuple[pod.ContainerPort, ...], sticky: tuple[base.PortBinding, ...]
    ) -> tuple[base.PortBinding, ...]:
        """Choose and reserve ports.

        Raises:
            plan.NoPortError: one cannot be had.
        """
        others = {port.host_port for uid, held in self._by_pod.items() if uid != pod_uid for port in held}
        explicit = {port.host_port for port in wanted if port.host_port}
        chosen = plan.allocate(
            wanted,
            sticky=self.of(pod_uid) or sticky,
            reserved=others | (self._refused - explicit),
            ports=self._range,
            is_free=can_bind,
        )
        self._by_pod[pod_uid] = chosen
        return chosen

    def refuse(self, number: int | None) -> None:
        """Never choose this number again: Docker could not publish it."""
        if number is not None:
            self._refused.add(number)

    def free(self, pod_uid: str) -> None:
        """Give the ports of a Pod back."""
        self._by_pod.pop(pod_uid, None)
