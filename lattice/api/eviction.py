"""Eviction: the body of ``pods/<name>/eviction``."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from lattice.api import meta


class Preconditions(meta.Model):
    """What must hold for a deletion."""

    uid: str | None = None
    """The object's uid."""
    resource_version: str | None = None
    """The object's resourceVersion."""


class DeleteOptions(meta.Model):
    """How to delete."""

    api_version: str | None = None
    """``v1``."""
    kind: str | None = None
    """``DeleteOptions``."""
    grace_period_seconds: int | None = Field(default=None, ge=0)
    """How long the Pod may take; by default its own ``terminationGracePeriodSeconds``."""
    preconditions: Preconditions | None = None
    """What must hold."""
    propagation_policy: str | None = None
    """What becomes of dependents: ``Orphan``, ``Background`` or ``Foreground``."""
    dry_run: meta.AtomicList[str] = ()
    """``All``: decide, and change nothing."""


class Eviction(meta.Object):
    """Asks a Pod to leave its node: a deletion that may be refused."""

    GROUP: ClassVar[str] = "policy"
    KIND: ClassVar[str] = "Eviction"
    PLURAL: ClassVar[str] = "evictions"

    delete_options: DeleteOptions | None = None
    """How to delete the Pod."""
