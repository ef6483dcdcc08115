"""What the scheduler knows of Pods, Nodes, claims and volumes: small values, made once from each object's JSON.

The ``project_*`` functions are the projections of the control plane's informers (``controller/informers.py``): they run once for each
version of an object. Everything after them works on these values and never on documents. Amounts are integers: millicores for
``cpu``, whole units (bytes, Pods, devices) for all else.

Guarantees: two equal values schedule equally, so a change that leaves the value equal needs no new round. An amount that cannot be
parsed counts as 0 here; the API server has refused it before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from controller.scheduler.requests import Amounts, amounts, pod_requests
from lattice.api import names, selectors

Document: TypeAlias = Mapping[str, Any]


class Name(NamedTuple):
    """Namespace and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class HostPort(NamedTuple):
    """A port that a Pod insists on."""

    host_ip: str
    port: int
    protocol: str

    def conflicts_with(self, other: HostPort) -> bool:
        """Return whether both cannot be published on one machine: same port, and the same address or one of them all."""
        if (self.port, self.protocol) != (other.port, other.protocol):
            return False
        return self.host_ip == other.host_ip or _ANY_ADDRESS in (self.host_ip, other.host_ip)


_ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - compared, not bound to


class Toleration(NamedTuple):
    """See ``lattice.api.pod.Toleration``; absent fields are empty."""

    key: str
    operator: str
    value: str
    effect: str


class Taint(NamedTuple):
    """See ``lattice.api.node.Taint``."""

    key: str
    value: str
    effect: str

    def tolerated_by(self, tolerations: Iterable[Toleration]) -> bool:
        """Return whether one of ``tolerations`` covers this taint (Kubernetes' ``ToleratesTaint``)."""
        return any(
            toleration.effect in ("", self.effect)
            and toleration.key in ("", self.key)
            and (toleration.operator == "Exists" or (toleration.key != "" and toleration.value == self.value))
            for toleration in tolerations
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PodInfo:
    """A Pod, as far as it matters for placing it or for what it takes from its node."""

    key: Name
    uid: str = ""
    resource_version: str = ""
    node_name: str = ""
    requests: Amounts = ()
    node_selector: tuple[tuple[str, str], ...] = ()
    node_terms: tuple[selectors.NodeSelectorTerm, ...] | None = None
    """Required node affinity: one of the terms must match. ``None``: there is none."""
    tolerations: tuple[Toleration, ...] = ()
    host_ports: tuple[HostPort, ...] = ()
    claims: tuple[str, ...] = ()
    """Names of claims in the Pod's namespace, without doubles."""
    priority: int = 0
    created: str = ""
    """RFC 3339 in UTC, so that text order is time order."""
    group: str = ""
    """The Workload it belongs to: replicas of one group are spread."""
    finished: bool = False
    deleting: bool = False
    gated: bool = False
    """Whether somebody has not agreed yet that it is scheduled (``spec.schedulingGates``)."""
    scheduler_name: str = "default-scheduler"
    message: str = ""
    """Message of ``PodScheduled=False``, as it stands in the object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeInfo:
    """A Node."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    ready: bool = False
    deleting: bool = False
    allocatable: Amounts = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimInfo:
    """A claim."""

    key: Name
    uid: str = ""
    resource_version: str = ""
    volume_name: str = ""
    bound: bool = False
    """Whether ``status.phase`` says ``Bound``."""
    deleting: bool = False
    size: str = "0"
    access_modes: tuple[str, ...] = ()
    storage_class: str = names.STORAGE_CLASS_LOCAL
    reclaim_policy: str = "Retain"


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeInfo:
    """A PersistentVolume."""

    name: str
    uid: str = ""
    node_name: str = ""
    claim_uid: str = ""
    claim: Name | None = None
    bound: bool = False
    deleting: bool = False


def project_pod(document: Document) -> PodInfo:
    """Return what matters of a Pod."""
    metadata, spec, status = document["metadata"], document.get("spec") or {}, document.get("status") or {}
    listening = [
        *(spec.get("containers") or ()),
        *(item for item in spec.get("initContainers") or () if item.get("restartPolicy") == "Always"),
    ]
    return PodInfo(
        key=_name(metadata),
        uid=metadata.get("uid", ""),
        resource_version=metadata.get("resourceVersion", ""),
        node_name=spec.get("nodeName") or "",
        requests=pod_requests(spec),
        node_selector=tuple(sorted((spec.get("nodeSelector") or {}).items())),
        node_terms=_required_terms(spec),
        tolerations=tuple(
            Toleration(t.get("key") or "", t.get("operator") or "Equal", t.get("value") or "", t.get("effect") or "")
            for t in spec.get("tolerations") or ()
        ),
        host_ports=tuple(
            HostPort(port.get("hostIP") or "127.0.0.1", port["hostPort"], port.get("protocol") or "TCP")
            for container in listening
            for port in container.get("ports") or ()
            if port.get("hostPort")
        ),
        claims=tuple(
            dict.fromkeys(
                volume["persistentVolumeClaim"]["claimName"] for volume in spec.get("volumes") or () if volume.get("persistentVolumeClaim")
            )
        ),
        priority=spec.get("priority") or 0,
        created=metadata.get("creationTimestamp") or "",
        group=(metadata.get("labels") or {}).get(names.LABEL_WORKLOAD, ""),
        finished=status.get("phase") in ("Succeeded", "Failed"),
        deleting=bool(metadata.get("deletionTimestamp")),
        gated=bool(spec.get("schedulingGates")),
        scheduler_name=spec.get("schedulerName") or "default-scheduler",
        message=next(
            (
                condition.get("message") or ""
                for condition in status.get("conditions") or ()
                if condition.get("type") == "PodScheduled" and condition.get("status") == "False"
            ),
            "",
        ),
    )


def project_node(document: Document) -> NodeInfo:
    """Return what matters of a Node."""
    metadata, spec, status = document["metadata"], document.get("spec") or {}, document.get("status") or {}
    return NodeInfo(
        name=metadata["name"],
        labels=tuple(sorted((metadata.get("labels") or {}).items())),
        taints=tuple(Taint(t["key"], t.get("value") or "", t["effect"]) for t in spec.get("taints") or ()),
        unschedulable=bool(spec.get("unschedulable")),
        ready=any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or ()),
        deleting=bool(metadata.get("deletionTimestamp")),
        allocatable=amounts(status.get("allocatable") or status.get("capacity") or {}),
    )


