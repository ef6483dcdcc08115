"""Kubeconfig files: where the server is, whom to trust, and who we are. The format of kubectl, so that one file serves both.

Read by the CLI and the agent, written by the control plane (``lattice server --kubeconfig-out``) and by ``lattice kubeconfig --merge``.

* Which file: the path given, else the files of ``$KUBECONFIG`` (``:`` between them, the first to set a value wins), else
  ``~/.kube/config``.
* Understood: inline data and files (paths relative to the file they stand in) for the authority and the client certificate; ``token``,
  ``tokenFile``; ``tls-server-name``; ``insecure-skip-tls-verify``; the context's namespace. Refused with a sentence, because ignoring
  them would sign in as somebody else: exec and auth plugins, user name and password, impersonation.
* Writing is atomic (a temporary file in the same directory, renamed) and the file is readable by its owner alone.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lattice.api import errors
from lattice.client.http import HttpTransport

_REFUSED = ("exec", "auth-provider", "username", "password", "as", "as-uid", "as-groups", "as-user-extra")


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeConfig:
    """One context, resolved: all that is needed to talk to a server. PEM texts are bytes."""

    server: str
    ca_data: bytes | None = None
    token: str | None = None
    token_file: Path | None = None
    client_cert_data: bytes | None = None
    client_key_data: bytes | None = None
    tls_server_name: str | None = None
    insecure_skip_tls_verify: bool = False
    namespace: str = "default"
    context: str = ""
    user: str = ""

    def __repr__(self) -> str:  # it may end up in a log or a traceback: no credentials
        return f"KubeConfig(context={self.context!r}, server={self.server!r}, user={self.user!r})"

    def transport(self) -> HttpTransport:
        """Return a transport to the server with these credentials. The caller closes it."""
        return HttpTransport(
            self.server,
            ca_data=self.ca_data,
            token=self.token,
            token_file=self.token_file,
            client_cert_data=self.client_cert_data,
            client_key_data=self.client_key_data,
            tls_server_name=self.tls_server_name,
            insecure_skip_tls_verify=self.insecure_skip_tls_verify,
        )


def paths(path: Path | None = None, *, environ: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """Return the files to read, in order of precedence."""
    if path is not None:
        return (path,)
    environ = os.environ if environ is None else environ
    named = tuple(Path(part) for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part)
    return named or (Path.home() / ".kube" / "config",)


def load(path: Path | None = None, *, context: str | None = None, environ: Mapping[str, str] | None = None) -> KubeConfig:
    """Return a context of the kubeconfig.

    Args:
        path: the file; ``None``: as kubectl finds it.
        context: name of the context; ``None``: the current one.
        environ: instead of this process's environment.

    Raises:
        errors.UsageError: no file, no such context, or it cannot be used.
    """
    files = paths(path, environ=environ)
    merged = _merge_files(files)
    shown = ", ".join(map(str, files))
    name = context or merged.current_context
    if not name:
        raise errors.UsageError(f"{shown} names no current context; choose one with --context")
    if name not in merged.contexts:
        known = ", ".join(sorted(merged.contexts)) or "none"
        raise errors.UsageError(f"there is no context {name!r} in {shown}; there is: {known}")
    _, chosen = merged.contexts[name]
    cluster_name, user_name = str(chosen.get("cluster", "")), str(chosen.get("user", ""))
    if cluster_name not in merged.clusters:
        raise errors.UsageError(f"context {name!r} in {shown} names a cluster {cluster_name!r} that is not there; correct the file")
    cluster_dir, cluster = merged.clusters[cluster_name]
    user_dir, user = merged.users.get(user_name, (cluster_dir, {}))
    for key in _REFUSED:
        if user.get(key):
            raise errors.UsageError(f"user {user_name!r} in {shown} signs in by {key!r}, which lattice does not know; use a token instead")
    server = cluster.get("server")
    if not isinstance(server, str) or not server:
        raise errors.UsageError(f"cluster {cluster_name!r} in {shown} has no server address; add `server: https://HOST:PORT`")
    token_file = user.get("tokenFile")
    return KubeConfig(
        server=server,
        ca_data=_data(cluster, "certificate-authority", cluster_dir),
        token=user.get("token") or None,
        token_file=user_dir / token_file if token_file else None,
        client_cert_data=_data(user, "client-certificate", user_dir),
        client_key_data=_data(user, "client-key", user_dir),
        tls_server_name=cluster.get("tls-server-name") or None,
        insecure_skip_tls_verify=bool(cluster.get("insecure-skip-tls-verify")),
        namespace=str(chosen.get("namespace") or "default"),
        context=name,
        user=user_name,
    )


def document(*, server: str, ca_data: bytes | str | None, user: str, token: str, name: str = "lattice") -> dict[str, Any]:
    """Return the content of a kubeconfig with one context called ``name``."""
    cluster: dict[str, Any] = {"server": server}
    if ca_data:
        cluster["certificate-authority-data"] = base64.b64encode(ca_data.encode() if isinstance(ca_data, str) else ca_data).decode()
    user_entry = f"{name}-{user}" if user != name else user
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": user_entry, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user_entry, "namespace": "default"}}],
        "current-context": name,
    }


def write(path: Path, *, server: str, ca_data: bytes | str | None, user: str, token: str, name: str = "lattice") -> None:
    """Write a kubeconfig with one context over whatever is at ``path``, atomically, readable by the owner alone."""
    write_document(path, document(server=server, ca_data=ca_data, user=user, token=token, name=name))


def merge(path: Path, added: Mapping[str, Any]) -> None:
    """Put the entries of ``added`` into the file (entries of the same name are replaced) and make its context the current one.

    Raises:
        errors.UsageError: the file is there and is not a kubeconfig.
    """
    present = _read(path) if path.exists() else {"apiVersion": "v1", "kind": "Config"}
    result = dict(present)
    for section in ("clusters", "users", "contexts"):
        new = list(added.get(section) or ())
        names = {entry["name"] for entry in new}
        result[section] = [entry for entry in result.get(section) or () if entry.get("name") not in names] + new
    result["current-context"] = added["current-context"]
    write_document(path, result)


def write_document(path: Path, content: Mapping[str, Any]) -> None:
    """Write a kubeconfig's content atomically, 0600, making its directory where needed."""
    path = path.resolve()  # a symbolic link stays one: its target is replaced
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            yaml.safe_dump(dict(content), file, sort_keys=False)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


