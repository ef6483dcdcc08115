"""Functions that Kubernetes adds to CEL and cel-cpp lacks: lists, sets, regular expressions, URLs, addresses, quantities, versions.

Plain Python over JSON values. A value of one of Kubernetes' own types (a quantity, an address) is a map with one entry under the type's
name, in canonical form, so equal values are equal. A wrong argument raises ``ValueError``; its text is what the rule's author sees.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal
from urllib.parse import parse_qs, urlsplit

from controller.apiserver.structural import patterns
from lattice.api import quantity

Kind = Literal["any", "bool", "int", "double", "string", "list", "map"]
_QUANTITY: Final = "kubernetes.Quantity"
_URL: Final = "kubernetes.URL"
_IP: Final = "net.IP"
_CIDR: Final = "net.CIDR"
_SEMVER: Final = "kubernetes.Semver"
_MAX_TEXT: Final = 1024
"""Longer texts are no quantity, URL, address or version."""
_SEMVER_FORM: Final = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Function:
    """One overload."""

    name: str
    overload: str
    parameters: tuple[Kind, ...]
    result: Kind
    call: Callable[..., Any]
    member: bool


def _plain(value: Any) -> Any:
    """Return a value as it came from cel-cpp, whose lists and maps hold wrapped values, as Python has it."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_plain(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (str, bytes, bool, int, float)) or value is None:
        return value
    unwrap = getattr(value, "plain_value", None)
    return unwrap() if unwrap is not None else value


def _typed(value: Any, name: str) -> Any:
    found = _plain(value)
    if not isinstance(found, dict) or name not in found:
        raise ValueError("no such overload")
    return found[name]


def _short(text: str, what: str) -> str:
    if len(text) > _MAX_TEXT:
        raise ValueError(f"{what} is longer than {_MAX_TEXT} characters")
    return text


