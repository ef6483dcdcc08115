"""Authorization: may this user do this? Roles ``admin``, ``node``, ``none``; RBAC comes with the identity issue behind the same call.

Judged on the request alone. What depends on the object (whose Pod is it, which field changed) is judged in ``admission.py``; a node
passes only where both agree. The rules of the node role are one table, so that they can be read and tested as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from controller.apiserver.request import ANONYMOUS, RequestInfo, User
from lattice.api import errors, names

Role = Literal["admin", "node", "none"]

_PUBLIC: Final = frozenset({"/healthz", "/livez", "/readyz", "/version"})
_DISCOVERY: Final = ("/api", "/apis", "/openapi")

_ANY: Final = "*"
_OWN: Final = "own"
_LEASES: Final = ("coordination.k8s.io", "leases", "")
NODE_RULES: Final[Mapping[tuple[str, str, str], tuple[frozenset[str], str]]] = {
    ("", "nodes", ""): (frozenset({"get", "create", "update", "patch"}), _OWN),
    ("", "nodes", "status"): (frozenset({"get", "update", "patch"}), _OWN),
    ("", "nodes", "desired"): (frozenset({"get"}), _OWN),
    _LEASES: (frozenset({"get", "create", "update", "patch"}), _OWN),
    ("", "pods", ""): (frozenset({"delete"}), _ANY),
    ("", "pods", "status"): (frozenset({"update", "patch"}), _ANY),
    ("", "events", ""): (frozenset({"create", "patch", "update"}), _ANY),
    ("", "persistentvolumes", ""): (frozenset({"update", "patch"}), _ANY),
    (names.GROUP, "tombstones", ""): (frozenset({"delete"}), _ANY),
}
"""(group, resource, subresource) to (verbs, whose). ``own``: only the object of the node's own name; ``*``: admission looks at it."""


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
    if info.path.rstrip("/") in _PUBLIC and info.verb in {"get", "head"}:
        return
    role = role_of(user)
    if role == "admin":
        return
    if not info.resource:
        path = info.path.rstrip("/")
        discovery = any(path == root or path.startswith(f"{root}/") for root in _DISCOVERY)
        if user is not ANONYMOUS and info.verb in {"get", "head"} and (discovery or path.startswith(("/healthz/", "/livez/", "/readyz/"))):
            return
        raise errors.ForbiddenError(f'forbidden: User "{user.name}" cannot {info.verb} path "{info.path}"')
    if role == "node" and _node_may(node_name_of(user), info):
        return
    raise forbidden(user, info)


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
