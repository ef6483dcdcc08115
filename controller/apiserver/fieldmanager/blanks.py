"""What an object of Kubernetes' own kinds has before anybody wrote anything.

Those kinds are Go structs: a field that is a struct, not a pointer to one, is there from the start, so nobody ever comes to own it
(``f:spec`` of a Lease has no ``"."``), and what the server itself fills in while it creates the object is nobody's either. Custom
resources start from nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_REVIEW: Final[Mapping[str, Any]] = {"spec": {}, "status": {}}
_BLANKS: Final[Mapping[tuple[str, str], Mapping[str, Any]]] = {
    ("v1", "Namespace"): {"spec": {"finalizers": ["kubernetes"]}, "status": {}},
    ("v1", "Node"): {"spec": {}, "status": {}},
    ("v1", "Pod"): {"spec": {"containers": []}, "status": {}},
    ("v1", "PersistentVolume"): {"spec": {}, "status": {}},
    ("v1", "PersistentVolumeClaim"): {"spec": {"resources": {}}, "status": {}},
    ("v1", "Event"): {"involvedObject": {}, "source": {}},
    ("coordination.k8s.io/v1", "Lease"): {"spec": {}},
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"): {
        "spec": {"names": {}},
        "status": {"acceptedNames": {}, "conditions": [], "storedVersions": []},
    },
    ("authentication.k8s.io/v1", "SelfSubjectReview"): {"status": {}},
    ("authentication.k8s.io/v1", "TokenReview"): _REVIEW,
    ("authorization.k8s.io/v1", "SelfSubjectAccessReview"): _REVIEW,
    ("authorization.k8s.io/v1", "SubjectAccessReview"): _REVIEW,
    ("authorization.k8s.io/v1", "LocalSubjectAccessReview"): _REVIEW,
    ("authorization.k8s.io/v1", "SelfSubjectRulesReview"): _REVIEW,
}


def blank_of(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an object of this kind starts from, without its metadata."""
    version, kind = obj.get("apiVersion"), obj.get("kind")
    if not isinstance(version, str) or not isinstance(kind, str):
        return {}
    return _BLANKS.get((version, kind), {})
