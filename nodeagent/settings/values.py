"""How the value of a setting is written, as text (flag, environment) or as YAML (file): one parser for each type. Pure.

A parser takes what was written and returns the value; what is wrong is a ``ValueError`` whose text completes the sentence
"LATTICE_NODE_CPU='two' …".
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lattice.api import quantity
from nodeagent.config import HostPath
from nodeagent.ports import plan as ports_plan

Parser = Callable[[Any], Any]

_TRUE: Final = ("true", "yes", "on", "1")
_FALSE: Final = ("false", "no", "off", "0")
_NODE_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_LABEL_KEY: Final = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_CAPABILITY: Final = re.compile(r"[A-Z][A-Z_]{1,40}")
_HOST_PORT: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\s\[\]]*):([0-9]{1,5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One type of values."""

    parse: Parser
    shown: str
    """What stands for the value in help and in the documentation; empty for a switch."""
    several: bool = False
    """A list: the flag may be given several times, the environment separates by commas, the file has a list."""
    switch: bool = False
    """A flag without a value, with a ``--no-`` twin."""


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text that is not empty")
    return value


def _path(value: Any) -> Path:
    return Path(_text(value)).expanduser()


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _TRUE + _FALSE:
        return value.lower() in _TRUE
    raise ValueError("must be true or false")


def number(least: int, most: int) -> Kind:
    """Return the type of whole numbers from ``least`` to ``most``."""

    def parse(value: Any) -> int:
        digits = value if isinstance(value, str) else str(value) if type(value) is int else ""
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 12 or not least <= int(digits) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(digits)

    return Kind(parse=parse, shown="NUMBER")


def _quantity(value: Any) -> str:
    text = str(value) if type(value) in (int, float) else _text(value)
    try:
        positive = quantity.parse_quantity(text) > 0
    except ValueError:
        positive = False
    if not positive:
        raise ValueError("must be a quantity above zero, such as 2, 1500m, 512Mi or 50Gi")
    return text


def _share(value: Any) -> str:
    if isinstance(value, str) and value.endswith("%"):
        digits = value[:-1]
        if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,3})?", digits):
            raise ValueError("must be a percentage from 0% to 99%, or a quantity such as 5Gi")
        return value
    if value in (0, "0"):
        return "0"
    try:
        return _quantity(value)
    except ValueError:
        raise ValueError("must be a quantity such as 5Gi, or a percentage such as 5%") from None


def _port_range(value: Any) -> ports_plan.PortRange:
    try:
        return ports_plan.parse_range(_text(value))
    except ValueError:
        raise ValueError("is not FIRST-LAST, two numbers from 1 to 65535 such as 30000-32767") from None


def _address(value: Any) -> str:
    try:
        return str(ipaddress.ip_address(_text(value)))
    except ValueError:
        raise ValueError("must be an IP address, such as 127.0.0.1") from None


def _network_range(value: Any) -> str:
    try:
        network = ipaddress.IPv4Network(_text(value))
    except ValueError:
        raise ValueError("must be an IPv4 range whose host bits are zero, such as 10.210.0.0/16") from None
    if not 8 <= network.prefixlen <= 26:
        raise ValueError("must be a range from /8 to /26: each namespace takes a /26 of it")
    return str(network)


def _host_port(value: Any) -> str:
    found = _HOST_PORT.fullmatch(_text(value))
    if found is None or int(found[2]) > 65535:
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:9465")
    return value if found[1] else f"127.0.0.1:{found[2]}"


def _node_name(value: Any) -> str:
    if not isinstance(value, str) or not _NODE_NAME.fullmatch(value):
        raise ValueError("cannot be a node's name: use lower-case letters, digits, '-' and '.', such as home-server-1")
    return value


def _host_path(value: Any) -> HostPath:
    prefix, _, mode = _text(value).partition(":")
    if mode not in ("", "ro", "rw"):
        raise ValueError("must be /PATH, /PATH:ro or /PATH:rw")
    if not prefix.startswith("/") or posixpath.normpath(prefix) != prefix or prefix.startswith("//"):
        raise ValueError("must be an absolute path without '..' and without a slash at the end, such as /srv/media:ro")
    return HostPath(prefix=prefix, writable=mode == "rw")


def _capability(value: Any) -> str:
    name = _text(value).upper().removeprefix("CAP_")
    if not _CAPABILITY.fullmatch(name):
        raise ValueError("must be the name of a Linux capability, such as NET_ADMIN")
    return name


def _label(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
        raise ValueError("must be KEY=VALUE with a valid label key and value, such as zone=attic")
    return key, value


def _labels(value: Any) -> dict[str, str]:
    if isinstance(value, Mapping):
        return dict(_label(f"{key}={'' if inner is None else inner}") for key, inner in value.items())
    return dict(_label(text) for text in _items(value))


def _items(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, list | tuple):
        return [*value]
    raise ValueError("must be a list")


def several(one: Parser, shown: str) -> Kind:
    """Return the type of lists of what ``one`` parses; doubles are taken once, in the order in which they came."""

    def parse(value: Any) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(one(item) for item in _items(value)))

    return Kind(parse=parse, shown=shown, several=True)


TEXT: Final = Kind(parse=_text, shown="TEXT")
IMAGE: Final = Kind(parse=_text, shown="IMAGE")
FILE: Final = Kind(parse=_path, shown="FILE")
DIRECTORY: Final = Kind(parse=_path, shown="DIRECTORY")
SWITCH: Final = Kind(parse=_boolean, shown="", switch=True)
QUANTITY: Final = Kind(parse=_quantity, shown="QUANTITY")
SHARE: Final = Kind(parse=_share, shown="QUANTITY|PERCENT")
PORT_RANGE: Final = Kind(parse=_port_range, shown="FIRST-LAST")
ADDRESS: Final = Kind(parse=_address, shown="ADDRESS")
NETWORK_RANGE: Final = Kind(parse=_network_range, shown="CIDR")
HOST_PORT: Final = Kind(parse=_host_port, shown="HOST:PORT")
NODE_NAME: Final = Kind(parse=_node_name, shown="NAME")
LABELS: Final = Kind(parse=_labels, shown="KEY=VALUE", several=True)
ADDRESSES: Final = several(_address, "ADDRESS")
HOST_PATHS: Final = several(_host_path, "PATH[:ro|:rw]")
CAPABILITIES: Final = several(_capability, "CAPABILITY")
IMAGES: Final = several(_text, "IMAGE")
