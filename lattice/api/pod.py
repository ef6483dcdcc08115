"""Pod: containers that run together on one Node. The unit that is scheduled.

The types are those of ``core/v1``; their parts are in ``lattice.api.podspec`` and are named here too, so that callers write
``pod.Container``. What becomes of each field is in ``lattice.api.podfields`` and in ``docs/reference/pod.md``.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from lattice.api import meta, quantity
from lattice.api.podspec.common import FieldSelector, IntOrString, KeySelector, LocalObjectReference, Opaque, ResourceFieldSelector
from lattice.api.podspec.containers import (
    Container,
    EphemeralContainer,
    PullPolicy,
    TerminationMessagePolicy,
    effective_request,
    is_sidecar,
)
from lattice.api.podspec.environment import EnvFromSource, EnvVar, EnvVarSource, ObjectName
from lattice.api.podspec.network import ContainerPort, DNSPolicy, HostAlias, PodDNSConfig, PodDNSConfigOption, Protocol
from lattice.api.podspec.probes import (
    ExecAction,
    GRPCAction,
    HTTPGetAction,
    HTTPHeader,
    Lifecycle,
    LifecycleHandler,
    Probe,
    SleepAction,
    TCPSocketAction,
)
from lattice.api.podspec.resources import ContainerResizePolicy, PodResourceClaim, ResourceClaimName, ResourceRequirements
from lattice.api.podspec.scheduling import (
    Affinity,
    LabelSelector,
    NodeAffinity,
    NodeSelector,
    PodAffinity,
    PodAffinityTerm,
    PodAntiAffinity,
    PodOS,
    PodReadinessGate,
    PodSchedulingGate,
    PreferredSchedulingTerm,
    Toleration,
    TopologySpreadConstraint,
    WeightedPodAffinityTerm,
)
from lattice.api.podspec.security import (
    AppArmorProfile,
    Capabilities,
    PodSecurityContext,
    SeccompProfile,
    SecurityContext,
    SELinuxOptions,
    Sysctl,
)
from lattice.api.podspec.status import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    ContainerUser,
    HostIP,
    LinuxContainerUser,
    Phase,
    PodIP,
    PodStatus,
    QOSClass,
    VolumeMountStatus,
)
from lattice.api.podspec.volumes import (
    ClaimVolumeSource,
    ConfigMapProjection,
    ConfigMapVolumeSource,
    DownwardAPIProjection,
    DownwardAPIVolumeFile,
    DownwardAPIVolumeSource,
    EmptyDirVolumeSource,
    HostPathType,
    HostPathVolumeSource,
    KeyToPath,
    ProjectedVolumeSource,
    SecretProjection,
    SecretVolumeSource,
    ServiceAccountTokenProjection,
    Volume,
    VolumeDevice,
    VolumeMount,
    VolumeProjection,
)

__all__ = [
    "Affinity",
    "AppArmorProfile",
    "Binding",
    "Capabilities",
    "ClaimVolumeSource",
    "ConfigMapProjection",
    "ConfigMapVolumeSource",
    "Container",
    "ContainerPort",
    "ContainerResizePolicy",
    "ContainerState",
    "ContainerStateRunning",
    "ContainerStateTerminated",
    "ContainerStateWaiting",
    "ContainerStatus",
    "ContainerUser",
    "DNSPolicy",
    "DownwardAPIProjection",
    "DownwardAPIVolumeFile",
    "DownwardAPIVolumeSource",
    "EmptyDirVolumeSource",
    "EnvFromSource",
    "EnvVar",
    "EnvVarSource",
    "EphemeralContainer",
    "ExecAction",
    "FieldSelector",
    "GRPCAction",
    "HTTPGetAction",
    "HTTPHeader",
    "HostAlias",
    "HostIP",
    "HostPathType",
    "HostPathVolumeSource",
    "IntOrString",
    "KeySelector",
    "KeyToPath",
    "LabelSelector",
    "Lifecycle",
    "LifecycleHandler",
    "LinuxContainerUser",
    "LocalObjectReference",
    "NodeAffinity",
    "NodeSelector",
    "ObjectName",
    "Opaque",
    "Phase",
    "Pod",
    "PodAffinity",
    "PodAffinityTerm",
    "PodAntiAffinity",
    "PodDNSConfig",
    "PodDNSConfigOption",
    "PodIP",
    "PodOS",
    "PodReadinessGate",
    "PodResourceClaim",
    "PodSchedulingGate",
    "PodSecurityContext",
    "PodSpec",
    "PodStatus",
    "PreferredSchedulingTerm",
    "Probe",
    "ProjectedVolumeSource",
    "Protocol",
    "PullPolicy",
    "QOSClass",
    "ResourceClaimName",
    "ResourceFieldSelector",
    "ResourceRequirements",
    "RestartPolicy",
    "SELinuxOptions",
    "SeccompProfile",
    "SecretProjection",
    "SecretVolumeSource",
    "SecurityContext",
    "ServiceAccountTokenProjection",
    "SleepAction",
    "Sysctl",
    "TCPSocketAction",
    "TerminationMessagePolicy",
    "Toleration",
    "TopologySpreadConstraint",
    "Volume",
    "VolumeDevice",
    "VolumeMount",
    "VolumeMountStatus",
    "VolumeProjection",
    "WeightedPodAffinityTerm",
    "effective_request",
    "is_sidecar",
]

RestartPolicy = Literal["Always", "OnFailure", "Never"]


class PodSpec(meta.Model):
    """Desired state of a Pod."""

    containers: Annotated[tuple[Container, ...], meta.list_map("name")] = Field(default=(), min_length=1)
    """Containers."""
    init_containers: Annotated[tuple[Container, ...], meta.list_map("name")] = ()
    """Run one after the other, each to completion, before the others start; those with ``restartPolicy: Always`` are sidecars."""
    ephemeral_containers: Annotated[tuple[EphemeralContainer, ...], meta.list_map("name")] = ()
    """Added to a running Pod through the subresource ``ephemeralcontainers``."""
    volumes: Annotated[tuple[Volume, ...], meta.list_map("name", retain_keys=True)] = ()
    """Volumes that containers can mount."""
    restart_policy: RestartPolicy | None = None
    """Default ``Always``."""
    termination_grace_period_seconds: int | None = Field(default=None, ge=0)
    """Seconds from the stop signal to SIGKILL; default 30."""
    active_deadline_seconds: int | None = Field(default=None, ge=1)
    """Seconds from the Pod's start after which it is stopped and has failed."""
    node_selector: Annotated[dict[str, str], meta.ATOMIC_MAP] = Field(default_factory=dict)
    """Labels that the Node must have."""
    node_name: str | None = None
    """The Node it is bound to. Written by the scheduler through ``binding``."""
    affinity: Affinity | None = None
    """Nodes and neighbours that the Pod wants."""
    tolerations: meta.AtomicList[Toleration] = ()
    """Taints that do not keep it away."""
    topology_spread_constraints: Annotated[tuple[TopologySpreadConstraint, ...], meta.list_map("topologyKey", "whenUnsatisfiable")] = ()
    """How evenly Pods are spread."""
    scheduling_gates: Annotated[tuple[PodSchedulingGate, ...], meta.list_map("name")] = ()
    """Parties that must agree before the Pod is scheduled."""
    readiness_gates: meta.AtomicList[PodReadinessGate] = ()
    """Conditions that must hold before the Pod is ready."""
    hostname: str | None = None
    """Hostname in the containers; default the Pod's name."""
    subdomain: str | None = None
    """Makes the full name ``<hostname>.<subdomain>``, which the Pods of the namespace on the same Node can look up."""
    set_hostname_as_fqdn: bool | None = Field(default=None, alias="setHostnameAsFQDN")
    """Whether the hostname is the full name."""
    host_aliases: Annotated[tuple[HostAlias, ...], meta.list_map("ip")] = ()
    """More lines of ``/etc/hosts``."""
    dns_policy: DNSPolicy | None = None
    """``None``: only ``dnsConfig`` counts; all others: the Node's resolvers. Default ``ClusterFirst``."""
    dns_config: PodDNSConfig | None = None
    """Name lookup."""
    host_network: bool | None = None
    """The Node's network; refused."""
    host_pid: bool | None = Field(default=None, alias="hostPID")
    """The Node's processes; refused."""
    host_ipc: bool | None = Field(default=None, alias="hostIPC")
    """The Node's IPC; refused."""
    host_users: bool | None = None
    """Whether the Node's user ids are used; ``false`` is refused."""
    share_process_namespace: bool | None = None
    """Whether all containers see each other's processes."""
    security_context: PodSecurityContext | None = None
    """Rights of all containers."""
    image_pull_secrets: Annotated[tuple[LocalObjectReference, ...], meta.list_map("name")] = ()
    """Secrets with registry credentials."""
    priority: int | None = None
    """Higher is scheduled first."""
    priority_class_name: str | None = None
    """Class that would give the priority."""
    preemption_policy: str | None = None
    """Whether Pods of a lower priority make room."""
    scheduler_name: str | None = None
    """Default ``default-scheduler``: Lattice's."""
    service_account_name: str | None = None
    """Service account of the Pod; its token is mounted only where a projected volume asks for it."""
    service_account: str | None = None
    """Deprecated name of ``serviceAccountName``."""
    automount_service_account_token: bool | None = None
    """Whether a token would be mounted unasked."""
    enable_service_links: bool | None = None
    """Variables for the Services of the namespace."""
    runtime_class_name: str | None = None
    """Another container runtime; refused."""
    overhead: quantity.ResourceList | None = None
    """What a runtime class adds; refused."""
    os: PodOS | None = None
    """The operating system of the containers."""
    resources: Opaque | None = None
    """Requests and limits of the whole Pod; refused."""
    resource_claims: Annotated[tuple[PodResourceClaim, ...], meta.list_map("name", retain_keys=True)] = ()
    """Claims of dynamic resources; refused."""


class Pod(meta.Object):
    """Containers that run together on one Node."""

    KIND: ClassVar[str] = "Pod"
    PLURAL: ClassVar[str] = "pods"

    spec: PodSpec
    """Desired state."""
    status: PodStatus = Field(default_factory=PodStatus)
    """Observed state."""


class Binding(meta.Object):
    """The body of ``pods/<name>/binding``: puts a Pod on a Node."""

    KIND: ClassVar[str] = "Binding"
    PLURAL: ClassVar[str] = "bindings"

    target: dict[str, Any] = Field(default_factory=dict)
    """``{"kind": "Node", "name": ...}``."""
