"""Networks of the fake runtime. A part of ``fake.py``."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from nodeagent.runtime import base

DEFAULT_BRIDGE: Final = base.Network(name="bridge", subnets=("172.17.0.0/16",))
_SHARED: Final = ("host", "none", "container:")


class FakeNetworks:
    """What an engine keeps of its networks, and who has which address in them. No I/O."""

    def __init__(self) -> None:
        self._networks: dict[str, base.Network] = {DEFAULT_BRIDGE.name: DEFAULT_BRIDGE}

    def find(self, labels: Mapping[str, str]) -> Sequence[base.Network]:
        """Return the networks with these labels, by name."""

        def has(network: base.Network) -> bool:
            return all(key in network.labels and (not value or network.labels[key] == value) for key, value in labels.items())

        return [self._networks[name] for name in sorted(self._networks) if has(self._networks[name])]

    def add(self, network: base.Network) -> None:
        """See ``Runtime.create_network``."""
        if network.name in self._networks:
            raise base.NameTakenError(f"cannot create network {network.name}: network with name {network.name} already exists")
        for other in self._networks.values():
            if any(ipaddress.ip_network(one).overlaps(ipaddress.ip_network(two)) for one in network.subnets for two in other.subnets):
                raise base.SubnetTakenError(f"cannot create network {network.name}: Pool overlaps with other one on this address space")
        self._networks[network.name] = replace(network, labels=dict(network.labels))

    def remove(self, name: str, used: Iterable[str]) -> bool:
        """See ``Runtime.remove_network``; ``used``: the networks of running containers. Return whether it was there."""
        if name in self._networks and name in used:
            raise base.RuntimeFailedError(f"cannot remove network {name}: error while removing network: it has active endpoints")
        return self._networks.pop(name, None) is not None

    def address(self, config: base.ContainerConfig, taken: Iterable[str]) -> str:
        """Return the address that a container gets when it starts, empty if it has no network of its own.

        Raises:
            base.NetworkGoneError: there is no such network.
            base.AddressTakenError: another container has the address that it asks for.
        """
        name = config.network or DEFAULT_BRIDGE.name
        if name.startswith(_SHARED):
            return ""
        if name not in self._networks:
            raise base.NetworkGoneError(f"cannot start container {config.name}: network {name} not found")
        used = set(taken)
        if config.ip is not None:
            if config.ip in used:
                raise base.AddressTakenError(f"cannot start container {config.name}: Address already in use")
            return config.ip
        hosts = ipaddress.ip_network(self._networks[name].subnets[0]).hosts()
        next(hosts)  # the bridge has the first
        return next(str(host) for host in hosts if str(host) not in used)
