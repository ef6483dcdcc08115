"""Reviews: who am I, may I do this, may she, whose token is that? Kinds of which nothing is stored: creating one is asking.

``writehandlers.py`` calls :meth:`Reviews.create` for them; ``resources()`` are their rows in the table. Decided by the same functions
that judge requests (``authz.py``, ``authn.py``), never by a second set of rules. Shapes and sentences are kube-apiserver's: it answers
with the object that was sent and the status filled in, but with a new object for a rules review and for a review of oneself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from controller.apiserver import authz, shaping
from controller.apiserver.authn import TokenAuthenticator
from controller.apiserver.compiled import structural_of
from controller.apiserver.request import RequestInfo, User
from controller.apiserver.resources import Resource
from controller.apiserver.writing import WriteOptions, Writer
from lattice.api import errors, names, schema, scheme
from lattice.api.errors import Cause
from lattice.machinery.clock import Clock

AUDIENCE: Final = "https://kubernetes.default.svc"
"""For whom all our tokens are good: the API server, by the name that Kubernetes gives it."""

Object = dict[str, Any]


def resources() -> tuple[Resource, ...]:
    """Return the rows of the reviews for the table of resources."""
    return tuple(
        Resource(
            group=kind.GROUP,
            version=kind.VERSION,
            kind=kind.KIND,
            list_kind=f"{kind.KIND}List",
            plural=kind.PLURAL,
            singular=kind.KIND.lower(),
            namespaced=kind.NAMESPACED,
            schema=schema.object_schema(kind),
            verbs=("create",),
            virtual=True,
            type=kind,
        )
        for kind in scheme.REVIEWS
    )


class Reviews:
    """Answers reviews.

    Args:
        authenticator: knows the tokens.
        clock: time.
    """

    def __init__(self, authenticator: TokenAuthenticator, clock: Clock) -> None:
        self._authenticator = authenticator
        self._clock = clock

    async def create(self, resource: Resource, namespace: str, user: User, body: Any, options: WriteOptions) -> Object:
        """Return the answer to a review.

        Raises:
            errors.BadRequestError, errors.InvalidError: the question is not one.
        """
        writer = Writer(resource)
        review = writer.match_request(body, namespace=namespace)
        writer.shape(review, options)
        if causes := structural_of(resource).check(review):
            raise writer.invalid("", causes)
        sent = {key: value for key, value in review["metadata"].items() if key != "managedFields"}
        writer.own(review, None, options, now=self._clock.now())
        if causes := _check(resource, review, sent, namespace):
            raise writer.invalid("", causes)
        spec = review.get("spec") or {}
        match resource.kind:
            case "SelfSubjectReview":
                return _new(resource, {"creationTimestamp": self._now()}, {"userInfo": _user_info(user)})
            case "SelfSubjectRulesReview":
                if not spec.get("namespace"):
                    raise errors.BadRequestError("no namespace on request")
                return {**_new(resource, {}, _rules(user)), "spec": {}}
            case "TokenReview":
                return {**review, "status": self._token(spec)}
            case "SelfSubjectAccessReview":
                return {**review, "status": _decide(user, spec)}
            case _:
                asked = User(spec.get("user", ""), spec.get("uid", ""), tuple(spec.get("groups") or ()))
                return {**review, "status": _decide(asked, spec)}

    def _now(self) -> str:
        return self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def _token(self, spec: Mapping[str, Any]) -> Object:
        if not spec.get("token"):
            raise errors.BadRequestError("token is required for TokenReview in authentication")
        found = self._authenticator.user_of(spec["token"])
        if found is None:
            return {"user": {}, "error": "invalid bearer token"}
        audiences = spec.get("audiences") or []
        if audiences and AUDIENCE not in audiences:
            return {"user": {}}
        status = {"authenticated": True, "user": _user_info(found)}
        return {**status, "audiences": [AUDIENCE]} if audiences else status


def _new(resource: Resource, metadata: Object, status: Object) -> Object:
    return {"kind": resource.kind, "apiVersion": resource.group_version, "metadata": metadata, "status": status}


def _user_info(user: User) -> Object:
    return {"username": user.name, **({"uid": user.uid} if user.uid else {}), "groups": list(user.groups)}


def _check(resource: Resource, review: Mapping[str, Any], metadata: Mapping[str, Any], namespace: str) -> list[Cause]:
    """Return what is wrong with a review, in Kubernetes' words."""
    if not resource.kind.endswith("SubjectAccessReview"):
        return []
    spec = review.get("spec") or {}
    about, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    causes = []
    if about is not None and path is not None:
        causes.append(shaping.invalid("spec.nonResourceAttributes", path, "cannot be specified in combination with resourceAttributes"))
    if about is None and path is None:
        message = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        causes.append(shaping.invalid("spec.resourceAttributes", None, message))
    if resource.kind != "SelfSubjectAccessReview" and not spec.get("user") and not spec.get("groups"):
        causes.append(shaping.invalid("spec.user", "", "at least one of user or group must be specified"))
    if resource.namespaced:
        if metadata.keys() - {"namespace"}:
            causes.append(shaping.invalid("metadata", metadata, "must be empty except for namespace"))
        if about is not None and about.setdefault("namespace", namespace) != namespace:
            causes.append(shaping.invalid("spec.resourceAttributes.namespace", about["namespace"], "must match metadata.namespace"))
        if path is not None:
            causes.append(shaping.invalid("spec.nonResourceAttributes", path, "disallowed on this kind of request"))
    elif metadata:
        causes.append(shaping.invalid("metadata", metadata, "must be empty"))
    return causes


def _decide(user: User, spec: Mapping[str, Any]) -> Object:
    try:
        authz.authorize(user, _info(spec))
    except errors.ForbiddenError:
        return {"allowed": False}
    return {"allowed": True}


def _info(spec: Mapping[str, Any]) -> RequestInfo:
    """Return the request that a review asks about."""
    if (path := spec.get("nonResourceAttributes")) is not None:
        return RequestInfo(path.get("verb", ""), path.get("path", ""))
    about = spec["resourceAttributes"]
    parts = {name: about.get(name, "") for name in ("verb", "group", "version", "resource", "subresource", "namespace", "name")}
    # A question without a resource is about objects all the same; "*" is what nobody but an admin may.
    return RequestInfo(path="", **{**parts, "resource": parts["resource"] or "*"})


def _rules(user: User) -> Object:
    """Return what a user may do, as far as it can be said in rules."""
    resource_rules: list[Object] = []
    path_rules: list[Object] = []
    if authz.role_of(user) == "admin":
        resource_rules.append({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
        path_rules.append({"verbs": ["*"], "nonResourceURLs": ["*"]})
    known = names.GROUP_AUTHENTICATED in user.groups
    if known:
        for group, reviews in authz.SELF_REVIEWS.items():
            resource_rules.append({"verbs": ["create"], "apiGroups": [group], "resources": list(reviews)})
    if authz.role_of(user) == "node":
        resource_rules += authz.node_rules(user)
    path_rules += [{"verbs": ["get"], "nonResourceURLs": list(paths)} for only_known, paths in authz.PATH_RULES if known or not only_known]
    return {"resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": False}
