"""Whether a rule names only fields that its schema has: what cel-cpp, which knows no schemas, cannot say when it compiles.

A place whose type cannot be told (int-or-string, a nullable value's optional, the result of a function) is taken on trust, as a value
of dynamic type is in Kubernetes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.apiserver.structural import celvalues, trees

Schema = Mapping[str, Any]
_HEAD: Schema = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
_METADATA: Schema = {"type": "object", "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}}}


class UndefinedFieldError(ValueError):
    """A rule selects a field that its schema does not have."""

    def __init__(self, name: str) -> None:
        super().__init__(f"undefined field '{name}'")
        self.name = name


def check(tree: trees.Tree, schema: Schema, *, root: bool, optional_old: bool) -> Schema | None:
    """Check all selections of a rule that stands at ``schema``; return the schema of its result, if it is a plain field.

    Raises:
        UndefinedFieldError: the first field that is not there.
    """
    if root or schema.get("x-kubernetes-embedded-resource"):
        schema = {**schema, "properties": {**_HEAD, **(schema.get("properties") or {}), "metadata": _METADATA}}
    return _visit(tree, {"self": schema, "oldSelf": None if optional_old else schema})


def _visit(tree: trees.Tree, names: Mapping[str, Schema | None]) -> Schema | None:
    match tree:
        case trees.Name(name):
            return names.get(name)
        case trees.Select(operand, name, _):
            return _select(_visit(operand, names), name)
        case trees.Literal(parts):
            for part in parts:
                _visit(part, names)
        case trees.Call(function, arguments):
            found = [_visit(argument, names) for argument in arguments]
            if function == "_[_]":
                return _item(found[0])
        case trees.Loop():
            over = _visit(tree.over, names)
            start = _visit(tree.start, names)
            inner = {**names, tree.variable: _item(over) if (over or {}).get("type") == "array" else None, tree.accumulator: start}
            _visit(tree.condition, inner)
            _visit(tree.step, inner)
            return _visit(tree.result, {**names, tree.accumulator: start})
        case _:
            pass
    return None


def _item(schema: Schema | None) -> Schema | None:
    if schema is None:
        return None
    found = schema.get("items") if schema.get("type") == "array" else schema.get("additionalProperties")
    return found if isinstance(found, Mapping) else None


def _select(schema: Schema | None, name: str) -> Schema | None:
    if schema is None or schema.get("type") != "object":
        return None
    fields = schema.get("properties")
    if not fields:
        return _item(schema)
    for field, child in fields.items():
        if celvalues.escape(field) == name and celvalues.is_visible(child):
            return child if isinstance(child, Mapping) else None
    raise UndefinedFieldError(name)
