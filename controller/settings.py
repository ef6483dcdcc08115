"""What the control plane is started with, and the credentials that it makes for itself when it is given none.

``lattice server`` fills :class:`ServerConfig` from its flags; ``main.py`` runs by it.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from controller.apiserver.request import User
from controller.store.opening import StoreConfig
from lattice.api import errors, names

TOKENS_FILE = "tokens.csv"
_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """All settings of one control plane."""

    data_dir: Path
    """Certificates, generated tokens and the embedded store. Readable by the owner alone."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 7443
    """Port to listen on; 0 picks a free one."""
    advertise: str | None = None
    """Name or address by which clients reach the server: for the certificate and the kubeconfigs. Default: ``host``."""
    advertise_address: str | None = None
    """Name or address by which the other processes of a control plane on etcd reach this one. Default: as ``advertise``."""
    store: StoreConfig
    """Where objects are kept."""
    token_file: Path | None = None
    """Users; ``None``: an admin and ``nodes``, generated into the data directory."""
    nodes: tuple[str, ...] = ()
    """Nodes that get a kubeconfig ``node-<name>.kubeconfig`` in the data directory; with ``token_file``, it has their tokens."""
    kubeconfig_out: Path | None = None
    """Where to write the admin's kubeconfig once the server listens."""
    workers: int = 1
    """Processes that answer requests. More than one needs etcd, for the embedded store belongs to one process."""

    @property
    def share(self) -> bool:
        """Whether several processes listen at the same address."""
        return self.workers > 1

    @property
    def advertised_host(self) -> str:
        """The host part of the URL in kubeconfigs."""
        if self.advertise:
            return self.advertise
        return "127.0.0.1" if self.host in ("", "0.0.0.0", "::") else self.host  # noqa: S104 - compared, not bound

    @property
    def peer_host(self) -> str:
        """The host part of the address for the other servers."""
        return self.advertise_address or self.advertised_host

    def peer_url(self, port: int) -> str:
        """Return the address for the other servers."""
        return f"https://{f'[{self.peer_host}]' if ':' in self.peer_host else self.peer_host}:{port}"

    def url(self, port: int) -> str:
        """Return the URL in kubeconfigs."""
        host = self.advertised_host
        return f"https://{f'[{host}]' if ':' in host else host}:{port}"


def ensure_tokens(path: Path, nodes: tuple[str, ...]) -> None:
    """Make a token file with an admin and ``nodes``, or add the nodes that an existing one lacks.

    Raises:
        errors.UsageError: a node's name cannot be one.
    """
    for name in nodes:
        if not _NODE_NAME.fullmatch(name):
            raise errors.UsageError(f"{name!r} cannot be a node's name: use lower-case letters, digits, '-' and '.', such as home-server-1")
    present = path.read_text() if path.exists() else ""
    lines = [line for line in present.splitlines() if line]
    users = {line.split(",")[1] for line in lines if line.count(",") >= 2}
    if "admin" not in users:
        lines.append(f'{secrets.token_urlsafe(32)},admin,admin,"{names.GROUP_MASTERS}"')
    for name in nodes:
        user = f"{names.NODE_USER_PREFIX}{name}"
        if user not in users:
            lines.append(f'{secrets.token_urlsafe(32)},{user},{user},"{names.GROUP_NODES}"')
    text = "".join(f"{line}\n" for line in lines)
    if text == present:
        return
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def token_of(users: Mapping[str, User], *, name: str | None = None, group: str | None = None) -> str | None:
    """Return the token of the first user with this name or group."""
    return next((token for token, user in users.items() if user.name == name or (group is not None and group in user.groups)), None)
