"""ConfigMap and Secret: small data for containers."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from lattice.api import meta

Base64 = Annotated[str, Field(json_schema_extra={"format": "byte"})]
"""Bytes as base64 text."""


class ConfigMap(meta.Object):
    """Configuration as key-value pairs."""

    KIND: ClassVar[str] = "ConfigMap"
    PLURAL: ClassVar[str] = "configmaps"

    data: dict[str, str] = Field(default_factory=dict)
    """Text values."""
    binary_data: dict[str, Base64] = Field(default_factory=dict)
    """Values that are not UTF-8."""
    immutable: bool | None = None
    """If true, the data cannot be changed any more."""


class Secret(meta.Object):
    """Data that is not shown in logs, events, errors or command lines."""

    KIND: ClassVar[str] = "Secret"
    PLURAL: ClassVar[str] = "secrets"

    data: dict[str, Base64] = Field(default_factory=dict)
    """Values, base64."""
    string_data: dict[str, str] | None = None
    """Write-only convenience: text values that the server moves into ``data``."""
    type: str = "Opaque"
    """Kind of the content, such as ``Opaque`` or ``kubernetes.io/dockerconfigjson``. Cannot be changed."""
    immutable: bool | None = None
    """If true, the data cannot be changed any more."""
