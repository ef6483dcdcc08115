"""What is attacked: a valid object of every kind, and kinds of its own whose schemas use everything that a definition may say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

NAMESPACE: Final = "fuzz"
"""Where the attacks go; the witness keeps its own things in another one."""
GROUP: Final = "fuzz.example"
_PORT: Final = {"name": "http", "containerPort": 80, "protocol": "TCP"}
_DEFINITIONS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One kind. ``steady``: nobody but the attacker writes or deletes it, so each change must have been asked for."""

    collection: str
    api_version: str
    kind: str
    body: dict[str, Any]
    subresources: tuple[str, ...] = ()
    steady: bool = True
    stored: bool = True

    @property
    def namespaced(self) -> bool:
        """Return whether its objects are in a namespace."""
        return f"/namespaces/{NAMESPACE}/" in self.collection

    @property
    def everywhere(self) -> str:
        """Return the path of all objects of the kind."""
        return self.collection.replace(f"/namespaces/{NAMESPACE}", "")

    def valid(self, name: str) -> dict[str, Any]:
        """Return a correct object. A review has no metadata."""
        if not self.stored:
            return {"apiVersion": self.api_version, "kind": self.kind, **self.body}
        metadata = {"name": name, "labels": {"fuzz": "yes", "a": "b"}, "annotations": {"example.com/a": "b"}}
        return {"apiVersion": self.api_version, "kind": self.kind, "metadata": metadata, **self.body}


def _core(plural: str, kind: str, body: dict[str, Any], *subresources: str, cluster: bool = False, steady: bool = True) -> Subject:
    path = f"/api/v1/{plural}" if cluster else f"/api/v1/namespaces/{NAMESPACE}/{plural}"
    return Subject(collection=path, api_version="v1", kind=kind, body=body, subresources=subresources, steady=steady)


BUILT_IN: Final = (
    _core("configmaps", "ConfigMap", {"data": {"a": "b", "c": "d"}, "binaryData": {"x": "AAEC"}}),
    _core("secrets", "Secret", {"data": {"a": "YQ=="}, "stringData": {"b": "c"}, "type": "Opaque"}),
    _core("serviceaccounts", "ServiceAccount", {"secrets": [{"name": "x"}], "automountServiceAccountToken": False}, "token"),
    _core(
        "events", "Event",
        {"involvedObject": {"kind": "Pod", "name": "x", "namespace": NAMESPACE}, "reason": "R", "message": "m", "count": 1,
         "type": "Normal", "firstTimestamp": "2026-01-01T00:00:00Z", "eventTime": "2026-01-01T00:00:00.000001Z",
         "reportingComponent": "c", "reportingInstance": "i", "action": "A"},
        steady=False,
    ),
    _core(
        "pods", "Pod",
        {"spec": {"nodeSelector": {"a": "b"}, "terminationGracePeriodSeconds": 0,
                  "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoSchedule"}],
                  "containers": [{"name": "a", "image": "x", "ports": [_PORT], "env": [{"name": "A", "value": "b"}],
                                  "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}},
                                  "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                                  "livenessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 5}}],
                  "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]}},
        "status", "binding", "eviction", "log", "ephemeralcontainers", "resize", steady=False,
    ),
    _core(
        "persistentvolumeclaims", "PersistentVolumeClaim",
        {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}, "status", steady=False,
    ),
    _core(
        "persistentvolumes", "PersistentVolume",
        {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                  "csi": {"driver": "local.lattice.dev", "volumeHandle": "fuzz"}}},
        "status", cluster=True, steady=False,
    ),
    _core(
        "nodes", "Node",
        {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}, "status": {"capacity": {"cpu": "1", "memory": "1Gi"}}},
        "status", "desired", cluster=True, steady=False,
    ),
    _core("namespaces", "Namespace", {}, "status", "finalize", cluster=True, steady=False),
    Subject(
        collection=f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases", api_version="coordination.k8s.io/v1", kind="Lease",
        body={"spec": {"holderIdentity": "a", "leaseDurationSeconds": 3, "renewTime": "2026-01-01T00:00:00.000000+00:00"}},
    ),
    Subject(
        collection=f"/apis/lattice.dev/v1/namespaces/{NAMESPACE}/workloads", api_version="lattice.dev/v1", kind="Workload",
        body={"spec": {"image": "busybox:1", "replicas": 1, "storage": {"size": "1Gi"}, "env": [{"name": "A", "value": "b"}]}},
        subresources=("status", "scale"), steady=False,
    ),
)  # fmt: skip