@dataclass(frozen=True, slots=True)
class _Merged:
    """Entries by name, each with the directory of the file it came from."""

    current_context: str
    clusters: dict[str, tuple[Path, dict[str, Any]]]
    users: dict[str, tuple[Path, dict[str, Any]]]
    contexts: dict[str, tuple[Path, dict[str, Any]]]


def _merge_files(files: Sequence[Path]) -> _Merged:
    merged = _Merged("", {}, {}, {})
    current = ""
    found = False
    for file in files:
        if not file.exists() and len(files) > 1:
            continue  # as kubectl: a list may name files that are not there
        content = _read(file)
        found = True
        current = current or str(content.get("current-context") or "")
        for section, key, into in (
            ("clusters", "cluster", merged.clusters),
            ("users", "user", merged.users),
            ("contexts", "context", merged.contexts),
        ):
            for entry in content.get(section) or ():
                if isinstance(entry, dict) and isinstance(entry.get("name"), str):
                    into.setdefault(entry["name"], (file.parent, entry.get(key) or {}))
    if not found:
        raise errors.UsageError(f"none of the kubeconfig files {', '.join(map(str, files))} is there; give one with --kubeconfig")
    return _Merged(current, merged.clusters, merged.users, merged.contexts)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise errors.UsageError(
            f"there is no kubeconfig {path}; give one with --kubeconfig FILE or $KUBECONFIG (`lattice up` prints where its own is)"
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise errors.UsageError(f"the kubeconfig {path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise errors.UsageError(f"{path} is not a kubeconfig: it must be a YAML mapping with clusters, users and contexts")
    return content


def _data(entry: Mapping[str, Any], key: str, directory: Path) -> bytes | None:
    if inline := entry.get(f"{key}-data"):
        try:
            return base64.b64decode(inline, validate=True)
        except (binascii.Error, ValueError, TypeError) as error:
            raise errors.UsageError(f"{key}-data of the kubeconfig is not base64; correct it, or name a file with {key}") from error
    if name := entry.get(key):
        try:
            return (directory / str(name)).read_bytes()
        except OSError as error:
            raise errors.UsageError(f"the file {name} that the kubeconfig names as {key} cannot be read: {error.strerror}") from error
    return None
