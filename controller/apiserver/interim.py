"""Stand-ins with the interfaces of ``structural`` and ``fieldmanager`` until those land."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from controller.apiserver import shaping
from lattice.api import mergepatch
from lattice.api.errors import Cause

Object = dict[str, Any]


class Structural:
    """Shape and checker."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._shape = shaping.Shape(schema)
        self._checker = shaping.Checker(dict(schema))

    def normalise(self, obj: Object) -> list[str]:
        """Shape in place."""
        return self._shape.normalise(obj)

    def check(self, obj: Object, old: Object | None = None) -> list[Cause]:
        """Check."""
        return self._checker.check(obj)


class FieldManager:
    """Owns nothing."""

    def __init__(self, schema: Mapping[str, Any], *, group_version: str) -> None:
        pass

    def update(
        self, live: Object | None, new: Object, *, manager: str, now: datetime, subresource: str = ""
    ) -> list[dict[str, Any]] | None:
        """Return none."""
        return None

    def apply(self, live: Object | None, applied: Object, *, manager: str, force: bool, now: datetime, subresource: str = "") -> Object:
        """Merge."""
        merged: Object = mergepatch.apply(live or {}, applied)
        return merged
