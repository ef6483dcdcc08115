"""A structural OpenAPI schema, compiled once into nodes that say how a value may be merged.

What counts of a schema: is a map granular or one atomic value, is a list atomic, a set, or a map by which keys (with which defaults),
may a value be of any shape (then maps are granular and lists atomic, as far down as it goes). Whether values are valid is for
``structural``; only ``checking`` looks at types, for applied configurations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from controller.apiserver.fieldmanager import elements

ATOMIC: Final = 0
SET: Final = 1
KEYED: Final = 2
ABSENT: Final = object()

_SCALARS: Final = {"string": "string", "integer": "numeric", "number": "numeric", "boolean": "boolean"}
_ANY: Final = "untyped"


class Node:
    """How the values at one place of a schema merge.

    Attributes:
        fields: named fields: path step and node of each.
        element: node of fields that have no name in the schema; ``None``: there may be none.
        items: node of a list's items.
        maps: a map may stand here; ``granular``: its fields are owned one by one.
        lists: a list may stand here; ``relation``: ATOMIC, SET or KEYED; ``keys``: name, default and how the
            step to an item writes the name, for each key field, sorted.
        scalar: kind of scalar that may stand here, ``None`` for none.
        mixed: below here true and 1 may take each other's place, so ``==`` does not tell whether values are the same.
        leaf: values here are owned as a whole, whatever they are.
    """

    __slots__ = ("element", "fields", "granular", "items", "keys", "leaf", "lists", "maps", "mixed", "relation", "scalar")

    def __init__(self, *, scalar: str | None = None, maps: bool = False, lists: bool = False) -> None:
        self.fields: dict[str, tuple[str, Node]] = {}
        self.element: Node | None = None
        self.items: Node | None = None
        self.maps = maps
        self.granular = maps
        self.lists = lists
        self.relation = ATOMIC
        self.keys: tuple[tuple[str, Any, str], ...] = ()
        self.scalar = scalar
        self.mixed = False
        self.leaf = not (maps or lists)

    def field(self, name: str) -> tuple[str, Node]:
        """Return the step to a field of a map here, and its node."""
        return self.fields.get(name) or ("f:" + name, self.element or DEDUCED)

    def _settle(self) -> Node:
        self.leaf = not (self.maps and self.granular) and self.relation == ATOMIC
        self.mixed = self.scalar == _ANY or any(node.mixed for node in self._children())
        return self

    def _children(self) -> Iterator[Node]:
        yield from (node for _, node in self.fields.values())
        if self.element is not None and self.element is not self:
            yield self.element
        if self.items is not None and self.items is not self:
            yield self.items


def _make_deduced() -> tuple[Node, Node]:
    """Return the nodes of values without a schema: granular maps of the same, and what is within an atomic list."""
    whole = Node(scalar=_ANY, maps=True, lists=True)
    whole.granular = False
    whole.element = whole.items = whole
    deduced = Node(scalar=_ANY, maps=True, lists=True)
    deduced.element, deduced.items = deduced, whole
    return deduced._settle(), whole._settle()


DEDUCED, _WHOLE = _make_deduced()


def compile_schema(schema: Mapping[str, Any]) -> Node:
    """Return the node of an object's full schema."""
    return _compile(schema, open_=False, metadata=schema.get("properties", {}).get("metadata", {}))


def _compile(schema: Mapping[str, Any], *, open_: bool, metadata: Mapping[str, Any]) -> Node:
    open_ = open_ or bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    kind = schema.get("type", "")
    if schema.get("x-kubernetes-int-or-string"):
        node = Node(scalar="int-or-string")
    elif kind in _SCALARS:
        node = Node(scalar=_scalar(kind, schema.get("format", "")))
    elif kind == "object":
        node = Node(maps=True)
        _add_map(node, schema, open_=open_, metadata=metadata)
    elif kind == "array":
        node = Node(lists=True)
        _add_list(node, schema, open_=open_, metadata=metadata)
    else:
        node = Node(scalar=_ANY, maps=True, lists=True)
        _add_map(node, schema, open_=open_, metadata=metadata)
        _add_list(node, schema, open_=open_, metadata=metadata)
    return node._settle()


def _scalar(kind: str, form: str) -> str:
    # Formats stand for Go types with their own JSON (times, quantities, int-or-string); structured-merge-diff checks none of them.
    return "text-or-number" if kind == "string" and form not in {"", "byte"} else _SCALARS[kind]


def _add_map(node: Node, schema: Mapping[str, Any], *, open_: bool, metadata: Mapping[str, Any]) -> None:
    properties = dict(schema.get("properties", {}))
    if schema.get("x-kubernetes-embedded-resource"):
        properties = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, **properties, "metadata": metadata}
    for name, child in properties.items():
        node.fields[name] = ("f:" + name, _compile(child, open_=open_, metadata=metadata))
    extra = schema.get("additionalProperties")
    if isinstance(extra, Mapping):
        node.element = _compile(extra, open_=open_, metadata=metadata)
    elif extra or (extra is None and (open_ or not properties)):
        node.element = DEDUCED
    node.granular = schema.get("x-kubernetes-map-type") != "atomic"


def _add_list(node: Node, schema: Mapping[str, Any], *, open_: bool, metadata: Mapping[str, Any]) -> None:
    items = schema.get("items")
    node.items = _compile(items, open_=open_, metadata=metadata) if isinstance(items, Mapping) and items else _WHOLE
    kind = schema.get("x-kubernetes-list-type")
    names = schema.get("x-kubernetes-list-map-keys") or ()
    if kind is None and schema.get("x-kubernetes-patch-strategy") in {"merge", "merge,retainKeys"}:
        merge_key = schema.get("x-kubernetes-patch-merge-key")
        kind, names = ("map", (merge_key,)) if merge_key else ("set", ())
    if kind == "set":
        node.relation = SET
    elif kind == "map" and names:
        node.relation = KEYED
        fields = items.get("properties", {}) if isinstance(items, Mapping) else {}
        node.keys = tuple((name, fields.get(name, {}).get("default", ABSENT), elements.json_text(name) + ":") for name in sorted(names))
