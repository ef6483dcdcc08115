"""JSON merge patch (RFC 7386), the one implementation: the server applies it, and so can whoever foresees what the server will do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def apply(target: Any, patch: Any) -> Any:
    """Return ``target`` with a JSON merge patch applied. Changes no argument; the result may share parts with both.

    Raises:
        RecursionError: the patch is nested about as deeply as Python allows.
    """
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            result[key] = apply(result.get(key), value)
        else:
            result[key] = value
    return result
