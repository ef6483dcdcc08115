"""Warnings of fields without effect and refusals of fields that cannot be honoured, by the table ``lattice.api.podfields``.

Only what is set counts: the walk follows the object, not the table. Values that ask for nothing (defaults) are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from controller.apiserver import shaping
from lattice.api import podfields
from lattice.api.errors import Cause
from lattice.api.podfields import Row

Object = Mapping[str, Any]
_Tree = dict[str, Any]
_ROW: Final = ""
"""Key of a tree's own row; no field has this name."""


def refused(obj: Object) -> list[Cause]:
    """Return a cause for each field of a Pod that cannot be honoured."""
    found = [shaping.forbidden(place, row.note) for place, row, _ in _walk(obj.get("spec"), _trees()["refused"], "spec")]
    if ((obj.get("spec") or {}).get("os") or {}).get("name") == "windows":
        found.append(shaping.forbidden("spec.os.name", "containers run on Linux only"))
    return found


def warnings(new: Object, old: Object | None) -> list[str]:
    """Return a sentence for each field without effect that a write sets or changes."""
    if old is not None and new.get("spec") == old.get("spec"):
        return []
    before = {place: value for place, _, value in _walk((old or {}).get("spec"), _trees()["inert"], "spec")}
    return [
        f"{place}: no effect: {row.note}"
        for place, row, value in _walk(new.get("spec"), _trees()["inert"], "spec")
        if place not in before or before[place] != value
    ]


@cache
def _trees() -> Mapping[str, _Tree]:
    """Return for each class the paths of its rows as a tree, so that a walk goes only where there is something to find."""
    trees: dict[str, _Tree] = {"inert": {}, "refused": {}}
    for path, row in podfields.table().items():
        if row.kind not in trees:
            continue
        node = trees[row.kind]
        for part in path.split(".")[1:]:
            node = node.setdefault(part, {})
        node[_ROW] = row
    return trees


def _walk(value: Any, tree: _Tree, place: str) -> Iterator[tuple[str, Row, Any]]:
    row: Row | None = tree.get(_ROW)
    if row is not None:
        if value not in (None, [], ()) and value not in row.harmless:
            yield place, row, value
        return
    if not isinstance(value, Mapping):
        return
    for part, below in tree.items():
        name = part.removesuffix("[]")
        child = value.get(name)
        if child is None:
            continue
        if part != name:
            for index, item in enumerate(child):
                yield from _walk(item, below, f"{place}.{name}[{index}]")
        else:
            yield from _walk(child, below, f"{place}.{name}")
