"""Strategic merge patch: the patch that knows the kind. ``kubectl apply`` and ``kubectl patch`` send it for built-in kinds. Pure.

A :class:`StrategicMerge` is made once a kind, from the patch markers of its schema (``x-kubernetes-patch-strategy``,
``x-kubernetes-patch-merge-key``; ``lattice/api/meta.py`` puts them there). Maps merge field by field and null removes a field, as in a JSON
merge patch. A list with the strategy ``merge`` is merged by its key, or as a set where its items are scalars; every other list is
replaced. Directives, as k8s.io/apimachinery ``pkg/util/strategicpatch`` understands them:

    $patch: replace | delete | merge      in a map: take it instead, empty it, or the default; in an item of a list: the list is
                                          what else the patch has, this item goes, or the default
    $retainKeys: [...]                    in a map: fields not named here go first
    $setElementOrder/<list>: [...]        the order of the items; those only the server has stay between their neighbours
    $deleteFromPrimitiveList/<list>: [..] scalars to take out

The result shares nothing with the patch, and what did not change with the object; neither argument is changed. A patch that makes no sense
is refused with 400 or 422, where kube-apiserver answers some of them with 500.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from controller.apiserver import patching
from lattice.api import errors

Object = dict[str, Any]

_DIRECTIVE: Final = "$patch"
_RETAIN: Final = "$retainKeys"
_ORDER: Final = "$setElementOrder/"
_REMOVE: Final = "$deleteFromPrimitiveList/"
_SHOWN: Final = 256
"""Longer values are cut in messages."""
_DROPPED: Final = object()
"""What is left of a value that only asked for its deletion."""


@dataclass(frozen=True, slots=True)
class _Node:
    """How one part of an object is merged."""

    fields: Mapping[str, _Node]
    inner: _Node | None
    """Values of a map, or items of a list."""
    merges: bool
    """A list: it is merged, not replaced."""
    replaces: bool
    """A map: it is replaced, not merged."""
    key: str
    """A merged list of maps: the field that tells its items apart. Empty: a list of scalars."""

    def field(self, name: str) -> _Node:
        return self.fields.get(name) or self.inner or _PLAIN


_PLAIN: Final = _Node({}, None, merges=False, replaces=False, key="")


def _compile(schema: Mapping[str, Any]) -> _Node:
    strategies = str(schema.get("x-kubernetes-patch-strategy", "")).split(",")
    inner = schema.get("items") or schema.get("additionalProperties")
    return _Node(
        {name: _compile(child) for name, child in schema.get("properties", {}).items()},
        _compile(inner) if isinstance(inner, Mapping) else None,
        merges="merge" in strategies,
        replaces="replace" in strategies,
        key=schema.get("x-kubernetes-patch-merge-key", ""),
    )


class StrategicMerge:
    """Applies strategic merge patches to the objects of one kind."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._root = _compile(schema)

    def patch(self, obj: Mapping[str, Any], patch: Mapping[str, Any]) -> Object:
        """Return ``obj`` with ``patch`` applied.

        Raises:
            errors.BadRequestError: a directive is malformed, or contradicts the rest of the patch.
            patching.PatchFailedError: a list cannot be merged.
        """
        try:
            return _merge_map(self._root, obj, patch)
        except (RecursionError, orjson.JSONEncodeError) as error:
            raise errors.BadRequestError("error decoding patch: it is nested too deeply") from error


def _merge_map(node: _Node, original: Mapping[str, Any], patch: Mapping[str, Any]) -> Object:
    match patch.get(_DIRECTIVE, "merge"):
        case "replace":
            return _clean_map({name: value for name, value in patch.items() if name != _DIRECTIVE})
        case "delete":
            return {}
        case "merge":
            pass
        case other:
            raise _unknown_directive(other, patch)
    result = dict(original)
    _retain(result, patch)
    orders = {name[len(_ORDER) :]: value for name, value in patch.items() if name.startswith(_ORDER)}
    for name, order in orders.items():
        _merge_ordered(node.field(name), result, name, patch, order)
    for name, value in patch.items():
        if name not in orders and not _is_directive(name):
            _merge_field(node.field(name), result, name, value)
    for name, value in patch.items():
        if name.startswith(_REMOVE):
            _remove_scalars(result, name[len(_REMOVE) :], value)
    return result


