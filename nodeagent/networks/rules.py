"""The packet filter rules that keep Pods out of the provider's own network, as text for ``nft``. Pure.

Called by ``shell.py``. One table of our own (``inet``, so both families), whose chains run before Docker's. They look at one thing only:
packets that come from a bridge of this node's Pods. Those may go

* to the Pod's own bridge, which is its namespace's;
* anywhere, where they answer (``established``, ``related``): a published port, an error message;
* to port 53 of the resolvers that the engine uses, wherever they are;
* to the internet: to no private, link-local or other special address, to no address that is on a cable of this machine (whatever its
  address is, so also a global IPv6 address of the LAN), and to no Pod of another namespace.

The machine itself is reached by none of them, but for that port 53. Everything else is rejected, not dropped: a program learns at once.

Whether a destination is on the cable is asked of the routing decision of each packet: then its next hop is the destination itself. nft
cannot compare two values of a packet, but it can put one into a set and look the other up there. The entry is of this Pod alone, so that
no Pod can make another one's destinations look like neighbours; where the set is full, the packet is rejected.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from nodeagent.networks import plan

SPECIAL_V4: Final = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",
)
"""IANA's registry of special-purpose addresses, those that are not globally reachable, with multicast and what is reserved. The networks
for documentation are left out: nobody has them, but our tests."""
SPECIAL_V6: Final = (
    "::/96",
    "::ffff:0:0/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/32",
    "2002::/16",
    "fc00::/7",
    "fe80::/9",
    "ff00::/8",
)
"""As above; Teredo and 6to4 lead back to IPv4 addresses that the rules could not see, ``fe80::/9`` has the old site-local ones too."""
_NAT64: Final = "64:ff9b::/96"
"""RFC 6052: an IPv4 address in its last 32 bits."""
_NEIGHBOURS: Final = 65535
"""New connections a second, of all Pods, to addresses that are not special."""


def table_name(node_uid: str) -> str:
    """Return the name of the table of a node."""
    return f"lattice_{node_uid[:8]}"


def make_rules(node_uid: str, slots: int, resolvers: Iterable[str]) -> str:
    """Return the input of ``nft -f`` that makes the table anew, in one transaction.

    Args:
        node_uid: identity of the node; agents on one engine have tables of their own.
        slots: how many bridges there can be.
        resolvers: addresses of name servers, of either family.
    """
    table, pods = table_name(node_uid), f'"{plan.bridge_prefix(node_uid)}*"'
    own = ", ".join(f'"{name}" . "{name}"' for name in (plan.bridge_name(node_uid, slot) for slot in range(slots)))
    addresses = sorted({ipaddress.ip_address(text) for text in resolvers}, key=lambda address: (address.version, int(address)))
    v4 = ", ".join(str(address) for address in addresses if address.version == 4)
    v6 = ", ".join(str(address) for address in addresses if address.version == 6)
    names = "".join(
        f"    {family} daddr {{ {those} }} meta l4proto {{ tcp, udp }} th dport 53 accept\n"
        for family, those in (("ip", v4), ("ip6", v6))
        if those
    )
    special_v6 = ", ".join((*SPECIAL_V6, *(_in_nat64(network) for network in SPECIAL_V4)))
    return f"""\
table inet {table}
delete table inet {table}
table inet {table} {{
  set same {{
    type ifname . ifname
    elements = {{ {own} }}
  }}
  set tried4 {{
    type ipv4_addr . ipv4_addr
    flags dynamic, timeout
    timeout 1s
    size {_NEIGHBOURS}
  }}
  set tried6 {{
    type ipv6_addr . ipv6_addr
    flags dynamic, timeout
    timeout 1s
    size {_NEIGHBOURS}
  }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject with icmpx admin-prohibited
  }}
  chain on_cable {{
    meta nfproto ipv4 update @tried4 {{ ip saddr . ip daddr }}
    meta nfproto ipv4 ip saddr . ip daddr != @tried4 goto refuse
    meta nfproto ipv4 ip saddr . rt ip nexthop @tried4 goto refuse
    meta nfproto ipv6 update @tried6 {{ ip6 saddr . ip6 daddr }}
    meta nfproto ipv6 ip6 saddr . ip6 daddr != @tried6 goto refuse
    meta nfproto ipv6 ip6 saddr . rt ip6 nexthop @tried6 goto refuse
  }}
  chain forward {{
    type filter hook forward priority filter - 10; policy accept;
    iifname != {pods} accept
    iifname . oifname @same accept
    ct state established,related accept
    oifname {pods} goto refuse
{names}    ip daddr {{ {", ".join(SPECIAL_V4)} }} goto refuse
    ip6 daddr {{ {special_v6} }} goto refuse
    meta oiftype ether jump on_cable
  }}
  chain input {{
    type filter hook input priority filter - 10; policy accept;
    iifname != {pods} accept
    ct state established,related accept
    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
{names}    goto refuse
  }}
}}
"""


def make_removal(node_uid: str) -> str:
    """Return the input of ``nft -f`` that takes the table away; none is no error."""
    return f"table inet {table_name(node_uid)}\ndelete table inet {table_name(node_uid)}\n"


def _in_nat64(network: str) -> str:
    """Return an IPv4 network as IPv6-only machines reach it through their router."""
    whole = ipaddress.IPv4Network(network)
    base = int(ipaddress.IPv6Network(_NAT64).network_address)
    return str(ipaddress.IPv6Network((base + int(whole.network_address), 96 + whole.prefixlen)))
