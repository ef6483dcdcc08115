"""Reviews of ``authentication.k8s.io``: who is it? Nothing is stored; the API server answers the creation.

``kubectl auth whoami`` sends a SelfSubjectReview. Fields and names are Kubernetes'.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from lattice.api import meta

GROUP = "authentication.k8s.io"


class UserInfo(meta.Model):
    """A user, as the authenticator knows them."""

    username: str = ""
    """Name, unique among all active users."""
    uid: str = ""
    """Tells a user from an earlier one of the same name."""
    groups: meta.AtomicList[str] = ()
    """Groups that the user is in."""
    extra: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """What else the authenticator says."""


class SelfSubjectReviewStatus(meta.Model):
    """The answer."""

    user_info: UserInfo = Field(default_factory=UserInfo)
    """The caller."""


class SelfSubjectReview(meta.Object):
    """Who is the caller?"""

    GROUP: ClassVar[str] = GROUP
    KIND: ClassVar[str] = "SelfSubjectReview"
    PLURAL: ClassVar[str] = "selfsubjectreviews"
    NAMESPACED: ClassVar[bool] = False

    status: SelfSubjectReviewStatus = Field(default_factory=SelfSubjectReviewStatus)
    """The answer, written by the server."""


class TokenReviewSpec(meta.Model):
    """What is asked about."""

    token: str = ""
    """The bearer token."""
    audiences: meta.AtomicList[str] = ()
    """For whom the token must be good; empty for the API server."""


class TokenReviewStatus(meta.Model):
    """The answer."""

    authenticated: bool = False
    """Whether the token is somebody's."""
    user: UserInfo = Field(default_factory=UserInfo)
    """Whose it is."""
    audiences: meta.AtomicList[str] = ()
    """Which of the audiences asked for the token is good for."""
    error: str = ""
    """Why it could not be checked."""


class TokenReview(meta.Object):
    """Whose is a token?"""

    GROUP: ClassVar[str] = GROUP
    KIND: ClassVar[str] = "TokenReview"
    PLURAL: ClassVar[str] = "tokenreviews"
    NAMESPACED: ClassVar[bool] = False

    spec: TokenReviewSpec = Field(default_factory=TokenReviewSpec)
    """The question."""
    status: TokenReviewStatus = Field(default_factory=TokenReviewStatus)
    """The answer, written by the server."""
