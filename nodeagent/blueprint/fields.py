"""Fields of a Pod and resources of its containers as text: for environment variables and for files of the downward API. Pure.

Paths and formats are Kubernetes' (``pkg/fieldpath``, ``pkg/api/v1/resource``): a map is one line ``key="value"`` for each key, a resource
is divided by its divisor and rounded up, a limit that is not set is what the Node offers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from lattice.api import pod, quantity
from nodeagent.blueprint.values import Address, ConfigError, Node, missing

ADDRESS_LATER: Final = "\0podIP\0"
"""Stands for the Pod's address where it is chosen after the blueprint is made; no text of a user's can hold it. See ``with_address``."""
_KEY = re.compile(r"^metadata\.(labels|annotations)\['([^']+)'\]$")
_LIMITED_BY_NODE: Final = ("cpu", "memory", "ephemeral-storage")
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
_ASCII_END: Final = 0x80
_BMP_END: Final = 0x10000


def field_text(wanted: pod.Pod, path: str, node: Node, address: Address) -> str:
    """Return the text of one field.

    Raises:
        ConfigError: there is no such field, or it is not known yet.
    """
    simple = {
        "metadata.name": wanted.name,
        "metadata.namespace": wanted.namespace,
        "metadata.uid": str(wanted.uid),
        "spec.nodeName": wanted.spec.node_name or node.name,
        "spec.serviceAccountName": wanted.spec.service_account_name or "default",
        "status.hostIP": node.host_ip,
        "status.hostIPs": node.host_ip,
    }
    if path in simple:
        return simple[path]
    if path in ("status.podIP", "status.podIPs"):
        if not address.ip:
            return ADDRESS_LATER
        return address.ip if path == "status.podIP" else ",".join(filter(None, (address.ip, address.ipv6)))
    if path in ("metadata.labels", "metadata.annotations"):
        return map_text(wanted.metadata.labels if path.endswith("labels") else wanted.metadata.annotations)
    if match := _KEY.match(path):
        source = wanted.metadata.labels if match.group(1) == "labels" else wanted.metadata.annotations
        return source.get(match.group(2), "")
    raise missing(f"field path {path!r} is not supported: see fieldRef in the Pod reference")


def map_text(values: Mapping[str, str]) -> str:
    """Return a map as lines ``key="value"``, quoted as Go's ``%q`` does."""
    return "\n".join(f"{key}={_quoted(values[key])}" for key in sorted(values))


def _quoted(text: str) -> str:
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    number = ord(character)
    return f"\\x{number:02x}" if number < _ASCII_END else f"\\u{number:04x}" if number < _BMP_END else f"\\U{number:08x}"


def resource_text(wanted: pod.Pod, container: pod.Container, selector: pod.ResourceFieldSelector, node: Node) -> str:
    """Return a request or limit, in units of the divisor, rounded up.

    Args:
        wanted: the Pod.
        container: the one that asks; the selector may name another.
        selector: what is asked.
        node: gives the limits that are not set.

    Raises:
        ConfigError: there is no such container or resource.
    """
    if selector.container_name:
        everyone = (*wanted.spec.containers, *wanted.spec.init_containers)
        found = next((other for other in everyone if other.name == selector.container_name), None)
        if found is None:
            raise missing(f"resourceFieldRef names container {selector.container_name!r}, which the Pod does not have")
        container = found
    kind, _, name = selector.resource.partition(".")
    if kind == "limits":
        amount = container.resources.limits.get(name) or (node.allocatable.get(name) if name in _LIMITED_BY_NODE else None)
    elif kind == "requests":
        amount = pod.effective_request(container, name)
    else:
        raise ConfigError("CreateContainerConfigError", f"resource {selector.resource!r} is neither a limit nor a request of a container")
    divisor = quantity.parse_quantity(selector.divisor or "1") or 1
    return str(-(-quantity.parse_quantity(amount or "0") // divisor))
