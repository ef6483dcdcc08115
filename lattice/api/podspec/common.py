"""What several parts of a Pod share."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import ConfigDict, Field

from lattice.api import meta

IntOrString = Annotated[
    int | str,
    Field(json_schema_extra={"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}),
]
Opaque: TypeAlias = dict[str, Any]
"""A field that is refused whole: the schema knows its name, so that it is not dropped silently, and nothing below it."""


class LocalObjectReference(meta.Model):
    """A reference by name to an object of the same namespace."""

    model_config = ConfigDict(json_schema_extra=meta.ATOMIC)

    name: str = ""
    """Name of the object."""


class KeySelector(meta.Model):
    """A key of a Secret or ConfigMap in the Pod's namespace."""

    model_config = ConfigDict(json_schema_extra=meta.ATOMIC)

    name: str = ""
    """Name of the object."""
    key: str
    """Key in its data."""
    optional: bool | None = None
    """If true, the variable is left out where the key is absent; else the Pod waits."""


class FieldSelector(meta.Model):
    """A field of the Pod."""

    model_config = ConfigDict(json_schema_extra=meta.ATOMIC)

    api_version: str | None = None
    """Version of the path, ``v1``."""
    field_path: str
    """``metadata.name``, ``metadata.namespace``, ``metadata.uid``, ``metadata.labels['k']``, ``spec.nodeName``, ``status.podIP`` …"""


class ResourceFieldSelector(meta.Model):
    """A request or limit of a container."""

    model_config = ConfigDict(json_schema_extra=meta.ATOMIC)

    container_name: str | None = None
    """Name of the container; in a volume it must be given, in ``env`` it is the container itself where absent."""
    resource: str
    """``limits.cpu``, ``requests.memory`` …; a limit that is not set is what the Node offers."""
    divisor: Annotated[str, Field(json_schema_extra={"x-kubernetes-int-or-string": True})] | None = None
    """Unit of the value, such as ``1m`` or ``1Mi``; default 1. Rounded up."""
