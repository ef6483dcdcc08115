"""Which subnet a namespace gets, and which address a Pod. Pure.

Called by ``shell.py``. The range of the settings is cut into subnets of one size. Bridges have numbered names, so that the packet filter
rules (``rules.py``) can name all bridges of this node before any of them exists.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from typing import Final

from lattice.api.errors import LatticeError

MAX_SLOTS: Final = 1024
"""Networks of one node at a time; a /16 has as many /26. The rules name every one of them."""
_LARGEST_PREFIX: Final = 26
_NOT_FOR_PODS: Final = 3
"""Addresses of a subnet that no Pod can have: its own, the bridge's, and the broadcast address."""
_PREFIX_OF_WIDE_ROUTES: Final = 8
"""A route to more than this is a default route in pieces (a VPN's 0.0.0.0/1), not a network of addresses that are in use."""


class NoSubnetError(LatticeError):
    """The range has no subnet that is free."""


class NoAddressError(LatticeError):
    """The network of a namespace has no address left."""


def prefix_for(max_pods: int) -> int:
    """Return the prefix length of the networks: a /26, or larger where all Pods of the node could be in one namespace."""
    return min(_LARGEST_PREFIX, 32 - (max_pods + _NOT_FOR_PODS - 1).bit_length())


def bridge_prefix(node_uid: str) -> str:
    """Return what the names of the bridges of a node begin with, and of no other interface."""
    return f"lt{node_uid[:8]}"


def bridge_name(node_uid: str, slot: int) -> str:
    """Return the name of a bridge; the kernel allows 15 characters."""
    return f"{bridge_prefix(node_uid)}{slot:04x}"


def network_name(node_uid: str, namespace: str) -> str:
    """Return the name of the Docker network of a namespace."""
    return f"lattice-{node_uid[:8]}-{namespace}"


def slot_count(network_range: str, prefix: int) -> int:
    """Return how many networks a node can have."""
    return min(MAX_SLOTS, 1 << max(0, prefix - ipaddress.IPv4Network(network_range).prefixlen))


def choose_bridge(node_uid: str, slots: int, used: Collection[str]) -> str:
    """Return the first name of a bridge that no network has.

    Raises:
        NoSubnetError: this node has as many networks as it can.
    """
    for slot in range(slots):
        if (name := bridge_name(node_uid, slot)) not in used:
            return name
    raise NoSubnetError(f"this node has networks for {slots} namespaces already, and --network-range has room for no more")


def choose_subnet(network_range: str, prefix: int, taken: Iterable[str]) -> str:
    """Return the lowest subnet of the range that nobody has.

    Args:
        network_range: such as ``10.210.0.0/16``.
        prefix: length of the subnet's prefix.
        taken: subnets of the engine's networks and of the machine's routes, of either family.

    Raises:
        NoSubnetError: all of them overlap one of ``taken``.
    """
    whole = ipaddress.IPv4Network(network_range)
    used = [network for text in taken if isinstance(network := ipaddress.ip_network(text, strict=False), ipaddress.IPv4Network)]
    used = [network for network in used if network.prefixlen >= _PREFIX_OF_WIDE_ROUTES and network.overlaps(whole)]
    size = 2 ** (32 - prefix)
    for slot in range(slot_count(network_range, prefix)):
        subnet = ipaddress.IPv4Network((int(whole.network_address) + slot * size, prefix))
        if not any(subnet.overlaps(other) for other in used):
            return str(subnet)
    in_the_way = ", ".join(sorted({str(network) for network in used})[:3])
    raise NoSubnetError(
        f"no free /{prefix} is left in the network range {network_range} (in use on this machine: {in_the_way}); "
        "give the agent another one with --network-range"
    )


def choose_address(subnet: str, taken: Collection[str], *, before: Iterable[str], last: str = "") -> str:
    """Return an address for a Pod.

    Args:
        subnet: of its namespace's network.
        taken: addresses of other Pods.
        before: what the Pod had or is said to have, the likeliest first; taken again if it is free.
        last: what was given last: the search goes on from there, so that an address rests before another Pod has it.

    Raises:
        NoAddressError: none is left.
    """
    network = ipaddress.IPv4Network(subnet)
    first, end = int(network.network_address) + 2, int(network.broadcast_address)  # the bridge has the first one
    for text in before:
        if text and text not in taken and _is_address(text) and first <= int(ipaddress.ip_address(text)) < end:
            return text
    start = first
    if _is_address(last) and first <= int(ipaddress.ip_address(last)) < end:
        start = int(ipaddress.ip_address(last)) + 1
    for number in (*range(start, end), *range(first, start)):
        address = str(ipaddress.IPv4Address(number))
        if address not in taken:
            return address
    raise NoAddressError(f"the network {subnet} of this namespace has no address left for another Pod on this node")


def _is_address(text: str) -> bool:
    try:
        return isinstance(ipaddress.ip_address(text), ipaddress.IPv4Address)
    except ValueError:
        return False
