"""What the engine's machine says of its network: routes and resolvers, read out of the kernel's and the resolver's own files. Pure.

The texts come from the helper container (``helper.py``), which sees them as the engine does; an agent may run elsewhere.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass
from typing import Final

ROUTES: Final = "/proc/net/route"
RESOLVERS: Final = "/etc/resolv.conf"
STUB_RESOLVERS: Final = "/run/systemd/resolve/resolv.conf"
"""What the engine reads instead where ``/etc/resolv.conf`` names a server on the loopback interface only, as systemd-resolved's does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """See the fields."""

    routes: tuple[str, ...] = ()
    """Networks that the machine has a route to, but the default one."""
    resolvers: tuple[str, ...] = ()
    """Addresses of name servers that containers ask, wherever they are. None on the loopback interface: the engine asks those itself."""


def parse_routes(text: str, *, but: str = "") -> tuple[str, ...]:
    """Parse ``/proc/net/route``: numbers in hexadecimal, in the byte order of the machine.

    Args:
        text: the file.
        but: routes to interfaces whose name begins with this are left out.
    """
    found = set()
    for line in text.splitlines():
        fields = line.split()
        if but and fields and fields[0].startswith(but):
            continue
        try:
            destination, mask = (socket.inet_ntoa(struct.pack("<L", int(fields[index], 16))) for index in (1, 7))
            network = ipaddress.IPv4Network(f"{destination}/{mask}")
        except (ValueError, IndexError, struct.error):  # the header
            continue
        if network.prefixlen:
            found.add(network)
    return tuple(str(network) for network in sorted(found))


def parse_resolvers(text: str) -> tuple[str, ...]:
    """Parse ``resolv.conf``: the servers that are not on the loopback interface, in their order."""
    found: dict[str, None] = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[0] == "nameserver":
            try:
                address = ipaddress.ip_address(fields[1].partition("%")[0])
            except ValueError:
                continue
            if not address.is_loopback:
                found[str(address)] = None
    return tuple(found)
