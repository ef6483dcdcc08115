"""Kubernetes Events of Pods, as a kubelet writes them: what the agent does to a container, and what fails.

Called by the workers. An Event of a container names it by its field path (``spec.containers{main}``), as kubectl shows it. Reasons are
kubelet's. Nothing is sent before the recorder was started, nor waited for.
"""

from __future__ import annotations

from typing import Literal

from lattice.api import pod
from lattice.api.event import ObjectReference
from lattice.machinery.events import EventRecorder, reference_to

EventType = Literal["Normal", "Warning"]
PULLING = "Pulling"
PULLED = "Pulled"
CREATED = "Created"
STARTED = "Started"
KILLING = "Killing"
BACK_OFF = "BackOff"
UNHEALTHY = "Unhealthy"
FAILED = "Failed"
FAILED_POST_START = "FailedPostStartHook"
FAILED_PRE_STOP = "FailedPreStopHook"
FAILED_SANDBOX = "FailedCreatePodSandBox"
DEADLINE_EXCEEDED = "DeadlineExceeded"


class PodEvents:
    """See the module's docstring."""

    def __init__(self, recorder: EventRecorder) -> None:
        self._recorder = recorder

    def say(self, wanted: pod.Pod | None, container: str, event_type: EventType, reason: str, message: str) -> None:
        """Record an Event of a Pod, or of one of its containers where ``container`` names one. Returns at once."""
        if wanted is None:
            return
        reference = reference_to(wanted)
        path = field_path(wanted.spec, container)
        if path:
            reference = ObjectReference(**{name: getattr(reference, name) for name in _FIELDS}, field_path=path)
        self._recorder.event(reference, event_type, reason, message)


_FIELDS = ("api_version", "kind", "namespace", "name", "uid", "resource_version")


def field_path(spec: pod.PodSpec, container: str) -> str:
    """Return the path of a container in its Pod, empty where there is none of this name."""
    for field, found in (
        ("containers", spec.containers),
        ("initContainers", spec.init_containers),
        ("ephemeralContainers", spec.ephemeral_containers),
    ):
        if any(one.name == container for one in found):
            return f"spec.{field}{{{container}}}"
    return ""
