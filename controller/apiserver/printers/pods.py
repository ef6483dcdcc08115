"""Pods as ``kubectl get pods`` shows them. The status says more than the phase: why a container waits, which init container is on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from controller.apiserver.printers.base import AGE, NAME, NONE, Column, Object, Printer, age_of, items, name_of, part, since, text

_COLUMNS: Final = (
    NAME,
    Column("Ready", description="The aggregate readiness state of this pod for accepting traffic."),
    Column("Status", description="The aggregate status of the containers in this pod."),
    Column(
        "Restarts",
        description="The number of times the containers in this pod have been restarted and when the last container in this pod has "
        "restarted.",
    ),
    AGE,
    Column(
        "IP",
        priority=1,
        description="podIP address allocated to the pod. Routable at least within the cluster. Empty if not yet allocated.",
    ),
    Column(
        "Node",
        priority=1,
        description="NodeName indicates in which node this pod is scheduled. If empty, this pod is a candidate for scheduling by the "
        "scheduler defined in schedulerName. Once this field is set, the kubelet for this node becomes responsible for the "
        "lifecycle of this pod. This field should not be used to express a desire for the pod to be scheduled on a specific "
        "node. https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#nodename",
    ),
    Column(
        "Nominated Node",
        priority=1,
        description="nominatedNodeName is set only when this pod preempts other pods on the node, but it cannot be scheduled right away as "
        "preemption victims receive their graceful termination periods. This field does not guarantee that the pod will be "
        "scheduled on this node. Scheduler may decide to place the pod elsewhere if other nodes become available sooner. "
        "Scheduler may also decide to give the resources on this node to a higher priority pod that is created after "
        "preemption. As a result, this field may be different than PodSpec.nodeName when the pod is scheduled.",
    ),
    Column(
        "Readiness Gates",
        priority=1,
        description="If specified, all readiness gates will be evaluated for pod readiness. A pod is ready when all its containers are "
        'ready AND all conditions specified in the readiness gates have status equal to "True" More info: '
        "https://git.k8s.io/enhancements/keps/sig-network/580-pod-readiness-gates",
    ),
)
_ENDED: Final = {"Succeeded": "The pod has completed successfully.", "Failed": "The pod failed."}


def _cells(pod: Object, now: datetime) -> list[Any]:
    restartable = {str(item.get("name")) for item in items(pod, "spec", "initContainers") if item.get("restartPolicy") == "Always"}
    started = _Start(pod, restartable)
    status, ready, counted = started.status, started.ready, started.restarted
    if not started.busy or _condition(pod, "Initialized"):
        counted = [item for item in counted if item.get("name") in restartable]
        running = _Running(pod, status)
        status, ready = running.status, ready + running.ready
        counted = [*counted, *items(pod, "status", "containerStatuses")]
    total = len(items(pod, "spec", "containers")) + len(restartable)
    return [
        name_of(pod), f"{ready}/{total}", _leaving(pod, status), _restarts(counted, now), age_of(pod, now),
        _address(pod), text(pod, "spec", "nodeName", default=NONE), text(pod, "status", "nominatedNodeName", default=NONE), _gates(pod),
    ]  # fmt: skip


class _Start:
    """What the init containers say. ``busy``: one of them is not done yet, so its state is the Pod's."""

    def __init__(self, pod: Object, restartable: set[str]) -> None:
        self.status = text(pod, "status", "reason") or text(pod, "status", "phase")
        if any(item.get("type") == "PodScheduled" and item.get("reason") == "SchedulingGated" for item in _conditions(pod)):
            self.status = "SchedulingGated"
        self.ready = 0
        self.busy = False
        self.restarted: list[Mapping[str, Any]] = []
        for index, container in enumerate(items(pod, "status", "initContainerStatuses")):
            self.restarted.append(container)
            ended, waiting = part(container, "state", "terminated"), text(container, "state", "waiting", "reason")
            if ended is not None and not part(ended, "exitCode"):
                continue
            if container.get("name") in restartable and container.get("started") is True:
                self.ready += bool(container.get("ready"))
                continue
            if ended is not None:
                self.status = f"Init:{_how_it_ended(ended)}"
            elif waiting and waiting != "PodInitializing":
                self.status = f"Init:{waiting}"
            else:
                self.status = f"Init:{index}/{len(items(pod, 'spec', 'initContainers'))}"
            self.busy = True
            break


class _Running:
    """What the containers say; the first one in the list has the last word."""

    def __init__(self, pod: Object, status: str) -> None:
        self.status = status
        self.ready = 0
        running = False
        for container in reversed(items(pod, "status", "containerStatuses")):
            ended = part(container, "state", "terminated")
            if waiting := text(container, "state", "waiting", "reason"):
                self.status = waiting
            elif ended is not None:
                self.status = _how_it_ended(ended)
            elif container.get("ready") and part(container, "state", "running") is not None:
                running = True
                self.ready += 1
        if self.status == "Completed" and running:
            self.status = "Running" if _condition(pod, "Ready") else "NotReady"


def _how_it_ended(ended: Any) -> str:
    if reason := text(ended, "reason"):
        return reason
    signal = part(ended, "signal")
    return f"Signal:{signal}" if signal else f"ExitCode:{part(ended, 'exitCode') or 0}"


def _leaving(pod: Object, status: str) -> str:
    if not part(pod, "metadata", "deletionTimestamp"):
        return status
    if text(pod, "status", "reason") == "NodeLost":
        return "Unknown"
    return status if text(pod, "status", "phase") in _ENDED else "Terminating"


def _restarts(containers: list[Mapping[str, Any]], now: datetime) -> str:
    count = sum(value for item in containers if isinstance(value := item.get("restartCount"), int))
    times = [text(item, "lastState", "terminated", "finishedAt") for item in containers]
    last = max((time for time in times if time), default="")
    return f"{count} ({since(last, now)} ago)" if count and last else str(count)


def _address(pod: Object) -> str:
    addresses = items(pod, "status", "podIPs")
    return text(addresses[0], "ip", default=NONE) if addresses else text(pod, "status", "podIP", default=NONE)


def _gates(pod: Object) -> str:
    gates = items(pod, "spec", "readinessGates")
    open_ = sum(_condition(pod, text(gate, "conditionType")) for gate in gates)
    return f"{open_}/{len(gates)}" if gates else NONE


def _conditions(pod: Object) -> list[Any]:
    return items(pod, "status", "conditions")


def _condition(pod: Object, kind: str) -> bool:
    return any(item.get("type") == kind and item.get("status") == "True" for item in _conditions(pod))


def _row_conditions(pod: Object) -> list[dict[str, str]]:
    phase = text(pod, "status", "phase")
    if phase not in _ENDED:
        return []
    return [{"type": "Completed", "status": "True", "reason": phase, "message": _ENDED[phase]}]


POD: Final = Printer(_COLUMNS, _cells, _row_conditions)
