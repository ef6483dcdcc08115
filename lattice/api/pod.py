"""Pod: containers that run together on one Node. The unit that is scheduled.

The subset that the agent honours today; ``docs/reference/pod.md`` has the table. One container; several, init containers, sidecars and
the other volume types follow with the node-agent issue.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from lattice.api import meta, quantity

IntOrString = Annotated[
    int | str,
    Field(json_schema_extra={"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}),
]
Protocol = Literal["TCP", "UDP"]
Phase = Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"]
PullPolicy = Literal["Always", "IfNotPresent", "Never"]
RestartPolicy = Literal["Always", "OnFailure", "Never"]


class KeySelector(meta.Model):
    """A key of a Secret or ConfigMap in the Pod's namespace."""

    model_config = ConfigDict(json_schema_extra=meta.ATOMIC)

    name: str = ""
    """Name of the object."""
    key: str
    """Key in its data."""
    optional: bool | None = None
    """If true, the variable is left out where the key is absent; else the Pod waits."""


class FieldSelector(meta.Model):
    """A field of the Pod."""

    model_config = ConfigDict(json_schema_extra=meta.ATOMIC)

    api_version: str | None = None
    """Version of the path, ``v1``."""
    field_path: str
    """``metadata.name``, ``metadata.namespace``, ``metadata.uid``, ``metadata.labels['k']``, ``spec.nodeName``, ``status.podIP`` …"""


class EnvVarSource(meta.Model):
    """Where a value comes from; exactly one."""

    secret_key_ref: KeySelector | None = None
    """A key of a Secret."""
    config_map_key_ref: KeySelector | None = None
    """A key of a ConfigMap."""
    field_ref: FieldSelector | None = None
    """A field of the Pod."""


class EnvVar(meta.Model):
    """An environment variable."""

    name: str = Field(min_length=1)
    """Name of the variable."""
    value: str | None = None
    """Value; ``$(OTHER)`` is replaced by an earlier variable, ``$$`` by ``$``."""
    value_from: EnvVarSource | None = None
    """Source of the value; not together with ``value``."""


class ObjectName(meta.Model):
    """A reference by name."""

    name: str = ""
    """Name of the object."""
    optional: bool | None = None
    """Whether it may be absent."""


class LocalObjectReference(meta.Model):
    """A reference by name to an object of the same namespace."""

    model_config = ConfigDict(json_schema_extra=meta.ATOMIC)

    name: str = ""
    """Name of the object."""


class EnvFromSource(meta.Model):
    """All keys of a Secret or ConfigMap as variables."""

    prefix: str | None = None
    """Put before each key."""
    config_map_ref: ObjectName | None = None
    """The ConfigMap."""
    secret_ref: ObjectName | None = None
    """The Secret."""


class ContainerPort(meta.Model):
    """A port of a container, published on the node's address ``hostIP`` (default 127.0.0.1)."""

    name: str | None = None
    """Name, unique in the Pod."""
    container_port: int = Field(ge=1, le=65535)
    """Port that the container listens on."""
    host_port: int | None = Field(default=None, ge=0, le=65535)
    """Port on the node. Absent or 0: the agent picks one from its range and keeps it."""
    host_ip: str | None = Field(default=None, alias="hostIP")
    """Address on the node to publish on."""
    protocol: Protocol = "TCP"
    """Protocol."""


class VolumeMount(meta.Model):
    """Where a volume appears in the container."""

    name: str
    """Name of the volume."""
    mount_path: str = Field(min_length=1)
    """Absolute path in the container."""
    sub_path: str | None = None
    """For a Secret or ConfigMap volume: the one key to mount, as a file."""
    read_only: bool | None = None
    """Whether writes fail."""


class ResourceRequirements(meta.Model):
    """What a container needs and may use."""

    requests: quantity.ResourceList = Field(default_factory=dict)
    """Reserved by the scheduler; where absent, the limit counts."""
    limits: quantity.ResourceList = Field(default_factory=dict)
    """Hard limits: a CPU quota, memory."""


class ExecAction(meta.Model):
    """A command in the container."""

    command: meta.AtomicList[str] = ()
    """Program and arguments, without a shell."""


class HTTPHeader(meta.Model):
    """A header of a probe's request."""

    name: str
    """Header name."""
    value: str
    """Header value."""


class HTTPGetAction(meta.Model):
    """An HTTP GET; 200 to 399 is success."""

    path: str | None = None
    """Path, default ``/``."""
    port: IntOrString
    """Number or name of a container port."""
    host: str | None = None
    """Host header and address; default the container's address."""
    scheme: Literal["HTTP", "HTTPS"] | None = None
    """Scheme; certificates are not checked."""
    http_headers: meta.AtomicList[HTTPHeader] = ()
    """More headers."""


class TCPSocketAction(meta.Model):
    """A TCP connection that is accepted."""

    port: IntOrString
    """Number or name of a container port."""
    host: str | None = None
    """Address; default the container's."""


