"""CustomResourceDefinition: a kind that users add. Served by the API server itself (``controller/apiserver/definitions.py``).

The types are as ``apiextensions.k8s.io/v1`` has them; a schema (``openAPIV3Schema``) is kept as an open map, exactly as it was written.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from lattice.api import meta


class Names(meta.Model):
    """How the kind is called."""

    plural: str
    """Plural, as in the path."""
    singular: str | None = None
    """Singular; default: the kind in lower case."""
    short_names: meta.AtomicList[str] | None = None
    """Short names for the command line."""
    kind: str
    """Kind, CamelCase."""
    list_kind: str | None = None
    """Kind of a list; default: the kind with ``List``."""
    categories: meta.AtomicList[str] | None = None
    """Groups of kinds that this one is listed with, such as ``all``."""


class Schema(meta.Model):
    """Schema of one version."""

    open_apiv3_schema: dict[str, Any] = Field(alias="openAPIV3Schema")
    """Structural OpenAPI v3 schema."""


class Version(meta.Model):
    """One version of the kind."""

    name: str
    """Version, such as ``v1beta1``."""
    served: bool
    """Whether requests are answered in it."""
    storage: bool
    """Whether objects are stored in it: true for exactly one version."""
    deprecated: bool | None = None
    """Whether answers carry a warning."""
    deprecation_warning: str | None = None
    """The warning's text."""
    schema_: Schema | None = Field(None, alias="schema")
    """What objects look like."""
    subresources: dict[str, Any] | None = None
    """``status`` and ``scale``."""
    additional_printer_columns: meta.AtomicList[dict[str, Any]] | None = None
    """Columns of ``kubectl get``."""
    selectable_fields: meta.AtomicList[dict[str, Any]] | None = None
    """Fields that a field selector may name."""


class Conversion(meta.Model):
    """How objects change from version to version."""

    strategy: str
    """``None``: only the apiVersion changes."""


class DefinitionSpec(meta.Model):
    """Desired state of a definition."""

    group: str
    """API group."""
    names: Names
    """How the kind is called."""
    scope: Literal["Cluster", "Namespaced"]
    """Whether objects live in namespaces."""
    versions: meta.AtomicList[Version]
    """The versions."""
    conversion: Conversion | None = None
    """Conversion between versions."""
    preserve_unknown_fields: bool | None = None
    """Only false is accepted."""


class DefinitionStatus(meta.Model):
    """Observed state of a definition."""

    conditions: Annotated[tuple[meta.Condition, ...], meta.list_map("type")] = ()
    """``NamesAccepted``, ``Established``, ``Terminating``."""
    accepted_names: dict[str, Any] | None = None
    """Names in use."""
    stored_versions: meta.AtomicList[str] = ()
    """Versions in which objects may be stored."""


class CustomResourceDefinition(meta.Object):
    """A kind that users add."""

    GROUP: ClassVar[str] = "apiextensions.k8s.io"
    KIND: ClassVar[str] = "CustomResourceDefinition"
    PLURAL: ClassVar[str] = "customresourcedefinitions"
    NAMESPACED: ClassVar[bool] = False

    spec: DefinitionSpec
    """Desired state."""
    status: DefinitionStatus | None = None
    """Observed state, written by the server."""
