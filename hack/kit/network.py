"""The network an engine of ours lives in.

Two dockerds in one network namespace fight: each start flushes the shared iptables chains of the other. So:

* no other dockerd in this namespace: the engine gets a bridge of its own here, and ports published on 127.0.0.1 are
  reachable from every shell;
* another dockerd is here (the user's, or one of ours): the engine gets a network namespace of its own, tied to this
  one by a veth pair. Ports published on 127.0.0.1 exist inside it only; `nsenter --net=…` goes there.

`nsenter`, never `ip netns exec`: the latter remounts /sys, which hides the cgroups from dockerd.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path

from kit.console import HackError, run
from kit.packages import find_program

BRIDGES = ipaddress.ip_network("10.212.0.0/16")
"""Default bridges, a /24 each."""
UPLINKS = ipaddress.ip_network("10.213.0.0/16")
"""Veth pairs between an engine's namespace and ours, a /30 each."""
POOLS = ipaddress.ip_network("10.224.0.0/12")
"""Networks that containers ask for: a /20 each engine, cut by Docker into 64 /26."""
POOL_NETWORK_BITS = 26

CHAINS = ("DOCKER", "DOCKER-ISOLATION-STAGE-1", "DOCKER-ISOLATION-STAGE-2", "DOCKER-USER")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What dockerd is started with.

    Attributes:
        name: Of the bridge, and of the namespace and veth if there are such; 15 characters at most, with a `v`.
        namespace: Its network namespace; None for ours.
        bridge: The default bridge's address.
        pool: Where further networks are taken from.
    """

    name: str
    namespace: Path | None
    bridge: ipaddress.IPv4Interface
    pool: ipaddress.IPv4Network

    def enter(self) -> list[str]:
        """The prefix of a command that shall run where this engine's published ports are."""
        return ["nsenter", f"--net={self.namespace}"] if self.namespace else []


def foreign_engine_here() -> bool:
    """Whether a dockerd runs in our own network namespace."""
    ours = Path("/proc/self/ns/net").readlink()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text().strip() == "dockerd" and (process / "ns/net").readlink() == ours:
                return True
        except OSError:  # it ended while we looked
            continue
    return False


def create(name: str, *, own_namespace: bool) -> Network:
    """Make the bridge, and the namespace if asked. Idempotent for a name."""
    run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
    index = _free_index()
    bridge = ipaddress.ip_interface(f"{BRIDGES[index * 256 + 1]}/24")
    pool = ipaddress.ip_network(f"{POOLS[index * 4096]}/20")
    assert isinstance(bridge, ipaddress.IPv4Interface)
    assert isinstance(pool, ipaddress.IPv4Network)
    network = Network(name=name, namespace=Path("/run/netns") / name if own_namespace else None, bridge=bridge, pool=pool)
    destroy(name)
    if own_namespace:
        _create_namespace(name, outside=UPLINKS[index * 4 + 1], inside=UPLINKS[index * 4 + 2])
    inside = network.enter()
    run([*inside, "ip", "link", "add", name, "type", "bridge"])
    run([*inside, "ip", "addr", "add", str(bridge), "dev", name])
    run([*inside, "ip", "link", "set", name, "up"])
    return network


def _create_namespace(
    name: str,
    *,
    outside: ipaddress.IPv4Address | ipaddress.IPv6Address,
    inside: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    run(["ip", "netns", "add", name])
    run(["ip", "link", "add", f"{name}v", "type", "veth", "peer", "name", "eth0", "netns", name])
    run(["ip", "addr", "add", f"{outside}/30", "dev", f"{name}v"])
    run(["ip", "link", "set", f"{name}v", "up"])
    enter = ["nsenter", f"--net=/run/netns/{name}"]
    for command in (
        "ip link set lo up",
        f"ip addr add {inside}/30 dev eth0",
        "ip link set eth0 up",
        f"ip route add default via {outside}",
        "sysctl -qw net.ipv4.ip_forward=1",
    ):
        run([*enter, *command.split()])
    for rule in _uplink_rules(name):
        run([rule[0], "-w", *rule[1:3], "-I", *rule[3:]])


def _uplink_rules(name: str) -> list[list[str]]:
    """iptables rules of a veth pair, as (program, -t, table, chain, match…)."""
    device = f"{name}v"
    return [
        ["iptables", "-t", "filter", "FORWARD", "-i", device, "-j", "ACCEPT"],
        ["iptables", "-t", "filter", "FORWARD", "-o", device, "-j", "ACCEPT"],
        # NB: only what came in from the namespace and leaves by another device; marked by its addresses.
        ["iptables", "-t", "nat", "POSTROUTING", "-s", str(UPLINKS), "!", "-o", device, "-j", "MASQUERADE"],
    ]


def destroy(name: str) -> None:
    """Remove whatever `create` made under this name; what is not there is no error."""
    for rule in _uplink_rules(name):
        run([rule[0], "-w", *rule[1:3], "-D", *rule[3:]], check=False)
    run(["ip", "link", "delete", f"{name}v"], check=False)
    run(["ip", "link", "delete", name], check=False)
    run(["ip", "netns", "delete", name], check=False)


def remove_docker_rules(name: str) -> None:
    """Take out the iptables rules that a stopped dockerd of our namespace left; Docker itself never does.

    Rules about the bridge `name` go; Docker's shared chains go with them when no other dockerd is here.
    """
    if find_program("iptables") is None:
        return
    last = not foreign_engine_here()
    for table in ("nat", "filter"):
        iptables = ["iptables", "-w", "-t", table]
        rules = [line.split() for line in run([*iptables, "-S"], check=False).stdout.splitlines()]
        for verb, chain, *rest in rules:
            if verb == "-A" and (name in rest or (last and chain not in CHAINS and rest[-1:] and rest[-1] in CHAINS)):
                run([*iptables, "-D", chain, *rest], check=False)
        chains = [chain for verb, chain, *_ in rules if verb == "-N" and chain in CHAINS] if last else []
        for action in ("-F", "-X"):  # all empty before the first is removed: they refer to each other
            for chain in chains:
                run([*iptables, action, chain], check=False)


def _free_index() -> int:
    """The first of 256 slots whose addresses nobody on this machine has."""
    shown = json.loads(run(["ip", "-j", "route", "show", "table", "all"]).stdout or "[]")
    taken = []
    for route in shown:
        try:
            taken.append(ipaddress.ip_network(route.get("dst", ""), strict=False))
        except ValueError:  # "default", or a family of its own
            continue
    for index in range(256):
        wanted = (
            ipaddress.ip_network(f"{BRIDGES[index * 256]}/24"),
            ipaddress.ip_network(f"{POOLS[index * 4096]}/20"),
            ipaddress.ip_network(f"{UPLINKS[index * 4]}/30"),
        )
        if not any(net.version == 4 and net.overlaps(want) for net in taken for want in wanted):
            return index
    raise HackError(f"no free network below {BRIDGES}, {POOLS} and {UPLINKS} on this machine")