_SPEC_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["image"],
    "x-kubernetes-validations": [
        {"rule": "!has(self.min) || self.min <= self.replicas", "message": "min must not be over replicas"},
        {"rule": "self.image.size() < 200 && !self.image.startsWith('bad')", "messageExpression": "'not ' + self.image"},
        {"rule": "!has(oldSelf.fixed) || (has(self.fixed) && self.fixed == oldSelf.fixed)", "reason": "FieldValueForbidden"},
        {"rule": "!has(self.ports) || self.ports.all(p, self.ports.exists_one(q, q.port == p.port && q.protocol == p.protocol))"},
    ],
    "properties": {
        "image": {"type": "string", "minLength": 1, "maxLength": 5000, "pattern": "^[a-z0-9./:_-]*$"},
        "replicas": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 100, "default": 1},
        "min": {"type": "integer", "nullable": True},
        "fixed": {"type": "string"},
        "ratio": {"type": "number", "multipleOf": 0.5},
        "mode": {"type": "string", "enum": ["Fast", "Slow"], "default": "Fast"},
        "when": {"type": "string", "format": "date-time"},
        "blob": {"type": "string", "format": "byte"},
        "port": {"x-kubernetes-int-or-string": True},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "embedded": {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
        "limits": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 20},
        "atoms": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"x": {"type": "string"}}},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 50}, "x-kubernetes-list-type": "set", "maxItems": 50},
        "plain": {"type": "array", "items": {"type": "integer"}, "maxItems": 5000},
        "ports": {
            "type": "array",
            "maxItems": 30,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["port", "protocol"],
            "items": {
                "type": "object",
                "required": ["port"],
                "properties": {
                    "port": {"type": "integer", "minimum": 1},
                    "protocol": {"type": "string", "default": "TCP"},
                    "name": {"type": "string"},
                },
            },
        },
        "either": {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
        },
    },
}
_STATUS_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "x-kubernetes-preserve-unknown-fields": True,
    "properties": {"replicas": {"type": "integer"}, "phase": {"type": "string"}, "selector": {"type": "string"}},
}


def definition(plural: str, kind: str, *, namespaced: bool = True) -> dict[str, Any]:
    """Return a definition in two versions that uses all of the schema language."""
    schema = {"type": "object", "required": ["spec"], "properties": {"spec": _SPEC_SCHEMA, "status": _STATUS_SCHEMA}}
    version: dict[str, Any] = {
        "served": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [
            {"name": "Image", "type": "string", "jsonPath": ".spec.image"},
            {"name": "Ports", "type": "string", "jsonPath": ".spec.ports[*].port"},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ],
        "selectableFields": [{"jsonPath": ".spec.image"}],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced" if namespaced else "Cluster",
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower(), "categories": ["all"]},
            "versions": [{"name": "v1", "storage": True, **version}, {"name": "v1beta1", "storage": False, "deprecated": True, **version}],
        },
    }


_BODY: Final[dict[str, Any]] = {
    "spec": {
        "image": "busybox:1", "replicas": 2, "min": 1, "ratio": 1.5, "mode": "Slow", "when": "2026-01-01T00:00:00Z", "blob": "AAEC",
        "port": "http", "free": {"x": {"y": [1, {"z": None}]}},
        "embedded": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "e", "labels": {"a": "b"}}, "spec": {"x": 1}},
        "limits": {"cpu": "1"}, "atoms": {"x": "y"}, "tags": ["a", "b"], "plain": [1, 2, 3],
        "ports": [{"port": 80, "name": "http"}, {"port": 80, "protocol": "UDP"}], "either": {"a": "x"},
    },
    "status": {"replicas": 1, "phase": "Up"},
}  # fmt: skip
CUSTOM: Final = (
    Subject(
        collection=f"/apis/{GROUP}/v1/namespaces/{NAMESPACE}/gears", api_version=f"{GROUP}/v1", kind="Gear", body=_BODY,
        subresources=("status", "scale"),
    ),
    Subject(
        collection=f"/apis/{GROUP}/v1beta1/namespaces/{NAMESPACE}/gears", api_version=f"{GROUP}/v1beta1", kind="Gear", body=_BODY,
        subresources=("status", "scale"),
    ),
    Subject(collection=f"/apis/{GROUP}/v1/planets", api_version=f"{GROUP}/v1", kind="Planet", body=_BODY, subresources=("status", "scale")),
)  # fmt: skip
CUSTOM_DEFINITIONS: Final = (definition("gears", "Gear"), definition("planets", "Planet", namespaced=False))

