"""Reviews of ``authorization.k8s.io``: may somebody do something? Nothing is stored; the API server answers the creation.

``kubectl auth can-i`` sends them. Fields and names are Kubernetes'. The rules behind the answers: ``controller/apiserver/authz.py``.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from lattice.api import meta

GROUP = "authorization.k8s.io"


class SelectorRequirement(meta.Model):
    """One requirement of a selector."""

    key: str = ""
    """The label or field that the requirement applies to."""
    operator: str = ""
    """``In``, ``NotIn``, ``Exists`` or ``DoesNotExist``."""
    values: meta.AtomicList[str] = ()
    """Values to compare with; empty for ``Exists`` and ``DoesNotExist``."""


class SelectorAttributes(meta.Model):
    """The selector of a list or watch, in one of two forms."""

    raw_selector: str = ""
    """The selector as it stands in a query."""
    requirements: meta.AtomicList[SelectorRequirement] = ()
    """The selector, parsed."""


class ResourceAttributes(meta.Model):
    """A request for objects."""

    namespace: str = ""
    """Namespace of the objects; empty for cluster-scoped ones, or for all namespaces."""
    verb: str = ""
    """Such as ``get``, ``list``, ``watch``, ``create``, ``update``, ``patch``, ``delete``; ``*`` means all."""
    group: str = ""
    """API group of the resource; ``*`` means all."""
    version: str = ""
    """API version of the resource; ``*`` means all."""
    resource: str = ""
    """Plural of the kind; ``*`` means all."""
    subresource: str = ""
    """Such as ``status``; empty for none."""
    name: str = ""
    """Name of one object; empty for all."""
    field_selector: SelectorAttributes | None = None
    """Field selector of the request; it can only narrow what is asked for."""
    label_selector: SelectorAttributes | None = None
    """Label selector of the request; it can only narrow what is asked for."""


class NonResourceAttributes(meta.Model):
    """A request for a path that is not about objects."""

    path: str = ""
    """The path, such as ``/healthz``."""
    verb: str = ""
    """The HTTP method in lower case."""


class SelfSubjectAccessReviewSpec(meta.Model):
    """What the caller asks about. One of the two must be set."""

    resource_attributes: ResourceAttributes | None = None
    """A request for objects."""
    non_resource_attributes: NonResourceAttributes | None = None
    """A request for a path."""


class SubjectAccessReviewSpec(SelfSubjectAccessReviewSpec):
    """What is asked about, and about whom."""

    user: str = ""
    """Name of the user. Without groups: as a member of none."""
    groups: meta.AtomicList[str] = ()
    """Groups of the user."""
    extra: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """What else the authenticator says of the user."""
    uid: str = ""
    """Uid of the user."""


class SubjectAccessReviewStatus(meta.Model):
    """The answer."""

    allowed: bool = False
    """Whether it is allowed."""
    denied: bool = False
    """Whether it is refused for good, rather than not allowed by anybody."""
    reason: str = ""
    """Why."""
    evaluation_error: str = ""
    """What went wrong on the way to the answer."""


class SelfSubjectAccessReview(meta.Object):
    """May the caller do something?"""

    GROUP: ClassVar[str] = GROUP
    KIND: ClassVar[str] = "SelfSubjectAccessReview"
    PLURAL: ClassVar[str] = "selfsubjectaccessreviews"
    NAMESPACED: ClassVar[bool] = False

    spec: SelfSubjectAccessReviewSpec = Field(default_factory=SelfSubjectAccessReviewSpec)
    """The question."""
    status: SubjectAccessReviewStatus = Field(default_factory=SubjectAccessReviewStatus)
    """The answer, written by the server."""


class SubjectAccessReview(meta.Object):
    """May somebody do something?"""

    GROUP: ClassVar[str] = GROUP
    KIND: ClassVar[str] = "SubjectAccessReview"
    PLURAL: ClassVar[str] = "subjectaccessreviews"
    NAMESPACED: ClassVar[bool] = False

    spec: SubjectAccessReviewSpec = Field(default_factory=SubjectAccessReviewSpec)
    """The question."""
    status: SubjectAccessReviewStatus = Field(default_factory=SubjectAccessReviewStatus)
    """The answer, written by the server."""


class LocalSubjectAccessReview(meta.Object):
    """May somebody do something in one namespace?"""

    GROUP: ClassVar[str] = GROUP
    KIND: ClassVar[str] = "LocalSubjectAccessReview"
    PLURAL: ClassVar[str] = "localsubjectaccessreviews"

    spec: SubjectAccessReviewSpec = Field(default_factory=SubjectAccessReviewSpec)
    """The question; its namespace is that of the request."""
    status: SubjectAccessReviewStatus = Field(default_factory=SubjectAccessReviewStatus)
    """The answer, written by the server."""


class ResourceRule(meta.Model):
    """Verbs that are allowed on resources."""

    verbs: meta.AtomicList[str] = ()
    """Verbs; ``*`` means all."""
    api_groups: meta.AtomicList[str] = ()
    """API groups; ``*`` means all."""
    resources: meta.AtomicList[str] = ()
    """Plurals, ``plural/subresource``; ``*`` means all."""
    resource_names: meta.AtomicList[str] = ()
    """Names of objects; none means all."""


class NonResourceRule(meta.Model):
    """Methods that are allowed on paths."""

    verbs: meta.AtomicList[str] = ()
    """HTTP methods in lower case; ``*`` means all."""
    non_resource_urls: meta.AtomicList[str] = Field((), alias="nonResourceURLs")
    """Paths; a ``*`` at the end stands for the rest."""


class SelfSubjectRulesReviewSpec(meta.Model):
    """What the caller asks about."""

    namespace: str = ""
    """Namespace to list the rules for."""


class SubjectRulesReviewStatus(meta.Model):
    """The answer."""

    resource_rules: meta.AtomicList[ResourceRule] = ()
    """What is allowed on objects."""
    non_resource_rules: meta.AtomicList[NonResourceRule] = ()
    """What is allowed on paths."""
    incomplete: bool = False
    """Whether more is allowed than the rules say."""
    evaluation_error: str = ""
    """What went wrong on the way to the answer."""


class SelfSubjectRulesReview(meta.Object):
    """What may the caller do in a namespace?"""

    GROUP: ClassVar[str] = GROUP
    KIND: ClassVar[str] = "SelfSubjectRulesReview"
    PLURAL: ClassVar[str] = "selfsubjectrulesreviews"
    NAMESPACED: ClassVar[bool] = False

    spec: SelfSubjectRulesReviewSpec = Field(default_factory=SelfSubjectRulesReviewSpec)
    """The question."""
    status: SubjectRulesReviewStatus = Field(default_factory=SubjectRulesReviewStatus)
    """The answer, written by the server."""