def _can(call: Callable[[str], Any]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            call(text)
        except ValueError:
            return False
        return True

    return check


# Lists


def _key(value: Any) -> Any:
    return value if not isinstance(value, (list, dict)) else repr(value)


def _is_sorted(items: Any) -> bool:
    values = [_key(item) for item in _plain(items)]
    return all(not later < earlier for earlier, later in itertools.pairwise(values))


def _sum(items: Any) -> Any:
    values = _plain(items)
    if not values:
        return 0
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        raise ValueError("no such overload")
    return sum(values)


def _least(items: Any) -> Any:
    values = _plain(items)
    if not values:
        raise ValueError("min called on empty list")
    return min(values, key=_key)


def _greatest(items: Any) -> Any:
    values = _plain(items)
    if not values:
        raise ValueError("max called on empty list")
    return max(values, key=_key)


def _contains(left: Any, right: Any) -> bool:
    values = _plain(left)
    return all(item in values for item in _plain(right))


def _intersects(left: Any, right: Any) -> bool:
    values = _plain(left)
    return any(item in values for item in _plain(right))


# Regular expressions


def _find(text: str, pattern: str) -> str:
    found = patterns.compile_pattern(pattern).search(text)
    return found.group(0) if found is not None else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = [match.group(0) for match in patterns.compile_pattern(pattern).finditer(text)]
    return found if limit < 0 else found[:limit]


# URLs


def _url(text: str) -> dict[str, str]:
    _short(text, "URL")
    if any(ord(c) <= 0x20 or ord(c) == 0x7F for c in text):
        raise ValueError(f"URL parse error during conversion from string: parse {text!r}: invalid character in URL")
    parts = urlsplit(text)
    parts.port  # noqa: B018 - raises on a bad port
    if not parts.scheme and not text.startswith("/"):
        raise ValueError(f"URL parse error during conversion from string: parse {text!r}: invalid URI for request")
    return {_URL: text}


def _url_part(part: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: part(urlsplit(_typed(value, _URL)))


def _port(parts: Any) -> str:
    return "" if parts.port is None else str(parts.port)


# Addresses


def _ip(text: str) -> dict[str, str]:
    if "%" in text or len(text) > _MAX_TEXT:
        raise ValueError(f"IP Address with zone value is not allowed: {text[:_MAX_TEXT]!r}")
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise ValueError(f"IP Address {text!r} parse error during conversion from string") from error
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise ValueError(f"IPv4-mapped IPv6 address {text!r} is not allowed")
    return {_IP: str(address)}


def _address(value: Any) -> Any:
    return ipaddress.ip_address(_typed(value, _IP))


def _cidr(text: str) -> dict[str, str]:
    address, slash, length = text.partition("/")
    if not slash or not length.isascii() or not length.isdigit() or len(text) > _MAX_TEXT:
        raise ValueError(f"network address parse error during conversion from string: {text[:_MAX_TEXT]!r}")
    _ip(address)
    return {_CIDR: str(ipaddress.ip_interface(text))}


def _network(value: Any) -> Any:
    return ipaddress.ip_interface(_typed(value, _CIDR))


def _contains_ip(value: Any, other: Any) -> bool:
    address = ipaddress.ip_address(_ip(other)[_IP]) if isinstance(other, str) else _address(other)
    return address in _network(value).network


def _contains_cidr(value: Any, other: Any) -> bool:
    mine = _network(value).network
    found = ipaddress.ip_interface(_cidr(other)[_CIDR]).network if isinstance(other, str) else _network(other).network
    return mine.version == found.version and found.subnet_of(mine)


# Quantities


def _quantity(text: str) -> dict[str, str]:
    return _of_amount(quantity.parse_quantity(text))


def _of_amount(amount: Fraction) -> dict[str, str]:
    return {_QUANTITY: str(amount)}


def _amount(value: Any) -> Fraction:
    return Fraction(_short(_typed(value, _QUANTITY), "quantity"))


def _whole(value: Any) -> int:
    amount = _amount(value)
    if amount.denominator != 1 or not -(2**63) <= amount < 2**63:
        raise ValueError("cannot convert value to integer")
    return int(amount)


# Versions


def _semver(text: str, normalise: bool = False) -> dict[str, str]:
    _short(text, "version")
    if normalise:
        text = text.removeprefix("v").removeprefix("V")
        head, mark, tail = re.match(r"([^-+]*)([-+]?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]  # matches anything
        numbers = [part.lstrip("0") or "0" for part in head.split(".")]
        text = ".".join(numbers + ["0"] * (3 - len(numbers))) + mark + tail
    if _SEMVER_FORM.fullmatch(text) is None:
        raise ValueError(f"invalid semantic version {text!r}")
    return {_SEMVER: text}


def _version_key(text: str) -> tuple[Any, ...]:
    found = _SEMVER_FORM.fullmatch(text)
    if found is None:
        raise ValueError("no such overload")
    major, minor, patch, pre = found.groups()
    parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in (pre or "").split(".") if part)
    return (int(major), int(minor), int(patch), pre is None, parts)


def _version_part(index: int) -> Callable[[Any], int]:
    return lambda value: int(_version_key(_typed(value, _SEMVER))[index])


def _compare(left: Any, right: Any) -> int:
    left = _plain(left)
    is_amount = isinstance(left, dict) and _QUANTITY in left
    first: Any = _amount(left) if is_amount else _version_key(_typed(left, _SEMVER))
    second: Any = _amount(right) if is_amount else _version_key(_typed(right, _SEMVER))
    return int(first > second) - int(first < second)


def _global(name: str, parameters: tuple[Kind, ...], result: Kind, call: Callable[..., Any]) -> Function:
    return Function(name, f"{name}_{'_'.join(parameters)}".replace(".", "_"), parameters, result, call, member=False)


def _member(name: str, parameters: tuple[Kind, ...], result: Kind, call: Callable[..., Any]) -> Function:
    return Function(name, f"kubernetes_{'_'.join((parameters[0], name, *parameters[1:]))}", parameters, result, call, member=True)


def _lists() -> Iterable[Function]:
    yield _member("isSorted", ("list",), "bool", _is_sorted)
    yield _member("sum", ("list",), "any", _sum)
    yield _member("min", ("list",), "any", _least)
    yield _member("max", ("list",), "any", _greatest)
    yield _global("sets.contains", ("list", "list"), "bool", _contains)
    yield _global("sets.equivalent", ("list", "list"), "bool", lambda left, right: _contains(left, right) and _contains(right, left))
    yield _global("sets.intersects", ("list", "list"), "bool", _intersects)


def _texts() -> Iterable[Function]:
    yield _member("find", ("string", "string"), "string", _find)
    yield _member("findAll", ("string", "string"), "list", _find_all)
    yield _member("findAll", ("string", "string", "int"), "list", _find_all)
    yield _global("isURL", ("string",), "bool", _can(_url))
    yield _global("url", ("string",), "map", _url)
    yield _member("getScheme", ("map",), "string", _url_part(lambda parts: parts.scheme))
    yield _member("getHost", ("map",), "string", _url_part(lambda parts: parts.netloc.rpartition("@")[2]))
    yield _member("getHostname", ("map",), "string", _url_part(lambda parts: parts.hostname or ""))
    yield _member("getPort", ("map",), "string", _url_part(_port))
    yield _member("getEscapedPath", ("map",), "string", _url_part(lambda parts: parts.path))
    yield _member("getQuery", ("map",), "map", _url_part(lambda parts: parse_qs(parts.query, keep_blank_values=True)))


def _addresses() -> Iterable[Function]:
    yield _global("isIP", ("string",), "bool", _can(_ip))
    yield _global("ip", ("string",), "map", _ip)
    yield _global("ip.isCanonical", ("string",), "bool", lambda text: _ip(text)[_IP] == text)
    yield _member("family", ("map",), "int", lambda value: _address(value).version)
    yield _member("isUnspecified", ("map",), "bool", lambda value: _address(value).is_unspecified)
    yield _member("isLoopback", ("map",), "bool", lambda value: _address(value).is_loopback)
    yield _member("isLinkLocalUnicast", ("map",), "bool", lambda value: _address(value).is_link_local)
    yield _member("isLinkLocalMulticast", ("map",), "bool", lambda value: _is_local_multicast(_address(value)))
    yield _member("isGlobalUnicast", ("map",), "bool", lambda value: _is_global_unicast(_address(value)))
    yield _global("isCIDR", ("string",), "bool", _can(_cidr))
    yield _global("cidr", ("string",), "map", _cidr)
    for kind in ("string", "map"):
        yield _member("containsIP", ("map", kind), "bool", _contains_ip)
        yield _member("containsCIDR", ("map", kind), "bool", _contains_cidr)
    yield _member("ip", ("map",), "map", lambda value: {_IP: str(_network(value).ip)})
    yield _member("masked", ("map",), "map", lambda value: {_CIDR: str(_network(value).network)})
    yield _member("prefixLength", ("map",), "int", lambda value: _network(value).network.prefixlen)


def _is_local_multicast(address: Any) -> bool:
    ranges = {4: "224.0.0.0/24", 6: "ff02::/16"}
    return address in ipaddress.ip_network(ranges[address.version])


def _is_global_unicast(address: Any) -> bool:
    broadcast = address.version == 4 and int(address) == 2**32 - 1
    return not (address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local or broadcast)


def _amounts() -> Iterable[Function]:
    yield _global("isQuantity", ("string",), "bool", _can(_quantity))
    yield _global("quantity", ("string",), "map", _quantity)
    yield _member("isInteger", ("map",), "bool", _can(_whole))
    yield _member("asInteger", ("map",), "int", _whole)
    yield _member("asApproximateFloat", ("map",), "double", lambda value: float(_amount(value)))
    yield _member("sign", ("map",), "int", lambda value: (_amount(value) > 0) - (_amount(value) < 0))
    yield _member("add", ("map", "map"), "map", lambda left, right: _of_amount(_amount(left) + _amount(right)))
    yield _member("add", ("map", "int"), "map", lambda left, right: _of_amount(_amount(left) + right))
    yield _member("sub", ("map", "map"), "map", lambda left, right: _of_amount(_amount(left) - _amount(right)))
    yield _member("sub", ("map", "int"), "map", lambda left, right: _of_amount(_amount(left) - right))
    yield _global("isSemver", ("string",), "bool", _can(_semver))
    yield _global("semver", ("string",), "map", _semver)
    yield _global("semver", ("string", "bool"), "map", _semver)
    yield _member("major", ("map",), "int", _version_part(0))
    yield _member("minor", ("map",), "int", _version_part(1))
    yield _member("patch", ("map",), "int", _version_part(2))
    yield _member("compareTo", ("map", "map"), "int", _compare)
    yield _member("isGreaterThan", ("map", "map"), "bool", lambda left, right: _compare(left, right) > 0)
    yield _member("isLessThan", ("map", "map"), "bool", lambda left, right: _compare(left, right) < 0)


FUNCTIONS: Final[tuple[Function, ...]] = (*_lists(), *_texts(), *_addresses(), *_amounts())
