"""The owner's rule on which addresses of the machine Pods may publish ports. Pure; one of ``Tools.holds``."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Final

from lattice.api import pod
from nodeagent.workloads.actions import Wait
from nodeagent.workloads.seams import Holds

REASON: Final = "HostAddressNotAllowed"
_ALL_IPV4: Final = "0.0.0.0"  # noqa: S104 - compared, not bound
_ALL: Final = "::"
_LOOPBACK: Final = ("127.0.0.1", "::1")


def address_rule(allowed: Collection[str]) -> Holds:
    """Return what holds a Pod that asks for an address which is not allowed.

    Args:
        allowed: the setting ``publishAddresses``; empty: any. Loopback always is; ``0.0.0.0``: all of IPv4, ``::``: all.
    """
    known = {_plain(text) for text in (*allowed, *_LOOPBACK)}

    def hold(wanted: pod.Pod) -> Wait | None:
        if not allowed:
            return None
        for container in (*wanted.spec.init_containers, *wanted.spec.containers):
            for port in container.ports:
                if port.host_ip and not _allows(_plain(port.host_ip), known):
                    text = (
                        f"the owner of this machine does not let Pods publish ports on {port.host_ip}, as container {container.name} asks"
                    )
                    return Wait(reason=REASON, message=text)
        return None

    return hold


def _plain(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def _allows(address: str, known: Collection[str]) -> bool:
    return address in known or _ALL in known or (_ALL_IPV4 in known and ":" not in address)