class Probe(meta.Model):
    """A health check."""

    exec: ExecAction | None = None
    """Command; exit code 0 is success."""
    http_get: HTTPGetAction | None = None
    """HTTP request."""
    tcp_socket: TCPSocketAction | None = None
    """TCP connection."""
    initial_delay_seconds: int = Field(default=0, ge=0)
    """Seconds from the container's start to the first check."""
    timeout_seconds: int = Field(default=1, ge=1)
    """Seconds after which a check has failed."""
    period_seconds: int = Field(default=10, ge=1)
    """Seconds between checks."""
    success_threshold: int = Field(default=1, ge=1)
    """Successes in a row after which it counts as healthy."""
    failure_threshold: int = Field(default=3, ge=1)
    """Failures in a row after which it counts as unhealthy."""


class SecurityContext(meta.Model):
    """Rights of a container."""

    run_as_user: int | None = Field(default=None, ge=0)
    """Uid of the process."""
    run_as_group: int | None = Field(default=None, ge=0)
    """Gid of the process."""
    read_only_root_filesystem: bool | None = None
    """Whether the root filesystem is read-only."""


class Container(meta.Model):
    """A container of a Pod."""

    name: str = Field(min_length=1)
    """Name, a DNS label, unique in the Pod."""
    image: str | None = None
    """Image reference."""
    command: meta.AtomicList[str] = ()
    """Replaces the image's entrypoint."""
    args: meta.AtomicList[str] = ()
    """Replaces the image's command."""
    working_dir: str | None = None
    """Working directory."""
    ports: Annotated[tuple[ContainerPort, ...], meta.list_map("containerPort", "protocol")] = ()
    """Ports to publish."""
    env: Annotated[tuple[EnvVar, ...], meta.list_map("name")] = ()
    """Environment."""
    env_from: meta.AtomicList[EnvFromSource] = ()
    """Environment from whole objects; ``env`` wins."""
    resources: ResourceRequirements = Field(default_factory=ResourceRequirements)
    """Requests and limits."""
    volume_mounts: Annotated[tuple[VolumeMount, ...], meta.list_map("mountPath")] = ()
    """Volumes in the container."""
    liveness_probe: Probe | None = None
    """Failure restarts the container."""
    readiness_probe: Probe | None = None
    """Failure makes the Pod not ready."""
    startup_probe: Probe | None = None
    """The other probes wait for its success; failure restarts the container."""
    image_pull_policy: PullPolicy | None = None
    """Default ``Always`` for the tag ``latest`` or none, else ``IfNotPresent``."""
    security_context: SecurityContext | None = None
    """Rights."""
    stdin: bool | None = None
    """Whether standard input stays open."""
    tty: bool | None = None
    """Whether it gets a terminal."""


class KeyToPath(meta.Model):
    """A key as a file."""

    key: str
    """Key in the object's data."""
    path: str
    """Relative path of the file."""
    mode: int | None = Field(default=None, ge=0, le=0o777)
    """Permission bits."""


class SecretVolumeSource(meta.Model):
    """A Secret as files."""

    secret_name: str | None = None
    """Name of the Secret."""
    items: meta.AtomicList[KeyToPath] = ()
    """Keys to show; default all."""
    default_mode: int | None = Field(default=None, ge=0, le=0o777)
    """Permission bits, default 0644."""
    optional: bool | None = None
    """Whether it may be absent."""


class ConfigMapVolumeSource(meta.Model):
    """A ConfigMap as files."""

    name: str = ""
    """Name of the ConfigMap."""
    items: meta.AtomicList[KeyToPath] = ()
    """Keys to show; default all."""
    default_mode: int | None = Field(default=None, ge=0, le=0o777)
    """Permission bits, default 0644."""
    optional: bool | None = None
    """Whether it may be absent."""


class ClaimVolumeSource(meta.Model):
    """A claim of the Pod's namespace."""

    claim_name: str
    """Name of the PersistentVolumeClaim."""
    read_only: bool | None = None
    """Whether writes fail."""


class EmptyDirVolumeSource(meta.Model):
    """A directory that lives as long as the Pod."""

    medium: Literal["", "Memory"] | None = None
    """``Memory``: a tmpfs."""
    size_limit: quantity.Quantity | None = None
    """Size of a tmpfs."""


class Volume(meta.Model):
    """A volume of a Pod; exactly one source."""

    name: str = Field(min_length=1)
    """Name, unique in the Pod."""
    persistent_volume_claim: ClaimVolumeSource | None = None
    """A claim."""
    secret: SecretVolumeSource | None = None
    """A Secret."""
    config_map: ConfigMapVolumeSource | None = None
    """A ConfigMap."""
    empty_dir: EmptyDirVolumeSource | None = None
    """A directory that lives as long as the Pod."""


class Toleration(meta.Model):
    """A taint that this Pod does not mind."""

    key: str | None = None
    """Taint key; empty with ``Exists``: all."""
    operator: Literal["Exists", "Equal"] | None = None
    """Default ``Equal``."""
    value: str | None = None
    """Taint value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Taint effect; absent: all."""
    toleration_seconds: int | None = None
    """For ``NoExecute``: how long."""


