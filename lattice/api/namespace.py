"""Namespace: a scope for names. Deleting one empties it first."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lattice.api import meta


class NamespaceSpec(meta.Model):
    """Desired state of a Namespace."""

    finalizers: meta.AtomicList[str] = ()
    """Parties that must empty the namespace before it goes; the server sets ``kubernetes``."""


class NamespaceStatus(meta.Model):
    """Observed state of a Namespace."""

    phase: Literal["Active", "Terminating"] | None = None
    """``Terminating`` once its deletion was asked for: nothing new can be created in it."""
    conditions: Annotated[tuple[meta.Condition, ...], meta.list_map("type")] = ()
    """What a deletion still waits for."""


class Namespace(meta.Object):
    """A scope for names."""

    KIND: ClassVar[str] = "Namespace"
    PLURAL: ClassVar[str] = "namespaces"
    NAMESPACED: ClassVar[bool] = False

    spec: NamespaceSpec = Field(default_factory=NamespaceSpec)
    """Desired state."""
    status: NamespaceStatus = Field(default_factory=NamespaceStatus)
    """Observed state, written by the server."""
