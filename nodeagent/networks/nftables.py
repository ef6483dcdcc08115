"""Looks whether the rules of a table are still as they were, without a container: one question to the kernel, less than a millisecond.

Called by ``shell.py``. It takes an agent that may ask (root, or CAP_NET_ADMIN) in the network namespace of the engine's machine; else the
answer is ``None``, and the rules are set again from time to time instead.

Messages as in the kernel's ``include/uapi/linux/netlink.h`` and ``netfilter/nf_tables.h``; all integers in the machine's byte order.
"""

from __future__ import annotations

import hashlib
import socket
import struct
from typing import Final

_NETLINK_NETFILTER: Final = 12
_NFNL_SUBSYS_NFTABLES: Final = 10
_NFT_MSG_GETRULE: Final = 7
_NFPROTO_INET: Final = 1
_NFTA_RULE_TABLE: Final = 1
_NLM_F_REQUEST: Final = 0x01
_NLM_F_DUMP: Final = 0x300
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_BUFFER_BYTES: Final = 1 << 17
_TIMEOUT_S: Final = 1.0


def fingerprint(table: str) -> str | None:
    """Return a digest of the rules of a table of the family ``inet``; empty: it has none; ``None``: they cannot be seen from here.

    A rule that is set again has another handle, and so the table another fingerprint.
    """
    name = table.encode() + b"\0"
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(name), _NFTA_RULE_TABLE) + name + b"\0" * (-len(name) % 4)
    body = struct.pack("=BBH", _NFPROTO_INET, 0, 0) + attribute
    kind = _NFNL_SUBSYS_NFTABLES << 8 | _NFT_MSG_GETRULE
    request = _HEADER.pack(_HEADER.size + len(body), kind, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0) + body
    digest, rules = hashlib.sha256(), 0
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as kernel:
            kernel.settimeout(_TIMEOUT_S)
            kernel.bind((0, 0))
            kernel.send(request)
            while True:
                data = kernel.recv(_BUFFER_BYTES)
                while len(data) >= _HEADER.size:
                    size, kind, *_ = _HEADER.unpack_from(data)
                    payload, data = data[_HEADER.size : size], data[size + (-size % 4) :]
                    if kind == _NLMSG_DONE:
                        return digest.hexdigest() if rules else ""
                    if kind == _NLMSG_ERROR:
                        return None
                    rules += 1
                    digest.update(payload)
    except (OSError, AttributeError, struct.error):  # not allowed, not Linux, not nftables
        return None
