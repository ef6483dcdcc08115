"""Registry logins, out of Secrets and the provider's own Docker configuration. Pure.

The rules are a kubelet's (``pkg/credentialprovider``): a login is for a registry, or for what begins with a path in it; each part of the
host may be a pattern (``*.example.com`` stands for one label); the most specific login is tried first, then the others.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

import orjson

from lattice.api import configmap

HUB: Final = "docker.io"
_HUB_HOSTS: Final = ("docker.io", "index.docker.io", "registry-1.docker.io")
_VERSIONS: Final = ("v1", "v2")

Login = Mapping[str, str]


def registry_of(image: str) -> str:
    """Return the registry's host of an image reference."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else HUB


def logins(image: str, secrets: Iterable[configmap.Secret], own: bytes = b"") -> tuple[Login, ...]:
    """Return what Docker can log in with for this image, the most specific first. Broken Secrets are passed over.

    Args:
        image: reference.
        secrets: of the types ``kubernetes.io/dockerconfigjson`` and ``kubernetes.io/dockercfg``.
        own: the provider's ``config.json``, tried after the Secrets; empty: there is none.
    """
    found = [entry for secret in secrets for entry in _entries(secret)]
    chosen = _matching(image, found) + _matching(image, list(_parsed(own, whole=True)))
    return tuple({tuple(sorted(login.items())): login for login in chosen}.values())


def _matching(image: str, entries: list[tuple[str, Mapping[str, Any]]]) -> list[Login]:
    registry = registry_of(image)
    path = image.removeprefix(f"{registry}/").partition("@")[0]
    if registry == HUB and "/" not in path:
        path = f"library/{path}"
    result = []
    for server, entry in sorted(entries, key=lambda pair: pair[0], reverse=True):
        host, prefix = _place(server)
        if _is_host(host, registry) and (path == prefix or not prefix or path.startswith((f"{prefix}/", f"{prefix}:"))):
            login = _login(entry, server)
            if login is not None:
                result.append(login)
    return result


def _place(server: str) -> tuple[str, str]:
    """Return host and path of a key."""
    host, _, path = server.removeprefix("https://").removeprefix("http://").partition("/")
    path = path.strip("/")
    return (HUB if host in _HUB_HOSTS else host), ("" if path in _VERSIONS else path)


def _is_host(pattern: str, host: str) -> bool:
    """Return whether a host is meant: label by label, so that a star never stands for a dot, and with the same port."""
    wanted, _, wanted_port = pattern.partition(":")
    seen, _, seen_port = host.partition(":")
    labels, given = wanted.split("."), seen.split(".")
    return wanted_port == seen_port and len(labels) == len(given) and all(map(fnmatchcase, given, labels))


def _entries(secret: configmap.Secret) -> list[tuple[str, Mapping[str, Any]]]:
    for key, whole in ((".dockerconfigjson", True), (".dockercfg", False)):
        if key in secret.data:
            try:
                return list(_parsed(base64.b64decode(secret.data[key]), whole=whole))
            except ValueError:
                return []
    return []


def _parsed(data: bytes, *, whole: bool) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Return the entries of a ``config.json`` (``whole``) or of its ``auths`` alone, the older form; what is broken has none."""
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError:
        return []
    auths = parsed.get("auths") if whole and isinstance(parsed, dict) else parsed
    return [(server, entry) for server, entry in auths.items() if isinstance(entry, dict)] if isinstance(auths, dict) else []


def _login(entry: Mapping[str, Any], server: str) -> Login | None:
    try:
        if entry.get("identitytoken"):
            return {"identitytoken": str(entry["identitytoken"]), "serveraddress": server}
        if "auth" in entry and "username" not in entry:
            username, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        else:
            username, password = str(entry["username"]), str(entry["password"])
    except (KeyError, ValueError, TypeError):
        return None
    return {"username": username, "password": password, "serveraddress": server} if username else None
