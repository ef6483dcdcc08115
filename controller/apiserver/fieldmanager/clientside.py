"""The way from client-side to server-side apply, which ``kubectl`` alone is given.

Client-side apply keeps its last configuration in an annotation and writes as an updater. So that the first server-side apply does not
conflict with what the same user wrote before, a conflict about a field whose live value is the annotation's is none; and the annotation
follows the applied configuration for as long as it exists, so that the way back is open.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from controller.apiserver.fieldmanager import comparing, fieldset, merging
from controller.apiserver.fieldmanager.conflicts import Conflict
from controller.apiserver.fieldmanager.elements import json_text
from controller.apiserver.fieldmanager.fieldset import FieldSet
from controller.apiserver.fieldmanager.nodes import Node

MANAGER: Final = "kubectl"
ANNOTATION: Final = "kubectl.kubernetes.io/last-applied-configuration"
MAX_ANNOTATIONS_BYTES: Final = 256 * 1024


def unexcused(node: Node, live: Mapping[str, Any], group_version: str, conflicts: list[Conflict]) -> list[Conflict]:
    """Return the conflicts that remain when those with the user's own client-side past are left out."""
    excused = _last_applied(node, live, group_version)
    return [conflict for conflict in conflicts if not fieldset.has(excused, conflict.path)]


def _last_applied(node: Node, live: Mapping[str, Any], group_version: str) -> FieldSet:
    """Return the fields whose live value is the one last applied on the client's side."""
    text = _annotations(live).get(ANNOTATION)
    if not text or not isinstance(text, str):
        return {}
    try:
        last = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(last, dict) or last.get("apiVersion") != group_version:
        return {}
    changed, removed = comparing.compare(node, last, dict(live))
    fields = merging.set_of(node, last)
    return fieldset.difference(fieldset.difference(fields, changed or {}), removed or {})


def with_annotation(obj: dict[str, Any], applied: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``obj`` with its last-applied annotation, if it has one, brought up to what was applied just now."""
    annotations = _annotations(obj)
    if not annotations.get(ANNOTATION):
        return obj
    text = _configuration(applied)
    if annotations[ANNOTATION] == text:
        return obj
    updated = {**annotations, ANNOTATION: text}
    size = sum(len(name.encode()) + len(str(value).encode()) for name, value in updated.items())
    if size > MAX_ANNOTATIONS_BYTES:
        del updated[ANNOTATION]
    return {**obj, "metadata": {**obj["metadata"], "annotations": updated}}


def _configuration(applied: Mapping[str, Any]) -> str:
    """Return an applied object as kubectl writes it into the annotation."""
    metadata = applied.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("annotations"), dict) and ANNOTATION in metadata["annotations"]:
        rest = {name: value for name, value in metadata["annotations"].items() if name != ANNOTATION}
        applied = {**applied, "metadata": {**metadata, "annotations": rest}}
    return json_text(dict(applied)) + "\n"


def _annotations(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = obj.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    return annotations if isinstance(annotations, dict) else {}
