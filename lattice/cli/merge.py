"""The three-way merge of ``lattice apply``, as ``kubectl apply`` makes it: pure, values in, a JSON merge patch out.

Three texts meet: what was applied last (kept in an annotation), what is applied now, and what the server has. What the manifest says is
set; what the last manifest said and this one does not is removed; everything else (defaults, status, other people's fields) is left.
Lists are one value, as in every JSON merge patch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
"""kubectl's own annotation: so either tool continues where the other has left off."""


def with_last_applied(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest with the annotation that remembers it."""
    metadata = dict(manifest.get("metadata") or {})
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != LAST_APPLIED}
    plain = {**manifest, "metadata": {**metadata, "annotations": annotations}}
    text = json.dumps(plain, separators=(",", ":"), sort_keys=True, ensure_ascii=False) + "\n"
    return {**manifest, "metadata": {**metadata, "annotations": {**annotations, LAST_APPLIED: text}}}


def last_applied(current: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was applied last according to the object, empty if nobody did or the annotation is damaged."""
    try:
        found = json.loads(((current.get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def three_way(original: Mapping[str, Any], modified: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON merge patch that brings ``current`` to ``modified``.

    Args:
        original: what was applied last.
        modified: what is applied now. A null removes the field.
        current: what the server has.
    """
    patch: dict[str, Any] = {}
    for key, value in modified.items():
        present = current.get(key)
        if isinstance(value, Mapping):
            before = original.get(key)
            inner = three_way(before if isinstance(before, Mapping) else {}, value, present if isinstance(present, Mapping) else {})
            if inner or (key not in current and not _only_nulls(value)) or (key in current and not isinstance(present, Mapping)):
                patch[key] = inner
        elif value is None:
            if key in current:
                patch[key] = None
        elif key not in current or not _same(present, value):
            patch[key] = value
    for key in original:
        if key not in modified and key in current:
            patch[key] = None
    return patch


def _only_nulls(value: Mapping[str, Any]) -> bool:
    return bool(value) and all(each is None for each in value.values())


def _same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal; ``True`` is not 1 in JSON."""
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(_same(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    return bool(left == right)
