"""Checks of single values that several rules of a Pod share, with Kubernetes' sentences. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from controller.apiserver import shaping
from lattice.api import validation
from lattice.api.errors import Cause

Object = Mapping[str, Any]

MAX_INT32: Final = 2**31 - 1
_PORT_NAME: Final = re.compile(r"[-a-z0-9]+\Z")
_ENV_NAME: Final = re.compile(r"[ -<>-~]+\Z")
_SYSCTL: Final = re.compile(r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*([a-z0-9]([-_a-z0-9]*[a-z0-9])?)\Z")
_HEADER: Final = re.compile(r"[-A-Za-z0-9]+\Z")


def between(low: int, high: int) -> str:
    """Return the sentence of a range."""
    return f"must be between {low} and {high}, inclusive"


def not_found(field: str, value: Any) -> Cause:
    """Return the cause for a reference to something that the Pod does not have."""
    return Cause("FieldValueNotFound", f"Not found: {shaping.shown(value)}", field)


def check_with(check: Callable[[str], str | None], field: str, value: str) -> list[Cause]:
    """Return the cause for a value that ``check`` does not like."""
    problem = check(value)
    return [shaping.invalid(field, value, problem)] if problem else []


def unique(items: Iterable[Object], key: str, where: str) -> list[Cause]:
    """Return a cause for each item whose ``key`` an earlier one has."""
    seen, causes = set(), []
    for index, item in enumerate(items):
        value = item.get(key)
        if value is None:
            continue
        if value in seen:
            causes.append(shaping.duplicate(f"{where}[{index}].{key}", value))
        seen.add(value)
    return causes


def check_port(port: Any, where: str) -> list[Cause]:
    """Check the port of an action: a number, or the name of a container port."""
    if isinstance(port, int):
        return [] if 1 <= port <= 65535 else [shaping.invalid(where, port, between(1, 65535))]
    return check_port_name(str(port), where)


def check_port_name(name: str, where: str) -> list[Cause]:
    """Check an IANA service name."""
    problems = []
    if len(name) > 15:
        problems.append("must be no more than 15 characters")
    if not _PORT_NAME.match(name):
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any(character.isascii() and character.islower() for character in name):
        problems.append("must contain at least one letter (a-z)")
    if "--" in name:
        problems.append("must not contain consecutive hyphens")
    if name and (name[0] == "-" or name[-1] == "-"):
        problems.append("must not begin or end with a hyphen")
    return [shaping.invalid(where, name, problem) for problem in problems]


def check_env_name(name: str, where: str) -> list[Cause]:
    """Check the name of a variable."""
    if _ENV_NAME.match(name):
        return []
    return [
        shaping.invalid(where, name, "a valid environment variable name must consist only of printable ASCII characters other than '='")
    ]


def check_ip(address: str, where: str) -> list[Cause]:
    """Check an IP address."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return [shaping.invalid(where, address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")]
    return []


def check_descending(path: str, where: str) -> list[Cause]:
    """Check a path that must stay below where it begins."""
    causes = [shaping.invalid(where, path, "must be a relative path")] if path.startswith("/") else []
    return causes + check_no_backsteps(path, where)


def check_no_backsteps(path: str, where: str) -> list[Cause]:
    """Check that a path has no ``..``."""
    return [shaping.invalid(where, path, "must not contain '..'")] if ".." in path.split("/") else []


def check_file_name(path: str, where: str) -> list[Cause]:
    """Check the path of a file in a volume that the agent writes: ``..`` at its beginning is the agent's."""
    causes = check_descending(path, where)
    if path.startswith("..") and not path.startswith("../") and path != "..":
        causes.append(shaping.invalid(where, path, "must not start with '..'"))
    return causes


def check_sysctl(name: str, where: str) -> list[Cause]:
    """Check the name of a kernel parameter."""
    if len(name) <= 253 and _SYSCTL.match(name):
        return []
    return [shaping.invalid(where, name, f"must have at most 253 characters and match regex ^{_SYSCTL.pattern[:-2]}$")]


def check_header(name: str, where: str) -> list[Cause]:
    """Check the name of an HTTP header."""
    if _HEADER.match(name):
        return []
    message = (
        "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is "
        "'[-A-Za-z0-9]+')"
    )
    return [shaping.invalid(where, name, message)]


def one_of(holder: Object, names: Sequence[str], where: str, *, none: str, many: str) -> list[Cause]:
    """Check that exactly one of ``names`` is set: ``none`` at ``where``, ``many`` at each one after the first."""
    present = [name for name in names if holder.get(name) is not None]
    if not present:
        return [shaping.required(where, none)]
    return [shaping.forbidden(f"{where}.{name}", many) for name in present[1:]]


def check_labels(labels: Object, where: str) -> list[Cause]:
    """Check labels that are asked for."""
    causes = []
    for key, value in labels.items():
        if problem := validation.check_qualified_name(key):
            causes.append(shaping.invalid(where, key, problem))
        if problem := validation.check_label_value(value):
            causes.append(shaping.invalid(where, value, problem))
    return causes
