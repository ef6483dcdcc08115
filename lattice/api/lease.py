"""Lease (``coordination.k8s.io/v1``): node heartbeats and leader election."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from lattice.api import meta


class LeaseSpec(meta.Model):
    """Who holds the lease, and until when."""

    holder_identity: str | None = None
    """The holder; empty or absent: nobody."""
    lease_duration_seconds: int | None = Field(default=None, gt=0)
    """Seconds after ``renewTime`` (as seen by the observer's own clock) when others may take it."""
    acquire_time: meta.MicroTime | None = None
    """When the present holder got it."""
    renew_time: meta.MicroTime | None = None
    """When the holder last renewed it."""
    lease_transitions: int | None = None
    """How often the holder changed."""
    strategy: str | None = None
    """How a holder is picked, for coordinated leader election. Stored; nothing in Lattice acts on it."""
    preferred_holder: str | None = None
    """Whom the present holder should yield to; only together with ``strategy``. Stored; nothing in Lattice acts on it."""


class Lease(meta.Object):
    """A claim that ends unless it is renewed."""

    GROUP: ClassVar[str] = "coordination.k8s.io"
    KIND: ClassVar[str] = "Lease"
    PLURAL: ClassVar[str] = "leases"

    spec: LeaseSpec = Field(default_factory=LeaseSpec)
    """The claim."""
