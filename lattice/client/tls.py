"""TLS for clients: a context from PEM texts, as a kubeconfig carries them. Used by ``http.py``."""

from __future__ import annotations

import os
import ssl
import tempfile
from pathlib import Path

from lattice.api import errors


def client_context(
    *,
    ca_data: bytes | str | None,
    cert_data: bytes | str | None = None,
    key_data: bytes | str | None = None,
    insecure_skip_verify: bool = False,
) -> ssl.SSLContext:
    """Return a context that trusts ``ca_data`` alone, or the machine's authorities where there is none.

    Raises:
        errors.UsageError: a PEM text cannot be read, or the key does not belong to the certificate.
    """
    try:
        context = ssl.create_default_context(cadata=_text(ca_data) if ca_data else None)
    except (ssl.SSLError, ValueError) as error:
        raise errors.UsageError(f"the certificate authority of the kubeconfig cannot be read as PEM: {error}") from error
    if insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if bool(cert_data) != bool(key_data):
        raise errors.UsageError("a client certificate needs its key and the other way round; the kubeconfig has only one of them")
    if cert_data and key_data:
        _load_pair(context, _text(cert_data), _text(key_data))
    return context


def _load_pair(context: ssl.SSLContext, cert: str, key: str) -> None:
    # OpenSSL reads pairs from files only. The file is readable by us alone (mkstemp) and gone before anyone waits for it.
    descriptor, name = tempfile.mkstemp(prefix="lattice-pair-")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{cert}\n{key}\n")
        context.load_cert_chain(name)
    except (ssl.SSLError, ValueError) as error:
        raise errors.UsageError(f"the client certificate of the kubeconfig and its key cannot be used: {error}") from error
    finally:
        Path(name).unlink()


def _text(pem: bytes | str) -> str:
    return pem if isinstance(pem, str) else pem.decode("ascii", errors="replace")
