"""JSON paths in definitions that must lead to a field of the schema: ``.spec.image``, ``.metadata.labels['a.b']``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

Schema = Mapping[str, Any]
_STEP: Final = re.compile(r"\.([^.\[\]']+)|\['((?:\\.|[^'\\])*)'\]")


class PathError(ValueError):
    """The path leads nowhere."""


def resolve(path: str, schema: Schema, *, brackets: bool = True) -> tuple[tuple[str, ...], Schema]:
    """Return the names along a path, and the schema where it ends.

    Raises:
        PathError: says why, in Kubernetes' words.
    """
    position = 0
    names: list[str] = []
    while position < len(path):
        found = _STEP.match(path, position)
        if found is None:
            raise PathError(_why(path[position:]))
        if found.group(1) is None and not brackets:
            raise PathError("array notation is not allowed")
        name = found.group(1) if found.group(1) is not None else re.sub(r"\\(.)", r"\1", found.group(2))
        schema = _step(schema, name)
        names.append(name)
        position = found.end()
    return tuple(names), schema


def _step(schema: Schema, name: str) -> Schema:
    fields = schema.get("properties")
    more = schema.get("additionalProperties")
    child = fields.get(name) if fields else more
    if not isinstance(child, Mapping):
        raise PathError("does not refer to a valid field")
    return child


def _why(rest: str) -> str:
    if rest in {".", "["}:
        return "unexpected end of JSON path"
    return f"expected [ or . but got: {rest[:64]}" if rest[0] not in ".[" else f"expected single quoted string but got {rest[1:65]}"
