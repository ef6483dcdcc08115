"""Probes, and the actions that probes and lifecycle hooks share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lattice.api import meta
from lattice.api.podspec.common import IntOrString


class ExecAction(meta.Model):
    """A command in the container."""

    command: meta.AtomicList[str] = ()
    """Program and arguments, without a shell."""


class HTTPHeader(meta.Model):
    """A header of a probe's request."""

    name: str
    """Header name."""
    value: str
    """Header value."""


class HTTPGetAction(meta.Model):
    """An HTTP GET; 200 to 399 is success."""

    path: str | None = None
    """Path, default ``/``."""
    port: IntOrString
    """Number or name of a container port."""
    host: str | None = None
    """Host header and address; default the container's address."""
    scheme: Literal["HTTP", "HTTPS"] | None = None
    """Scheme; certificates are not checked."""
    http_headers: meta.AtomicList[HTTPHeader] = ()
    """More headers."""


class TCPSocketAction(meta.Model):
    """A TCP connection that is accepted."""

    port: IntOrString
    """Number or name of a container port."""
    host: str | None = None
    """Address; default the container's."""


class GRPCAction(meta.Model):
    """A call of ``grpc.health.v1.Health/Check``; ``SERVING`` is success."""

    port: int = Field(ge=1, le=65535)
    """Port of the gRPC server."""
    service: str | None = None
    """Service name in the request; default empty: the whole server."""


class SleepAction(meta.Model):
    """A pause."""

    seconds: int = Field(ge=0)
    """How long."""


class Probe(meta.Model):
    """A health check."""

    exec: ExecAction | None = None
    """Command; exit code 0 is success."""
    http_get: HTTPGetAction | None = None
    """HTTP request."""
    tcp_socket: TCPSocketAction | None = None
    """TCP connection."""
    grpc: GRPCAction | None = None
    """gRPC health check."""
    initial_delay_seconds: int = Field(default=0, ge=0)
    """Seconds from the container's start to the first check."""
    timeout_seconds: int = Field(default=1, ge=1)
    """Seconds after which a check has failed."""
    period_seconds: int = Field(default=10, ge=1)
    """Seconds between checks."""
    success_threshold: int = Field(default=1, ge=1)
    """Successes in a row after which it counts as healthy; 1 for liveness and startup."""
    failure_threshold: int = Field(default=3, ge=1)
    """Failures in a row after which it counts as unhealthy."""
    termination_grace_period_seconds: int | None = Field(default=None, ge=1)
    """Seconds from the stop signal to SIGKILL when this probe ends the container; default the Pod's. Not for readiness."""


class LifecycleHandler(meta.Model):
    """What a hook does; exactly one."""

    exec: ExecAction | None = None
    """Command."""
    http_get: HTTPGetAction | None = None
    """HTTP request."""
    tcp_socket: TCPSocketAction | None = None
    """Deprecated and without effect in Kubernetes too."""
    sleep: SleepAction | None = None
    """A pause."""


class Lifecycle(meta.Model):
    """Actions at the start and before the stop of a container."""

    post_start: LifecycleHandler | None = None
    """Run right after the start; the container does not count as running before its end. Failure kills the container."""
    pre_stop: LifecycleHandler | None = None
    """Run before the stop signal, within the grace period."""
    stop_signal: str | None = None
    """Signal that stops the container, such as ``SIGINT``; default the image's. Needs ``spec.os.name``."""
