"""What a failed call to Docker means: its HTTP code and text, as one of the errors of ``runtime/base.py``.

Called by ``docker.py`` alone. Docker answers 500 for most failures, a taken port and a wrong password alike, so the text decides; the
texts are those of engines 20.10 to 28, and an unknown one stays a ``RuntimeFailedError`` with the engine's own words.
"""

from __future__ import annotations

import re
from typing import Final

from lattice.api.errors import LatticeError
from nodeagent.runtime import base

UNREACHABLE: Final = 900
"""The client library's code for "no connection"."""

_PORT = re.compile(r"(?:Bind for|listen \w+|host port(?: for)?)\s+\S*?:(\d+)", re.IGNORECASE)
_ADDRESS_TAKEN: Final = re.compile(r"^(?!.*(?:bind|listen|port)).*address already in use", re.IGNORECASE | re.DOTALL)
"""The network's own bookkeeping says so of an address; of a port, it is the operating system that refused to bind it."""
_NETWORK_GONE: Final = re.compile(r"network \S+ not found|no such network", re.IGNORECASE)
_PORT_TAKEN: Final = ("port is already allocated", "address already in use", "ports are not available")
_NO_IMAGE: Final = (
    "no such image",
    "manifest unknown",
    "manifest for",
    "repository does not exist",
    "pull access denied",
    "no basic auth credentials",
    "unauthorized",
    "denied: ",
    "invalid reference format",
    "repository name must be lowercase",
    "no matching manifest",
)
_REGISTRY_AWAY: Final = (
    "connection refused",
    "no such host",
    "i/o timeout",
    "tls handshake timeout",
    "network is unreachable",
    "no route to host",
    "server misbehaving",
    "temporary failure in name resolution",
    "client.timeout exceeded",
    "connection reset by peer",
    "503 service unavailable",
)
_NOT_STARTABLE: Final = (
    "oci runtime create failed",
    "failed to create task",
    "failed to create shim",
    "executable file not found",
    "exec format error",
    "no command specified",
    "unable to find user",
    "invalid mount config",
    "bind source path does not exist",
    "minimum memory limit",
    "range of cpus",
)


def classify(status: int, message: str, *, doing: str, pulling: bool = False) -> LatticeError:
    """Return the error that an answer means.

    Args:
        status: HTTP code, or :data:`UNREACHABLE`.
        message: Docker's text.
        doing: what was tried on which object, such as ``start container web``.
        pulling: whether a registry was involved.
    """
    lower = message.lower()
    sentence = f"cannot {doing}: {message.strip()}"
    if status in (UNREACHABLE, 502, 503, 504):
        return base.RuntimeUnavailableError(sentence)
    if _ADDRESS_TAKEN.search(message):
        return base.AddressTakenError(sentence)
    if any(text in lower for text in _PORT_TAKEN):
        found = _PORT.search(message)
        return base.PortTakenError(sentence, host_port=int(found.group(1)) if found else None)
    if _NETWORK_GONE.search(message):
        return base.NetworkGoneError(sentence)
    if "pool overlaps" in lower:
        return base.SubnetTakenError(sentence)
    if status == 409 and "network with name" in lower:
        return base.NameTakenError(sentence)
    if status == 404 and "no such container" in lower:
        return base.ContainerGoneError(sentence)
    if status == 409 and "is already in use by container" in lower:
        return base.NameTakenError(sentence)
    if pulling:
        absent = status == 404 or any(text in lower for text in _NO_IMAGE)
        if absent:
            return base.ImageNotFoundError(sentence)
        away = any(text in lower for text in _REGISTRY_AWAY)
        return base.RegistryUnavailableError(sentence) if away else base.ImagePullError(sentence)
    if status == 404 and "no such image" in lower:
        return base.ImageNotFoundError(sentence)
    if status == 400 or any(text in lower for text in _NOT_STARTABLE):
        return base.InvalidContainerError(sentence)
    return base.RuntimeFailedError(sentence)


def is_in_use(message: str) -> bool:
    """Return whether the refusal to remove an image says that it is needed: by a container, by another image, by another of its names."""
    lower = message.lower()
    needed = ("is using its referenced image", "is being used by", "has dependent child images", "referenced in multiple repositories")
    return any(text in lower for text in needed)
