"""Sets of field paths, as the plain ``fieldsV1`` dictionary of the wire: a trie whose edges are path steps.

A node without children is a member of the set; a node with children is one where it has the child ``"."``. The root is never a member.
So ``{"f:spec": {".": {}, "f:image": {}}}`` holds ``.spec`` and ``.spec.image``, and decoding ``managedFields`` costs nothing.

Functions return new tries that share what did not change and never alter their arguments. Below the root an empty trie means a
member, so functions on inner nodes say ``None`` for "nothing".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from controller.apiserver.fieldmanager import elements
from controller.apiserver.fieldmanager.elements import MEMBER

FieldSet = dict[str, Any]
Path = tuple[str, ...]


MAX_DEPTH: Final = 200
"""Steps of a path that a client may write; objects that nest deeper have no owners there."""


class FieldSetError(ValueError):
    """A ``fieldsV1`` of a client cannot be read."""


def parse(fields: Any, depth: int = 0) -> FieldSet:
    """Return the canonical form of a ``fieldsV1`` that a client wrote; steps of unknown kinds are left out. ``depth``: steps above it.

    Raises:
        FieldSetError: it is malformed.
    """
    if fields is None:
        return {}
    if not isinstance(fields, dict) or depth > MAX_DEPTH:
        raise FieldSetError("fieldsV1 is not an object, or nested too deeply")
    result: FieldSet = {}
    for text, below in fields.items():
        if text == MEMBER:
            continue
        try:
            step = elements.canonical(text)
        except elements.ElementError as error:
            raise FieldSetError(str(error)) from error
        if step is None:
            continue
        node = parse(below, depth + 1)
        if node and isinstance(below, dict) and MEMBER in below:
            node = {MEMBER: {}, **node}
        result[step] = _union(result[step], node) if step in result else node
    return result


def has(fields: Mapping[str, Any], path: Path) -> bool:
    """Return whether ``path`` is in the set."""
    node: Any = fields
    for step in path:
        node = node.get(step)
        if node is None:
            return False
    return bool(path) and (not node or MEMBER in node)


def paths(fields: Mapping[str, Any], prefix: Path = ()) -> Iterator[Path]:
    """Yield the members in Kubernetes' order: those of a node, sorted, then those below each child."""
    steps = sorted((step for step in fields if step != MEMBER), key=elements.order)
    for step in steps:
        if not fields[step] or MEMBER in fields[step]:
            yield (*prefix, step)
    for step in steps:
        if fields[step]:
            yield from paths(fields[step], (*prefix, step))


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    """Return what is in either."""
    if not left:
        return right
    return _union(left, right) if right else left


def _union(left: FieldSet, right: FieldSet) -> FieldSet:
    if left is right:
        return left
    if not left or not right:
        other = left or right
        return other if not other or MEMBER in other else {MEMBER: {}, **other}
    result = dict(left)
    for step, node in right.items():
        known = left.get(step)
        result[step] = node if known is None else _union(known, node)
    return result


def difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """Return what is in ``left`` and not in ``right``; the same object where that is all of it. A path hides nothing below it."""
    if not right or not left:
        return left
    return _difference_below(left, right)


def _difference_below(left: FieldSet, right: FieldSet) -> FieldSet:
    result: FieldSet | None = None
    for step, taken in right.items():
        node = left.get(step)
        if node is None:
            continue
        kept = _difference(node, taken)
        if kept is node:
            continue
        if result is None:
            result = dict(left)
        if kept is None:
            del result[step]
        else:
            result[step] = kept
    return left if result is None else result


def _difference(node: FieldSet, taken: FieldSet) -> FieldSet | None:
    if not node:
        return None if not taken or MEMBER in taken else node
    if not taken:
        return _without_self(node)
    return _finished(_difference_below(node, taken))


def intersection(left: FieldSet, right: FieldSet) -> FieldSet:
    """Return what is in both."""
    if len(right) < len(left):
        left, right = right, left
    result: FieldSet = {}
    for step, node in left.items():
        other = right.get(step)
        if other is None:
            continue
        both = _intersection(node, other)
        if both is not None:
            result[step] = both
    return result


def _intersection(left: FieldSet, right: FieldSet) -> FieldSet | None:
    if not left or not right:
        other = left or right
        return {} if not other or MEMBER in other else None
    both = intersection(left, right)
    return _finished(both) if both else None


def leaves(fields: FieldSet) -> FieldSet:
    """Return the members that have nothing below them."""
    return {step: leaves(node) for step, node in fields.items() if step != MEMBER}


def _without_self(node: FieldSet) -> FieldSet | None:
    if MEMBER not in node:
        return node
    return {step: below for step, below in node.items() if step != MEMBER} or None


def _finished(node: FieldSet) -> FieldSet | None:
    """Return an inner node in its canonical form."""
    if not node:
        return None
    return {} if len(node) == 1 and MEMBER in node else node
