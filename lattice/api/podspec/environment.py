"""Environment variables and where their values come from."""

from __future__ import annotations

from pydantic import Field

from lattice.api import meta
from lattice.api.podspec.common import FieldSelector, KeySelector, ResourceFieldSelector


class EnvVarSource(meta.Model):
    """Where a value comes from; exactly one."""

    secret_key_ref: KeySelector | None = None
    """A key of a Secret."""
    config_map_key_ref: KeySelector | None = None
    """A key of a ConfigMap."""
    field_ref: FieldSelector | None = None
    """A field of the Pod."""
    resource_field_ref: ResourceFieldSelector | None = None
    """A request or limit of a container."""


class EnvVar(meta.Model):
    """An environment variable."""

    name: str = Field(min_length=1)
    """Name of the variable."""
    value: str | None = None
    """Value; ``$(OTHER)`` is replaced by an earlier variable, ``$$`` by ``$``."""
    value_from: EnvVarSource | None = None
    """Source of the value; not together with ``value``."""


class ObjectName(meta.Model):
    """A reference by name."""

    name: str = ""
    """Name of the object."""
    optional: bool | None = None
    """Whether it may be absent."""


class EnvFromSource(meta.Model):
    """All keys of a Secret or ConfigMap as variables."""

    prefix: str | None = None
    """Put before each key."""
    config_map_ref: ObjectName | None = None
    """The ConfigMap."""
    secret_ref: ObjectName | None = None
    """The Secret."""
