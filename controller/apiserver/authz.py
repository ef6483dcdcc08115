"""Authorization: may this user do this? Roles ``admin``, ``node``, ``none``; RBAC comes with the identity issue behind the same call.

Judged on the request alone. What depends on the object (whose Pod is it, which field changed) is judged in ``admission.py``; a node
passes only where both agree. The rules of the node role are one table, so that they can be read and tested as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from controller.apiserver.request import RequestInfo, User
from lattice.api import errors, names

Role = Literal["admin", "node", "none"]

_ANY: Final = "*"
_OWN: Final = "own"
_LEASES: Final = ("coordination.k8s.io", "leases", "")
NODE_RULES: Final[Mapping[tuple[str, str, str], tuple[frozenset[str], str]]] = {
    ("", "nodes", ""): (frozenset({"get", "create", "update", "patch", "delete"}), _OWN),
    ("", "nodes", "status"): (frozenset({"get", "update", "patch"}), _OWN),
    ("", "nodes", "desired"): (frozenset({"get"}), _OWN),
    ("", "nodes", "line"): (frozenset({"get"}), _OWN),
    ("", "nodes", "streams"): (frozenset({"get"}), _OWN),
    _LEASES: (frozenset({"get", "create", "update", "patch", "delete"}), _OWN),
    ("", "pods", ""): (frozenset({"delete"}), _ANY),
    ("", "pods", "status"): (frozenset({"update", "patch"}), _ANY),
    ("", "events", ""): (frozenset({"create", "patch", "update"}), _ANY),
    ("", "persistentvolumes", ""): (frozenset({"update", "patch"}), _ANY),
    (names.GROUP, "tombstones", ""): (frozenset({"delete"}), _ANY),
}
"""(group, resource, subresource) to (verbs, whose). ``own``: only the object of the node's own name; ``*``: admission looks at it."""

SELF_REVIEWS: Final[Mapping[str, tuple[str, ...]]] = {
    "authorization.k8s.io": ("selfsubjectaccessreviews", "selfsubjectrulesreviews"),
    "authentication.k8s.io": ("selfsubjectreviews",),
}
"""What every user may create: questions about themselves. Kubernetes' ``system:basic-user``."""
_PUBLIC: Final = ("/healthz", "/livez", "/readyz", "/version", "/version/")
_DISCOVERY: Final = ("/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", *_PUBLIC[2:])
PATH_RULES: Final[tuple[tuple[bool, tuple[str, ...]], ...]] = (
    (True, ("/.well-known", "/.well-known/*")),
    (True, _DISCOVERY),
    (False, _PUBLIC),
)
"""(only for known users, paths that may be read). Kubernetes' ``system:service-account-issuer-discovery``, ``system:discovery`` and
``system:public-info-viewer``."""
_PEERS: Final = "/lattice/v1/peers/"
_READS: Final = frozenset({"get", "head"})


def node_name_of(user: User) -> str:
    """Return the node that a user is the agent of, or the empty string."""
    if names.GROUP_NODES in user.groups and user.name.startswith(names.NODE_USER_PREFIX):
        return user.name[len(names.NODE_USER_PREFIX) :]
    return ""


def role_of(user: User) -> Role:
    """Return the role of a user."""
    if names.GROUP_MASTERS in user.groups:
        return "admin"
    return "node" if node_name_of(user) else "none"


def authorize(user: User, info: RequestInfo) -> None:
    """Return if ``user`` may do it.

    Raises:
        errors.ForbiddenError: the user may not.
    """
    if role_of(user) == "admin":
        return
    if not info.resource:
        if names.GROUP_PEERS in user.groups and info.path.startswith(_PEERS):
            return
        if info.verb in _READS and _may_read_path(user, info.path):
            return
        raise errors.ForbiddenError(f'forbidden: User "{user.name}" cannot {info.verb} path "{info.path}"')
    if _asks_about_self(user, info):
        return
    node = node_name_of(user)
    if node and _node_may(node, info):
        return
    raise forbidden(user, info)


def _may_read_path(user: User, path: str) -> bool:
    known = names.GROUP_AUTHENTICATED in user.groups
    bare = path.rstrip("/")
    return any(
        bare == allowed or (allowed.endswith("/*") and path.startswith(allowed[:-1]))
        for only_known, paths in PATH_RULES
        if known or not only_known
        for allowed in paths
    )


def _asks_about_self(user: User, info: RequestInfo) -> bool:
    reviews = SELF_REVIEWS.get(info.group, ())
    return info.verb == "create" and info.resource in reviews and not info.subresource and names.GROUP_AUTHENTICATED in user.groups


def _node_may(node: str, info: RequestInfo) -> bool:
    rule = NODE_RULES.get((info.group, info.resource, info.subresource))
    if rule is None or info.verb not in rule[0]:
        return False
    if rule[1] == _ANY:
        return True
    if (info.group, info.resource, info.subresource) == _LEASES and info.namespace != names.NAMESPACE_NODE_LEASE:
        return False
    # A create names its object in the body, which admission compares.
    return info.name == node or (info.verb == "create" and not info.name)


def node_rules(user: User) -> list[dict[str, list[str]]]:
    """Return what a node may do, as rules of a SelfSubjectRulesReview."""
    rules = []
    for (group, resource, subresource), (verbs, whose) in NODE_RULES.items():
        rule = {"verbs": sorted(verbs), "apiGroups": [group], "resources": [f"{resource}/{subresource}" if subresource else resource]}
        rules.append({**rule, "resourceNames": [node_name_of(user)]} if whose == _OWN else rule)
    return rules


def forbidden(user: User, info: RequestInfo, why: str = "") -> errors.ForbiddenError:
    """Return the refusal in kube-apiserver's words."""
    qualified = f"{info.resource}.{info.group}" if info.group else info.resource
    named = f'{qualified} "{info.name}"' if info.name else qualified
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    scope = f'in the namespace "{info.namespace}"' if info.namespace and info.resource != "namespaces" else "at the cluster scope"
    message = f'{named} is forbidden: User "{user.name}" cannot {info.verb} resource "{resource}" in API group "{info.group}" {scope}'
    details = {"name": info.name} if info.name else {}
    if info.group:
        details["group"] = info.group
    details["kind"] = info.resource
    return errors.ForbiddenError(f"{message}: {why}" if why else message, details=details)