_AUTHORIZATION: Final = "authorization.k8s.io/v1"
_AUTHENTICATION: Final = "authentication.k8s.io/v1"
_ATTRIBUTES: Final = {"namespace": "default", "verb": "get", "group": "", "version": "v1", "resource": "pods", "name": "x"}


def _review(api_version: str, plural: str, kind: str, spec: dict[str, Any], namespace: str = "") -> Subject:
    path = f"/apis/{api_version}{namespace}/{plural}"
    return Subject(collection=path, api_version=api_version, kind=kind, body={"spec": spec}, stored=False)


REVIEWS: Final = (
    _review(_AUTHORIZATION, "selfsubjectaccessreviews", "SelfSubjectAccessReview", {"resourceAttributes": _ATTRIBUTES}),
    _review(_AUTHORIZATION, "selfsubjectaccessreviews", "SelfSubjectAccessReview", {"nonResourceAttributes": {"path": "/", "verb": "get"}}),
    _review(_AUTHORIZATION, "selfsubjectrulesreviews", "SelfSubjectRulesReview", {"namespace": "default"}),
    _review(
        _AUTHORIZATION, "subjectaccessreviews", "SubjectAccessReview",
        {"user": "alice", "groups": ["x"], "resourceAttributes": _ATTRIBUTES, "extra": {"a": ["b"]}},
    ),
    _review(
        _AUTHORIZATION, "localsubjectaccessreviews", "LocalSubjectAccessReview", {"user": "alice", "resourceAttributes": _ATTRIBUTES},
        f"/namespaces/{NAMESPACE}",
    ),
    _review(_AUTHENTICATION, "selfsubjectreviews", "SelfSubjectReview", {}),
    _review(_AUTHENTICATION, "tokenreviews", "TokenReview", {"token": "x", "audiences": ["a"]}),
)  # fmt: skip

DEFINITIONS: Final = Subject(
    collection=_DEFINITIONS, api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition", body={}, subresources=("status",),
    steady=False,
)  # fmt: skip
HOSTILE_RULES: Final = (
    "self.items.all(a, self.items.all(b, self.items.all(c, a + b + c > 0)))", "self.name.matches('(a+)+$')", "self.matches('(')",
    "true || " * 500 + "true", "(" * 300 + "true" + ")" * 300, "1 / 0 == 1", "self.nonesuch.deep", "oldSelf == self", "'a'.size()", "",
    "[1,2,3].map(x, [1,2,3].map(y, x * y)).size() > 0", "quantity(self.name).isGreaterThan(quantity('1'))",
    "url(self.name).getHost() == ''",
    "self.all(k, k)", "\0", "self == self.self", "duration('1h') < duration('2h')", "!has(self.x) || self.x.y.z",
    "size(self) > 0 ? 1 : 'a'",
    "string(self.count) == '1'", "self.name.split('').map(c, c).size() >= 0", "{'a': 1}['b'] == 1", "type(self) == int",
    "9223372036854775807 + 1 > 0",
    "format.dns1123Label().validate(self.name).hasValue()", "self.items.sort() == self.items", "cidr('::/0').containsIP('::1')",
)  # fmt: skip
HOSTILE_PATTERNS: Final = (
    "(a+)+$",
    "^(?=a)b",
    "(a|a)*$",
    "[",
    "\\1",
    "(?P<a>x)(?P=a)",
    "^.{0,1000}$",
    "\\p{L}+",
    "(?i)x",
    "a{100000}",
    "x{2,1}",
)