def _merge_field(node: _Node, result: Object, name: str, value: Any) -> None:
    present = result.get(name)
    if value is None:
        result.pop(name, None)
    elif isinstance(value, Mapping) and isinstance(present, Mapping) and not node.replaces:
        result[name] = _merge_map(node, present, value)
    elif isinstance(value, list) and isinstance(present, list) and node.merges:
        result[name] = _merge_list(node, present, value)
    elif (kept := _clean(value)) is _DROPPED:
        result.pop(name, None)
    else:
        result[name] = kept


def _retain(result: Object, patch: Mapping[str, Any]) -> None:
    if _RETAIN not in patch:
        return
    if not isinstance(patch[_RETAIN], list):
        raise errors.BadRequestError("invalid patch format of retainKeys")
    retained = {name for name in patch[_RETAIN] if isinstance(name, str)}
    if any(value is not None and not _is_directive(name) and name not in retained for name, value in patch.items()):
        raise errors.BadRequestError("invalid patch format of retainKeys: the patch sets a field that it does not retain")
    for name in [name for name in result if name not in retained]:
        del result[name]


def _remove_scalars(result: Object, name: str, removed: Any) -> None:
    if not isinstance(removed, list):
        raise errors.BadRequestError("invalid patch format of primitive list")
    present = result.get(name)
    if isinstance(present, list):
        gone = {_identity(item) for item in removed}
        result[name] = [item for item in present if _identity(item) not in gone]


def _merge_ordered(node: _Node, result: Object, name: str, patch: Mapping[str, Any], order: Any) -> None:
    """Merge a list whose patch says in which order the items shall be."""
    present, wanted = result.get(name), patch.get(name)
    if not all(value is None or isinstance(value, list) for value in (present, wanted)) or not isinstance(order, list):
        raise errors.BadRequestError("invalid patch format of setElementOrder list")
    if wanted is None and (present is None or name in patch):
        result.pop(name, None)
        return
    live, changes = present or [], wanted or []
    key = node.key if node.merges else ""
    listed = [_key_of(item, key) for item in order]
    changed = [_key_of(item, key) for item in changes if not _has_directive(item)]
    positions = iter(listed)
    if listed and not all(any(each == other for other in positions) for each in changed):
        raise errors.BadRequestError(f"The order in patch list doesn't match $setElementOrder list of {name}")
    merged = (_merge_list(node, live, changes) if node.merges else _clean(changes)) if changes else list(live)
    result[name] = _arrange(merged, listed, [_key_of(item, key) for item in live], key)


def _merge_list(node: _Node, original: Sequence[Any], patch: Sequence[Any]) -> list[Any]:
    if any(isinstance(item, list) for item in (*original, *patch)):
        raise patching.PatchFailedError  # lists of lists
    maps = [isinstance(item, Mapping) for item in (*original, *patch)]
    if not any(maps):
        return _merge_scalars(original, patch)
    if not all(maps) or not node.key:
        raise patching.PatchFailedError  # different kinds of items, or nothing to tell them apart by
    return _merge_items(node, original, patch)


def _merge_scalars(original: Sequence[Any], patch: Sequence[Any]) -> list[Any]:
    unique = {_identity(item): item for item in (*original, *patch)}
    return _arrange(list(unique.values()), [_identity(item) for item in patch], [_identity(item) for item in original], "")


