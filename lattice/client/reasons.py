"""Why no answer came, in one sentence: maps the errors of aiohttp, TLS and the system to ``UnavailableError``. Used by ``http.py``."""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

from lattice.api import errors
from lattice.client import base


@contextmanager
def translated(request: base.Request, server: str) -> Iterator[None]:
    """Turn library errors of the block into :class:`errors.UnavailableError`; others pass."""
    try:
        yield
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise errors.UnavailableError(f"{request.method} {server}{request.path}: {explain(error, request.timeout_s)}") from error


def explain(error: Exception, timeout_s: float | None = None) -> str:
    """Return what went wrong and what to do about it."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            detail = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
            return f"the server's certificate was not accepted ({detail}); use the kubeconfig that this server wrote"
        case aiohttp.ClientConnectorDNSError():
            return f"the name {error.host} was not found; check the server address in the kubeconfig, and the network"
        case aiohttp.ClientSSLError():
            return f"TLS failed ({error.os_error}); check that the address is that of a Lattice API server"
        case aiohttp.ConnectionTimeoutError():
            return "the connection was not made in time; check the address in the kubeconfig, the network and firewalls between"
        case aiohttp.ClientConnectorError():
            return _explain_connect(error.os_error)
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError() | ConnectionResetError():
            return "the server closed the connection in the middle; it may be restarting: try again"
        case TimeoutError():
            within = f" within {timeout_s:g} s" if timeout_s else " in time"
            return f"no answer came{within}; the server is overloaded or the network is slow: try again"
        case ssl.SSLError():
            return f"TLS failed ({error.reason or error}); try again"
        case aiohttp.ClientResponseError():
            return f"the answer is not HTTP as we know it ({error.message}); check that the address is that of a Lattice API server"
        case OSError():
            return f"the connection broke ({_system(error)}): try again"
        case _:
            return f"the request failed ({str(error) or type(error).__name__}); check the server address in the kubeconfig"


def _explain_connect(error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED:
        return "connection refused: nothing listens there; is the server running (`lattice up` or `lattice server`)?"
    return f"cannot connect ({_system(error)}); check the address in the kubeconfig and the network"


def _system(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error) or type(error).__name__
