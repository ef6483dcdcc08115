"""The built-in kinds as kubectl's users know them: names, formats and priorities of columns are those of Kubernetes 1.36."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from controller.apiserver.printers.base import (
    AGE,
    CREATED_TEXT,
    NAME,
    NAME_TEXT,
    NONE,
    UNKNOWN,
    UNSET,
    Column,
    Object,
    Printer,
    age_of,
    items,
    name_of,
    part,
    since,
    text,
)
from controller.apiserver.printers.pods import POD
from controller.apiserver.renaming import EVENTS


def _wide(name: str, description: str, kind: str = "string", form: str = "") -> Column:
    return Column(name, kind, form, description, priority=1)


_ADDRESSES: Final = (
    "List of addresses reachable to the node. Queried from cloud provider, if available. More info: "
    "https://kubernetes.io/docs/reference/node/node-status/#addresses"
)
_MODES: Final = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
_ROLE: Final = "node-role.kubernetes.io/"


def _node(node: Object, now: datetime) -> list[Any]:
    ready = next((item.get("status") for item in items(node, "status", "conditions") if item.get("type") == "Ready"), None)
    status = "Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"
    if part(node, "spec", "unschedulable"):
        status += ",SchedulingDisabled"
    info = part(node, "status", "nodeInfo")
    return [
        name_of(node), status, _roles(node), age_of(node, now), text(info, "kubeletVersion"), _address(node, "InternalIP"),
        _address(node, "ExternalIP"), text(info, "osImage", default=UNKNOWN), text(info, "kernelVersion", default=UNKNOWN),
        text(info, "containerRuntimeVersion", default=UNKNOWN),
    ]  # fmt: skip


def _roles(node: Object) -> str:
    labels = part(node, "metadata", "labels") or {}
    roles = {label.removeprefix(_ROLE) for label in labels if label.startswith(_ROLE)} | {labels.get("kubernetes.io/role", "")}
    return ",".join(sorted(roles - {""})) or NONE


def _address(node: Object, kind: str) -> str:
    return next((text(item, "address") for item in items(node, "status", "addresses") if item.get("type") == kind), NONE)


def _event(event: Object, now: datetime) -> list[Any]:
    event = EVENTS.to_stored(event)  # of either group
    first = since(event.get("firstTimestamp") or event.get("eventTime"), now)
    last = since(event["lastTimestamp"], now) if event.get("lastTimestamp") else first
    count = event.get("count") or 1
    if isinstance(series := event.get("series"), Mapping):
        last, count = since(series.get("lastObservedTime"), now), series.get("count") or 0
    about = text(event, "involvedObject", "kind").lower()
    if name := text(event, "involvedObject", "name"):
        about = f"{about}/{name}"
    component = text(event, "source", "component") or text(event, "reportingComponent")
    instance = text(event, "source", "host") or text(event, "reportingInstance")
    return [
        last, text(event, "type"), text(event, "reason"), about, text(event, "involvedObject", "fieldPath"),
        f"{component}, {instance}" if instance else component, text(event, "message").strip(), first, count, name_of(event),
    ]  # fmt: skip


def _modes(modes: Any) -> str:
    """Return access modes in their short form, each once, in the order that Kubernetes shows."""
    given = set(modes) if isinstance(modes, list) else set()
    return ",".join(short for mode, short in _MODES.items() if mode in given)


def _phase(obj: Object) -> str:
    return "Terminating" if part(obj, "metadata", "deletionTimestamp") else text(obj, "status", "phase")


def _storage_class(obj: Object) -> str:
    annotation = part(obj, "metadata", "annotations", "volume.beta.kubernetes.io/storage-class")
    return str(annotation) if annotation is not None else text(obj, "spec", "storageClassName")


def _volume(volume: Object, now: datetime) -> list[Any]:
    holder = part(volume, "spec", "claimRef")
    claim = f"{text(holder, 'namespace')}/{text(holder, 'name')}" if isinstance(holder, Mapping) else ""
    return [
        name_of(volume), text(volume, "spec", "capacity", "storage", default="0"), _modes(part(volume, "spec", "accessModes")),
        text(volume, "spec", "persistentVolumeReclaimPolicy"), _phase(volume), claim, _storage_class(volume),
        text(volume, "spec", "volumeAttributesClassName", default=UNSET), text(volume, "status", "reason"), age_of(volume, now),
        text(volume, "spec", "volumeMode", default=UNSET),
    ]  # fmt: skip


def _claim(claim: Object, now: datetime) -> list[Any]:
    bound = bool(text(claim, "spec", "volumeName"))
    modes = part(claim, "status", "accessModes") or part(claim, "spec", "accessModes")
    return [
        name_of(claim), _phase(claim), text(claim, "spec", "volumeName"),
        text(claim, "status", "capacity", "storage", default="0") if bound else "", _modes(modes) if bound else "",
        _storage_class(claim), text(claim, "spec", "volumeAttributesClassName", default=UNSET), age_of(claim, now),
        text(claim, "spec", "volumeMode", default=UNSET),
    ]  # fmt: skip


def _class(item: Object, now: datetime) -> list[Any]:
    annotations = part(item, "metadata", "annotations") or {}
    default = any(annotations.get(f"storageclass.{stage}kubernetes.io/is-default-class") == "true" for stage in ("", "beta."))
    return [
        f"{name_of(item)} (default)" if default else name_of(item), text(item, "provisioner"),
        text(item, "reclaimPolicy", default="Delete"), text(item, "volumeBindingMode", default="Immediate"),
        bool(item.get("allowVolumeExpansion")), age_of(item, now),
    ]  # fmt: skip


def _size(obj: Object, *fields: str) -> int:
    return sum(len(obj.get(field) or ()) for field in fields)


def _created(obj: Object, _now: datetime) -> list[Any]:
    moment = part(obj, "metadata", "creationTimestamp")
    try:
        return [name_of(obj), datetime.fromisoformat(moment).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")]
    except (TypeError, ValueError):
        return [name_of(obj), "0001-01-01T00:00:00Z"]


OTHER: Final = Printer((NAME, Column("Created At", "date", description=CREATED_TEXT)), _created)
"""Kinds without columns of their own."""

PRINTERS: Final[Mapping[str, Printer]] = {
    "Pod": POD,
    "Node": Printer(
        (
            NAME,
            Column("Status", description="The status of the node"),
            Column("Roles", description="The roles of the node"),
            AGE,
            Column("Version", description="Kubelet Version reported by the node."),
            _wide("Internal-IP", _ADDRESSES),
            _wide("External-IP", _ADDRESSES),
            _wide("OS-Image", "OS Image reported by the node from /etc/os-release (e.g. Debian GNU/Linux 7 (wheezy))."),
            _wide("Kernel-Version", "Kernel Version reported by the node from 'uname -r' (e.g. 3.16.0-0.bpo.4-amd64)."),
            _wide(
                "Container-Runtime",
                "ContainerRuntime Version reported by the node through runtime remote API (e.g. containerd://1.4.2).",
            ),
        ),
        _node,
    ),
    "Namespace": Printer(
        (NAME, Column("Status", description="The status of the namespace"), AGE),
        lambda obj, now: [name_of(obj), text(obj, "status", "phase"), age_of(obj, now)],
    ),
    "Secret": Printer(
        (
            NAME,
            Column(
                "Type",
                description="Used to facilitate programmatic handling of secret data. More info: "
                "https://kubernetes.io/docs/concepts/configuration/secret/#secret-types",
            ),
            Column(
                "Data",
                description="Data contains the secret data. Each key must consist of alphanumeric characters, '-', '_' or '.'. The "
                "serialized form of the secret data is a base64 encoded string, representing the arbitrary (possibly non-string) data "
                "value here. Described in https://tools.ietf.org/html/rfc4648#section-4",
            ),
            AGE,
        ),
        lambda obj, now: [name_of(obj), text(obj, "type"), _size(obj, "data"), age_of(obj, now)],
    ),
    "ConfigMap": Printer(
        (
            NAME,
            Column(
                "Data",
                description="Data contains the configuration data. Each key must consist of alphanumeric characters, '-', '_' or '.'. "
                "Values with non-UTF-8 byte sequences must use the BinaryData field. The keys stored in Data must not overlap with the "
                "keys in the BinaryData field, this is enforced during validation process.",
            ),
            AGE,
        ),
        lambda obj, now: [name_of(obj), _size(obj, "data", "binaryData"), age_of(obj, now)],
    ),
    "ServiceAccount": Printer(
        (
            NAME,
            Column(
                "Secrets",
                description="Secrets is a list of the secrets in the same namespace that pods running using this ServiceAccount are "
                "allowed to use.",
            ),
            AGE,
        ),
        lambda obj, now: [name_of(obj), _size(obj, "secrets"), age_of(obj, now)],
    ),
    "Event": Printer(
        (
            Column("Last Seen", description="The time at which the most recent occurrence of this event was recorded."),
            Column("Type", description="Type of this event (Normal, Warning), new types could be added in the future"),
            Column(
                "Reason",
                description="This should be a short, machine understandable string that gives the reason for the transition into the "
                "object's current status.",
            ),
            Column("Object", description="The object that this event is about."),
            _wide(
                "Subobject",
                "If referring to a piece of an object instead of an entire object, this string should contain a valid JSON/Go field "
                "access statement, such as desiredState.manifest.containers[2]. For example, if the object reference is to a container "
                'within a pod, this would take on a value like: "spec.containers{name}" (where "name" refers to the name of the '
                'container that triggered the event) or if no container name is specified "spec.containers[2]" (container with index 2 '
                "in this pod). This syntax is chosen only to have some well-defined way of referencing a part of an object.",
            ),
            _wide("Source", "The component reporting this event. Should be a short machine understandable string."),
            Column("Message", description="A human-readable description of the status of this operation."),
            _wide("First Seen", "The time at which the event was first recorded. (Time of server receipt is in TypeMeta.)"),
            _wide("Count", "The number of times this event has occurred."),
            _wide("Name", NAME_TEXT, form="name"),
        ),
        _event,
    ),
    "PersistentVolumeClaim": Printer(
        (
            NAME,
            Column("Status", description="phase represents the current phase of PersistentVolumeClaim."),
            Column("Volume", description="volumeName is the binding reference to the PersistentVolume backing this claim."),
            Column("Capacity", description="capacity represents the actual resources of the underlying volume."),
            Column(
                "Access Modes",
                description="accessModes contains the actual access modes the volume backing the PVC has. More info: "
                "https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes-1",
            ),
            Column("StorageClass", description="StorageClass of the pvc"),
            Column("VolumeAttributesClass", description="VolumeAttributesClass of the pvc"),
            AGE,
            _wide(
                "VolumeMode",
                "volumeMode defines what type of volume is required by the claim. Value of Filesystem is implied when not included in "
                "claim spec.",
            ),
        ),
        _claim,
    ),
    "PersistentVolume": Printer(
        (
            NAME,
            Column(
                "Capacity",
                description="capacity is the description of the persistent volume's resources and capacity. More info: "
                "https://kubernetes.io/docs/concepts/storage/persistent-volumes#capacity",
            ),
            Column(
                "Access Modes",
                description="accessModes contains all ways the volume can be mounted. More info: "
                "https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes",
            ),
            Column("Reclaim Policy", description="persistentVolumeReclaimPolicy defines what happens to a volume released from its claim."),
            Column(
                "Status",
                description="phase indicates if a volume is available, bound to a claim, or released by a claim. More info: "
                "https://kubernetes.io/docs/concepts/storage/persistent-volumes#phase",
            ),
            Column(
                "Claim",
                description="claimRef is part of a bi-directional binding between PersistentVolume and PersistentVolumeClaim. Expected to "
                "be non-nil when bound.",
            ),
            Column("StorageClass", description="StorageClass of the pv"),
            Column("VolumeAttributesClass", description="VolumeAttributesClass of the pv"),
            Column(
                "Reason",
                description="reason is a brief CamelCase string that describes any failure and is meant for machine parsing and tidy "
                "display in the CLI.",
            ),
            AGE,
            _wide(
                "VolumeMode",
                "volumeMode defines if a volume is intended to be used with a formatted filesystem or to remain in raw block state. "
                "Value of Filesystem is implied when not included in spec.",
            ),
        ),
        _volume,
    ),
    "StorageClass": Printer(
        (
            NAME,
            Column("Provisioner", description="provisioner indicates the type of the provisioner."),
            Column("ReclaimPolicy", description="reclaimPolicy controls the reclaimPolicy for dynamically provisioned PersistentVolumes."),
            Column(
                "VolumeBindingMode", description="volumeBindingMode indicates how PersistentVolumeClaims should be provisioned and bound."
            ),
            Column("AllowVolumeExpansion", description="allowVolumeExpansion shows whether the storage class allow volume expand."),
            AGE,
        ),
        _class,
    ),
    "Lease": Printer(
        (NAME, Column("Holder", description="holderIdentity contains the identity of the holder of a current lease."), AGE),
        lambda obj, now: [name_of(obj), text(obj, "spec", "holderIdentity"), age_of(obj, now)],
    ),
}
