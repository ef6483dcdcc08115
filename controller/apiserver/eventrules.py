"""What an Event must fulfil: in the core group as it always was, in ``events.k8s.io`` more. Pure.

Rules and texts of ``k8s.io/kubernetes/pkg/apis/core/validation/events.go``. Both APIs are checked on the names of the core Event, and both
name its fields in their errors, save the reporting controller. An Event with an ``eventTime`` is of the newer sort and must be complete,
whichever way it comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from controller.apiserver import shaping
from controller.apiserver.renaming import EVENTS
from lattice.api import validation
from lattice.api.errors import Cause

Object = dict[str, Any]
MAX_CHARACTERS: Final = 128
"""Of reportingInstance, action and reason."""
MAX_MESSAGE_CHARACTERS: Final = 1024
_IMMUTABLE: Final = (
    "involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count", "reportingComponent", "reportingInstance",
    "type", "eventTime", "action", "related",
)  # fmt: skip
_EMPTY: Final[tuple[Any, ...]] = ({}, [], "", 0)


def check_core(obj: Object) -> list[Cause]:
    """Check an Event of the core group."""
    return list(_check(obj, "reportingComponent"))


def check_new(obj: Object) -> list[Cause]:
    """Check an Event of ``events.k8s.io`` that is created."""
    stored = EVENTS.to_stored(obj)
    causes = list(_check_series(stored))
    if not stored.get("eventTime"):
        causes.append(shaping.required("eventTime"))
    if (kind := stored.get("type") or "") not in {"Normal", "Warning"}:
        causes.append(shaping.invalid("type", "", f"has invalid value: {kind}"))
    source = any((stored.get("source") or {}).values())
    old = [name for name in ("firstTimestamp", "lastTimestamp", "count") if stored.get(name)] + ["source"] * source
    return causes + [shaping.invalid(name, "", "needs to be unset") for name in old]


def check(obj: Object) -> list[Cause]:
    """Check an Event of ``events.k8s.io`` on every write."""
    return list(_check(EVENTS.to_stored(obj), "reportingController"))


def check_update(new: Object, old: Object) -> list[Cause]:
    """Check a change of an Event through ``events.k8s.io``: only its series may change."""
    after, before = EVENTS.to_stored(new), EVENTS.to_stored(old)
    causes = []
    for name in _IMMUTABLE:
        value = after.get(name)
        if _set(value) != _set(before.get(name)):
            field = "reportingController" if name == "reportingComponent" else name
            causes.append(shaping.invalid(field, value, "field is immutable"))
    return [*causes, *_check_series(after)]


def _set(value: Any) -> Any:
    """Return a value, ``None`` for one that says nothing."""
    return None if value in _EMPTY else value


def _check(obj: Object, controller_field: str) -> Iterator[Cause]:
    involved = (obj.get("involvedObject") or {}).get("namespace") or ""
    namespace = obj["metadata"].get("namespace") or ""
    stray = shaping.invalid("involvedObject.namespace", involved, "does not match event.namespace")
    if not obj.get("eventTime"):
        if involved != namespace and (involved or namespace != "default"):
            yield stray
        return
    if not involved and namespace not in {"default", "kube-system"}:
        yield stray
    controller = obj.get("reportingComponent") or ""
    if not controller:
        yield shaping.required(controller_field)
    if problem := validation.check_qualified_name(controller):
        yield shaping.invalid(controller_field, controller, problem)
    for name in ("reportingInstance", "action", "reason"):
        text = obj.get(name) or ""
        if not text:
            yield shaping.required(name)
        elif len(text.encode()) > MAX_CHARACTERS:
            yield shaping.invalid(name, "", f"can have at most {MAX_CHARACTERS} characters")
    if len((obj.get("message") or "").encode()) > MAX_MESSAGE_CHARACTERS:
        yield shaping.invalid("message", "", f"can have at most {MAX_MESSAGE_CHARACTERS} characters")


def _check_series(obj: Object) -> Iterator[Cause]:
    series = obj.get("series")
    if series is None:
        return
    if (series.get("count") or 0) < 2:
        yield shaping.invalid("series.count", "", "should be at least 2")
    if not series.get("lastObservedTime"):
        yield shaping.required("series.lastObservedTime")
