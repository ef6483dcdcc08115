"""Pull policy, and registry credentials out of Secrets. Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Final

import orjson

from lattice.api import configmap, pod

_HUB: Final = "docker.io"
_HUB_KEYS: Final = ("docker.io", "index.docker.io", "registry-1.docker.io")


def policy_of(container: pod.Container) -> pod.PullPolicy:
    """Return the pull policy: as written, else ``Always`` for the tag ``latest`` or none, else ``IfNotPresent`` (Kubernetes' rule)."""
    if container.image_pull_policy:
        return container.image_pull_policy
    image = container.image or ""
    if "@" in image:
        return "IfNotPresent"
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def registry_of(image: str) -> str:
    """Return the registry's host of an image reference."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else _HUB


def credentials(image: str, secrets: Iterable[configmap.Secret]) -> Mapping[str, str] | None:
    """Return what Docker needs to log in for this image: from the first Secret that names its registry. Broken Secrets are passed over."""
    registry = registry_of(image)
    for secret in secrets:
        try:
            auths = orjson.loads(base64.b64decode(secret.data[".dockerconfigjson"]))["auths"]
            for server, entry in sorted(auths.items()):
                host = server.removeprefix("https://").removeprefix("http://").partition("/")[0]
                if host == registry or (registry == _HUB and host in _HUB_KEYS):
                    return _login(entry, server)
        except (KeyError, ValueError, TypeError, AttributeError):
            continue
    return None


def _login(entry: Mapping[str, str], server: str) -> Mapping[str, str]:
    if "auth" in entry and "username" not in entry:
        username, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
    else:
        username, password = entry["username"], entry["password"]
    return {"username": username, "password": password, "serveraddress": server}
