"""The defaults in a definition's schema: known to the schema, valid against it, and not where they would be ambiguous."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from controller.apiserver.structural import checking, normalising
from controller.apiserver.structural.complaints import Complainer, shaped
from lattice.api.errors import Cause

Schema = Mapping[str, Any]


def check(schema: Schema, path: str) -> Iterator[Cause]:
    """Yield what is wrong with the defaults at and below a place of a structural schema."""
    if schema.get("default") is not None:
        yield from _check_default(schema, f"{path}.default")
    for name, child in (schema.get("properties") or {}).items():
        yield from check(child, f"{path}.properties[{name}]")
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), Mapping):
            yield from check(schema[keyword], f"{path}.{keyword}")


def _check_default(schema: Schema, path: str) -> Iterator[Cause]:
    value = copy.deepcopy(schema["default"])
    place = normalising.Node({key: item for key, item in schema.items() if key != "default"})
    if place.shape(value):
        yield shaped(path, schema["default"], "must not have unknown fields")
        return
    yield from checking.Checker(Complainer(path)).check(schema, value, "", None).causes
