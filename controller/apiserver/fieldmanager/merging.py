"""Values put together and taken apart along a schema: an applied object merged into the live one, fields removed, parents named.

Nothing is changed in place; what stays the same is shared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controller.apiserver.fieldmanager import comparing, fieldset
from controller.apiserver.fieldmanager.elements import MEMBER
from controller.apiserver.fieldmanager.fieldset import FieldSet
from controller.apiserver.fieldmanager.nodes import ABSENT, ATOMIC, Node


def merge(node: Node, live: Any, applied: Any) -> Any:
    """Return ``live`` with what ``applied`` says: its leaves win, nothing of ``live`` goes."""
    if applied is ABSENT:
        return live
    if live is ABSENT or node.leaf:
        return applied
    if node.maps and node.granular and _either(dict, live, applied):
        return _merge_maps(node, live or {}, applied or {})
    if node.relation != ATOMIC and _either(list, live, applied):
        return _merge_lists(node, live or [], applied or [])
    return applied


def _either(kind: type, live: Any, applied: Any) -> bool:
    """Return whether both are of a kind or null, and there is something to merge; two empty ones are a leaf."""
    return bool(live or applied) and all(value is None or type(value) is kind for value in (live, applied))


def _merge_maps(node: Node, live: Mapping[str, Any], applied: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(live)
    for name, value in applied.items():
        result[name] = merge(node.field(name)[1], live.get(name, ABSENT), value)
    return result


def _merge_lists(node: Node, live: Sequence[Any], applied: Sequence[Any]) -> list[Any]:
    old_steps, new_steps = comparing.steps_to(node, live), comparing.steps_to(node, applied)
    assert node.items is not None
    if old_steps is None or new_steps is None:
        return list(applied)
    old: dict[str, Any] = {}
    for step, item in zip(old_steps, live, strict=True):
        old[step] = ABSENT if step in old else item  # a live duplicate is not merged, the applied item takes the place of all
    new = dict(zip(new_steps, applied, strict=True))
    result = []
    for step, position in _merged_order(old_steps, new_steps):
        if step in new:
            result.append(merge(node.items, old.get(step, ABSENT), new[step]))
        else:
            result.append(live[position])
    return result


def _merged_order(old: Sequence[str], new: Sequence[str]) -> list[tuple[str, int]]:
    """Return the order of a merged list: applied items in their order, live ones near where they stood; with their live position.

    Walks both lists at once. Items in both come in the applied order; a live item that comes before its turn is passed over.
    """
    in_old, in_new = set(old), set(new)
    shared = iter([step for step in new if step in in_old])
    upcoming = next(shared, None)
    result: list[tuple[str, int]] = []
    done: set[str] = set()
    left = right = 0
    while left < len(old) or right < len(new):
        if left < len(old):
            step = old[left]
            if right < len(new):
                if step == new[right]:
                    result.append((step, left))
                    done.add(step)
                    left, right = left + 1, right + 1
                    upcoming = next(shared, None)
                    continue
                if step in in_new and upcoming is not None and upcoming != step:
                    left += 1  # in both, but not the one whose turn it is
                    continue
            if step not in in_new:
                result.append((step, left))
                left += 1
                continue
            if step in done:
                left += 1
        if right < len(new):
            step = new[right]
            result.append((step, -1))
            done.add(step)
            right += 1
            if step == upcoming:
                upcoming = next(shared, None)
    return result


def remove(node: Node, value: Any, gone: FieldSet, *, hollow: Any = ABSENT) -> Any:
    """Return ``value`` without the fields and items in ``gone``, :data:`~nodes.ABSENT` where nothing is left of it.

    Args:
        node: where ``value`` stands.
        value: what to remove from.
        gone: what to remove.
        hollow: what stands for a field that has lost all it had and is not itself in ``gone``; ``ABSENT``: it goes too.
    """
    if type(value) is dict and node.maps:
        return _remove_fields(node, value, gone, hollow)
    if type(value) is list and node.lists:
        return _remove_items(node, value, gone, hollow)
    return value


def _remove_fields(node: Node, value: dict[str, Any], gone: FieldSet, hollow: Any) -> Any:
    if not node.granular:
        return ABSENT
    result = dict(value)
    for step, below in gone.items():
        name = step[2:]
        if step[:2] != "f:" or name not in result:
            continue
        left = ABSENT
        if below and MEMBER not in below:
            left = remove(node.field(name)[1], result[name], below, hollow=hollow)
            left = hollow if left is ABSENT else left
        if left is ABSENT:
            del result[name]
        else:
            result[name] = left
    return result or ABSENT


def _remove_items(node: Node, value: list[Any], gone: FieldSet, hollow: Any) -> Any:
    steps = comparing.steps_to(node, value) if node.relation != ATOMIC else None
    if steps is None:
        return ABSENT
    assert node.items is not None
    result = []
    for step, item in zip(steps, value, strict=True):
        below = gone.get(step)
        if below is None:
            result.append(item)
        elif below and MEMBER not in below:
            left = remove(node.items, item, below, hollow=hollow)
            if left is not ABSENT:
                result.append(left)
    return result or ABSENT


def with_parents(node: Node, fields: FieldSet) -> FieldSet:
    """Return the set with the named fields above its members added to it, so that a struct can go with its last field."""
    result: FieldSet = {}
    for step, below in fields.items():
        if step == MEMBER or not below:
            result[step] = below
            continue
        child: Node | None = None
        named = False
        if step[:2] == "f:" and node.maps:
            known = node.fields.get(step[2:])
            named = known is not None
            child = known[1] if known is not None else node.element
        elif step[:2] == "k:" and node.lists:
            child = node.items
        inner = with_parents(child, below) if child is not None else below
        result[step] = {MEMBER: {}, **inner} if named and MEMBER not in inner else inner
    return result


def collapsed(node: Node, fields: FieldSet) -> FieldSet:
    """Return the set with what lies below atomic values pulled up to them: their schema was granular when it was recorded."""
    result: FieldSet | None = None
    for step, below in fields.items():
        if not below:
            continue
        child = node.field(step[2:])[1] if step[0] == "f" else node.items
        if child is None:
            continue
        settled = {} if child.leaf else collapsed(child, below)
        if settled is not below:
            result = dict(fields) if result is None else result
            result[step] = settled
    return fields if result is None else result


def set_of(node: Node, value: Any) -> FieldSet:
    """Return the set of a whole object, as an applier of it would own it."""
    return comparing.fields_of(node, value) or {}


def prune(node: Node, merged: dict[str, Any], last: FieldSet, owned: FieldSet) -> dict[str, Any]:
    """Return the merged object without what its applier gave up.

    Args:
        node: the root.
        merged: the live object with the new configuration merged into it.
        last: what the applier owned until now.
        owned: what anybody owns now, the applier with its new configuration among them.
    """
    if not fieldset.difference(last, owned):
        return merged
    last = with_parents(node, last)
    everything = with_parents(node, set_of(node, merged))
    bare = _object(remove(node, merged, last, hollow=None))
    kept = fieldset.union(with_parents(node, set_of(node, bare)), with_parents(node, owned))
    without_given_up = _object(remove(node, merged, fieldset.difference(everything, kept), hollow=None))
    remaining = with_parents(node, set_of(node, without_given_up))
    # Only what this applier had may go; what nobody owned stays.
    doomed = fieldset.intersection(fieldset.difference(everything, remaining), last)
    return _object(remove(node, merged, doomed))


def _object(value: Any) -> dict[str, Any]:
    return {} if value is ABSENT else value