def project_claim(document: Document) -> ClaimInfo:
    """Return what matters of a PersistentVolumeClaim."""
    metadata, spec, status = document["metadata"], document.get("spec") or {}, document.get("status") or {}
    return ClaimInfo(
        key=_name(metadata),
        uid=metadata.get("uid", ""),
        resource_version=metadata.get("resourceVersion", ""),
        volume_name=spec.get("volumeName") or "",
        bound=status.get("phase") == "Bound",
        deleting=bool(metadata.get("deletionTimestamp")),
        size=str(((spec.get("resources") or {}).get("requests") or {}).get("storage", "0")),
        access_modes=tuple(spec.get("accessModes") or ()),
        storage_class=spec.get("storageClassName") or names.STORAGE_CLASS_LOCAL,
        reclaim_policy="Delete" if (metadata.get("annotations") or {}).get(names.ANNOTATION_RECLAIM_POLICY) == "Delete" else "Retain",
    )


def project_volume(document: Document) -> VolumeInfo:
    """Return what matters of a PersistentVolume."""
    metadata, spec, status = document["metadata"], document.get("spec") or {}, document.get("status") or {}
    claim = spec.get("claimRef") or {}
    terms = ((spec.get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or ()
    node_name = next(
        (
            expression["values"][0]
            for term in terms
            for expression in term.get("matchExpressions") or ()
            if expression.get("key") == names.LABEL_HOSTNAME and len(expression.get("values") or ()) == 1
        ),
        "",
    )
    return VolumeInfo(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        node_name=node_name,
        claim_uid=claim.get("uid") or "",
        claim=Name(claim.get("namespace") or "", claim["name"]) if claim.get("name") else None,
        bound=status.get("phase") == "Bound",
        deleting=bool(metadata.get("deletionTimestamp")),
    )


def _name(metadata: Document) -> Name:
    return Name(metadata.get("namespace") or "", metadata["name"])


def _required_terms(spec: Document) -> tuple[selectors.NodeSelectorTerm, ...] | None:
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return None
    return tuple(selectors.NodeSelectorTerm.model_validate(term) for term in required.get("nodeSelectorTerms") or ())