class PodSpec(meta.Model):
    """Desired state of a Pod."""

    containers: Annotated[tuple[Container, ...], meta.list_map("name")] = Field(default=(), min_length=1)
    """Containers."""
    volumes: Annotated[tuple[Volume, ...], meta.list_map("name", retain_keys=True)] = ()
    """Volumes that containers can mount."""
    restart_policy: RestartPolicy | None = None
    """Default ``Always``."""
    termination_grace_period_seconds: int | None = Field(default=None, ge=0)
    """Seconds from the stop signal to SIGKILL; default 30."""
    node_selector: Annotated[dict[str, str], meta.ATOMIC_MAP] = Field(default_factory=dict)
    """Labels that the Node must have."""
    node_name: str | None = None
    """The Node it is bound to. Written by the scheduler through ``binding``."""
    tolerations: meta.AtomicList[Toleration] = ()
    """Taints that do not keep it away."""
    hostname: str | None = None
    """Hostname in the containers; default the Pod's name."""
    priority: int | None = None
    """Higher is scheduled first."""
    scheduler_name: str | None = None
    """Default ``default-scheduler``: Lattice's."""
    image_pull_secrets: Annotated[tuple[LocalObjectReference, ...], meta.list_map("name")] = ()
    """Secrets with registry credentials."""
    service_account_name: str | None = None
    """Stored; no token is mounted."""
    enable_service_links: bool | None = None
    """No effect."""
    dns_policy: str | None = None
    """No effect: Docker's resolver is used."""


class ContainerStateWaiting(meta.Model):
    """Not started yet."""

    reason: str | None = None
    """Such as ``ContainerCreating``, ``ImagePullBackOff``, ``CrashLoopBackOff``, ``CreateContainerConfigError``."""
    message: str | None = None
    """Sentence for a person."""


class ContainerStateRunning(meta.Model):
    """Running."""

    started_at: meta.Time | None = None
    """Start of the process, as Docker says."""


class ContainerStateTerminated(meta.Model):
    """Ended."""

    exit_code: int = 0
    """Exit code; 128+n for a signal n."""
    signal: int | None = None
    """Signal that ended it."""
    reason: str | None = None
    """``Completed``, ``Error``, ``OOMKilled``."""
    message: str | None = None
    """Sentence for a person."""
    started_at: meta.Time | None = None
    """Start."""
    finished_at: meta.Time | None = None
    """End."""
    container_id: str | None = None
    """``docker://<id>``."""


class ContainerState(meta.Model):
    """Exactly one of the three."""

    waiting: ContainerStateWaiting | None = None
    """Not started yet."""
    running: ContainerStateRunning | None = None
    """Running."""
    terminated: ContainerStateTerminated | None = None
    """Ended."""


class ContainerStatus(meta.Model):
    """Observed state of a container."""

    name: str
    """Name of the container."""
    state: ContainerState = Field(default_factory=ContainerState)
    """State."""
    last_state: ContainerState = Field(default_factory=ContainerState)
    """How it ended the last time."""
    ready: bool = False
    """Whether it is ready."""
    restart_count: int = 0
    """How often it was restarted."""
    image: str = ""
    """Image as asked for."""
    image_id: str = ""
    """Id or digest of the image that runs."""
    container_id: str | None = None
    """``docker://<id>``."""
    started: bool | None = None
    """Whether it runs and its startup probe, if any, has succeeded."""


class PodIP(meta.Model):
    """An address of the Pod."""

    ip: str | None = Field(default=None, alias="ip")
    """The address."""


class PodStatus(meta.Model):
    """Observed state of a Pod. ``PodScheduled`` is the scheduler's condition; all else is the agent's."""

    phase: Phase | None = None
    """Where in its life the Pod is."""
    conditions: Annotated[tuple[meta.Condition, ...], meta.list_map("type")] = ()
    """``PodScheduled``, ``Initialized``, ``ContainersReady``, ``Ready``."""
    message: str | None = None
    """Why, a sentence."""
    reason: str | None = None
    """Why, for machines."""
    host_ip: str | None = Field(default=None, alias="hostIP")
    """Address of the Node."""
    pod_ip: str | None = Field(default=None, alias="podIP")
    """Address of the Pod on the node's bridge; not reachable from other nodes."""
    pod_ips: Annotated[tuple[PodIP, ...], meta.list_map("ip")] = Field(default=(), alias="podIPs")
    """The same, as a list."""
    start_time: meta.Time | None = None
    """When the agent first saw the Pod."""
    container_statuses: meta.AtomicList[ContainerStatus] = ()
    """Containers."""
    qos_class: Literal["Guaranteed", "Burstable", "BestEffort"] | None = None
    """From requests and limits."""
    observed_generation: int | None = None
    """Generation of the spec that this status was made from."""


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


def effective_request(container: Container, resource: str) -> str | None:
    """Return what a container reserves of a resource: its request, else its limit (Kubernetes' defaulting)."""
    return container.resources.requests.get(resource) or container.resources.limits.get(resource)