def _merge_items(node: _Node, original: Sequence[Any], patch: Sequence[Any]) -> list[Any]:
    key, inner = node.key, node.inner or _PLAIN
    replace, gone = False, set()
    changes: list[Mapping[str, Any]] = []
    for item in patch:
        directive = item.get(_DIRECTIVE, "merge")
        if directive == "replace":
            replace = True
            continue
        if key not in item:
            raise errors.BadRequestError(f"map: {_shown(item)} does not contain declared merge key: {key}")
        if directive == "delete":
            gone.add(_key_of(item, key))
        elif directive == "merge":
            changes.append({name: value for name, value in item.items() if name != _DIRECTIVE})
        else:
            raise _unknown_directive(directive, item)
    if replace:
        return [_clean_map(item) for item in changes]
    result = [item for item in original if _key_of(item, key) not in gone]
    places = _ranks(_key_of(item, key) for item in result)
    for item in changes:
        place = places.setdefault(_key_of(item, key), len(result))
        if place == len(result):
            result.append(_clean_map(item))
        else:
            result[place] = _merge_map(inner, result[place], item)
    return _arrange(result, [_key_of(item, key) for item in changes], [_key_of(item, key) for item in original], key)


def _arrange(items: Sequence[Any], order: Sequence[Hashable], live: Sequence[Hashable], key: str) -> list[Any]:
    """Return ``items`` in the order that was asked for; the others in the order they had, before what they stood before.

    Args:
        items: what to sort.
        order: identities in the wanted order.
        live: identities in the order before the patch.
        key: see :class:`_Node`.
    """
    wanted, before = _ranks(order), _ranks(live)
    ordered = sorted((item for item in items if _key_of(item, key) in wanted), key=lambda item: wanted[_key_of(item, key)])
    others = deque(
        sorted(
            (item for item in items if _key_of(item, key) not in wanted),
            key=lambda item: before.get(_key_of(item, key), len(live)),
        )
    )
    result: list[Any] = []
    for item in ordered:
        place = before.get(_key_of(item, key), -1)
        while others and before.get(_key_of(others[0], key), len(live)) < place:
            result.append(others.popleft())
        result.append(item)
    return [*result, *others]


def _ranks(identities: Iterable[Hashable]) -> dict[Hashable, int]:
    ranks: dict[Hashable, int] = {}
    for index, identity in enumerate(identities):
        ranks.setdefault(identity, index)
    return ranks


def _key_of(item: Any, key: str) -> Hashable:
    """Return what tells an item apart: its key field, or a scalar itself."""
    if not key:
        return _identity(item)
    if not isinstance(item, Mapping):
        raise errors.BadRequestError(f"invalid patch format: the list has an item without {key}: {_shown(item)}")
    return _identity(item.get(key))


def _identity(value: Any) -> Hashable:
    """Return a stand-in by which values are compared as JSON compares them: true is not 1."""
    if isinstance(value, str) or value is None:
        return value
    return orjson.dumps(value)


def _has_directive(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get(_DIRECTIVE, "merge") != "merge"


def _clean(value: Any) -> Any:
    """Return a copy of a value of the patch that meets nothing in the object: without directives and nulls in maps."""
    if isinstance(value, Mapping):
        return _DROPPED if value.get(_DIRECTIVE) == "delete" else _clean_map(value)
    if isinstance(value, list):
        cleaned = [_clean(item) for item in value if not (isinstance(item, Mapping) and item.keys() == {_DIRECTIVE})]
        return [item for item in cleaned if item is not _DROPPED]
    return value


def _clean_map(value: Mapping[str, Any]) -> Object:
    kept = {name: _clean(child) for name, child in value.items() if child is not None and not _is_directive(name)}
    return {name: child for name, child in kept.items() if child is not _DROPPED}


def _is_directive(name: str) -> bool:
    return name in {_DIRECTIVE, _RETAIN} or name.startswith((_ORDER, _REMOVE))


def _unknown_directive(directive: Any, value: Mapping[str, Any]) -> errors.BadRequestError:
    return errors.BadRequestError(f"unknown patch type: {_shown(directive)} in map: {_shown(value)}")


def _shown(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
