"""Walks over values that find field sets: what an applied object sets, and what differs between two states.

The two kinds of set differ on purpose, as in Kubernetes. What an *applier* owns is every leaf and list item it wrote, and no parent
(:func:`fields_of`). What an *updater* owns is everything that its write added or changed, parents that came with it included
(:func:`added`, :func:`compare`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controller.apiserver.fieldmanager import elements
from controller.apiserver.fieldmanager.elements import MEMBER
from controller.apiserver.fieldmanager.fieldset import FieldSet
from controller.apiserver.fieldmanager.nodes import ABSENT, ATOMIC, DEDUCED, KEYED, Node


def step_to(node: Node, item: Any) -> str | None:
    """Return the step to an item of an associative list; ``None`` where it has none of the keys."""
    if node.relation != KEYED:
        return elements.value(item)
    if not isinstance(item, dict):
        return None
    pairs = []
    for name, default, prefix in node.keys:
        found = item.get(name, default)
        if found is not ABSENT:
            pairs.append(prefix + elements.json_text(found))
    return "k:{" + ",".join(pairs) + "}" if pairs else None


def steps_to(node: Node, items: Sequence[Any]) -> list[str] | None:
    """Return the step to each item of an associative list; ``None`` where one has none: such a list is compared as a whole."""
    steps = [step_to(node, item) for item in items]
    return None if None in steps else steps  # type: ignore[return-value]  # mypy does not narrow by "in"


def same(node: Node, left: Any, right: Any) -> bool:
    """Return whether two values are the same JSON."""
    if left is right:
        return True
    return bool(left == right) and (not node.mixed or same_json(left, right))


def same_json(left: Any, right: Any) -> bool:
    """Compare as JSON does: true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_json(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_json, left, right))
    return bool(left == right)


def added(node: Node, value: Any) -> FieldSet:
    """Return the set, as an inner node, of a value that was not there before: itself and all below it."""
    if node.leaf or not value:
        return {}
    result: FieldSet
    if type(value) is dict:
        if not node.granular:
            return {}
        result = {MEMBER: {}}
        fields = node.fields
        for name, child in value.items():
            known = fields.get(name)
            if known is not None:
                result[known[0]] = {} if known[1].leaf else added(known[1], child)
            else:
                result["f:" + name] = added(node.element or DEDUCED, child)
        return result
    if type(value) is list and node.relation != ATOMIC:
        steps = steps_to(node, value)
        if steps is None:
            return {}
        assert node.items is not None
        result = {MEMBER: {}}
        for step, item in zip(steps, value, strict=True):
            result[step] = {} if step in result else added(node.items, item)
        return result
    return {}


def fields_of(node: Node, value: Any) -> FieldSet | None:
    """Return the set, as an inner node, of the leaves and list items of an applied value; ``None`` for none."""
    if type(value) is dict and node.maps:
        if not node.granular:
            return {}
        below: FieldSet = {}
        for name, child in value.items():
            known = node.fields.get(name)
            step, child_node = known or ("f:" + name, node.element or DEDUCED)
            found = fields_of(child_node, child)
            if found is None:
                # An empty list of an associative type is nobody's; an empty map, and each free key of a map, is a leaf.
                if known is None or child is None or child == {}:
                    below[step] = {}
            else:
                below[step] = found if known is not None or not found or MEMBER in found else {MEMBER: {}, **found}
        return below or None
    if type(value) is list and node.lists:
        return _items_of(node, value)
    return {}


def _items_of(node: Node, value: list[Any]) -> FieldSet | None:
    steps = steps_to(node, value) if node.relation != ATOMIC else None
    if steps is None:
        return {}
    assert node.items is not None
    below: FieldSet = {}
    for step, item in zip(steps, value, strict=True):
        if step in below:
            below[step] = {}  # duplicates are owned as one thing
            continue
        found = fields_of(node.items, item) or {}
        below[step] = found if not found or MEMBER in found else {MEMBER: {}, **found}
    return below or None


Difference = tuple[FieldSet | None, FieldSet | None]
"""What was added or modified, and what was removed; inner nodes."""


def compare(node: Node, left: Any, right: Any) -> Difference:
    """Return how ``right`` differs from ``left``; both are present, and null is present."""
    if same(node, left, right):
        return None, None
    if not node.leaf:
        is_map, is_list = type(left) is dict, type(left) is list
        if (is_map or left is None) and (type(right) is dict or (right is None and is_map)) and node.granular and node.maps:
            return _compare_maps(node, left or {}, right or {})
        if (is_list or left is None) and (type(right) is list or (right is None and is_list)) and node.relation != ATOMIC:
            return _compare_lists(node, left or [], right or [])
        return _replaced(node, left, right)
    return {}, None


def _replaced(node: Node, left: Any, right: Any) -> Difference:
    """A value of another kind takes the place: the field is modified, and what was below it is gone."""
    gone = {step: below for step, below in added(node, left).items() if step != MEMBER}
    return added(node, right), gone or None


def _compare_maps(node: Node, left: Mapping[str, Any], right: Mapping[str, Any]) -> Difference:
    changed: FieldSet = {}
    removed: FieldSet = {}
    if not left and not right:
        return {}, None  # null became {} or the other way round
    for name, new in right.items():
        old = left.get(name, ABSENT)
        if old is new:
            continue
        step, child = node.field(name)
        if old is ABSENT:
            changed[step] = added(child, new)
            continue
        more, less = compare(child, old, new)
        if more is not None:
            changed[step] = more
        if less is not None:
            removed[step] = less
    for name, old in left.items():
        if name not in right:
            step, child = node.field(name)
            removed[step] = added(child, old)
    return changed or None, removed or None


def _compare_lists(node: Node, left: list[Any], right: list[Any]) -> Difference:
    if not left and not right:
        return {}, None
    old_steps, new_steps = steps_to(node, left), steps_to(node, right)
    if old_steps is None or new_steps is None:
        return {}, None
    assert node.items is not None
    old, new = _grouped(old_steps, left), _grouped(new_steps, right)
    changed: FieldSet = {}
    removed: FieldSet = {}
    for step in [*old, *(step for step in new if step not in old)]:
        before, after = old.get(step, []), new.get(step, [])
        if len(before) <= 1 and len(after) <= 1:
            if not before:
                changed[step] = added(node.items, after[0])
            elif not after:
                removed[step] = added(node.items, before[0])
            else:
                more, less = compare(node.items, before[0], after[0])
                if more is not None:
                    changed[step] = more
                if less is not None:
                    removed[step] = less
        elif len(before) > 1 and len(after) > 1:
            if not same_json(before, after):
                changed[step] = {}
        elif len(before) > 1:
            removed[step] = {}
            if after:
                changed[step] = added(node.items, after[0])
        else:
            changed[step] = {}
            if before:
                removed[step] = added(node.items, before[0])
    return changed or None, removed or None


def _grouped(steps: Sequence[str], items: Sequence[Any]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for step, item in zip(steps, items, strict=True):
        groups.setdefault(step, []).append(item)
    return groups
