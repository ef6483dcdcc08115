"""The check that an applied configuration has the types of the schema, with the sentences of structured-merge-diff.

Ordinary objects are checked by ``structural``; an applied one is checked here first, before it is merged: unknown fields are refused,
types are compared, and the items of associative lists need distinct keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from controller.apiserver.fieldmanager import comparing, elements
from controller.apiserver.fieldmanager.elements import json_text
from controller.apiserver.fieldmanager.nodes import ATOMIC, KEYED, Node

MAX_SHOWN: Final = 20
"""Errors in one message."""


def check(node: Node, value: Any) -> str:
    """Return what is wrong with an applied value, in one text; empty for nothing."""
    found = list(_errors(node, value, ""))
    if len(found) <= 1:
        return "".join(found)
    return "\n".join(["errors:", *(f"  {text}" for text in found[:MAX_SHOWN])])


def _errors(node: Node, value: Any, path: str) -> Iterator[str]:
    if value is None:
        return
    if type(value) is dict and node.maps:
        yield from _map_errors(node, value, path)
    elif type(value) is list and node.lists:
        yield from _list_errors(node, value, path)
    elif node.scalar is not None and not isinstance(value, (dict, list)):
        if text := _scalar_error(node.scalar, value):
            yield _at(path, text)
    elif node.maps:
        yield _at(path, f"expected map, got {_boxed(value)}")
    elif node.scalar is not None:
        yield _at(path, _scalar_error(node.scalar, value) or "")
    else:
        yield _at(path, f"expected list, got {_boxed(value)}")


def _map_errors(node: Node, value: dict[str, Any], path: str) -> Iterator[str]:
    for name, child in value.items():
        known = node.fields.get(name)
        below = known[1] if known is not None else node.element
        if below is None:
            yield f"{path}.{name}: field not declared in schema"
            return
        yield from _errors(below, child, f"{path}.{name}")


def _list_errors(node: Node, value: list[Any], path: str) -> Iterator[str]:
    assert node.items is not None
    seen: set[str] = set()
    for index, item in enumerate(value):
        step = f"i:{index}"
        if node.relation != ATOMIC:
            problem = _item_error(node, item)
            if problem:
                yield _at(path, f"element {index}: {problem}")
                return
            step = comparing.step_to(node, item) or step
            if step in seen:
                yield _at(path, f"duplicate entries for key {elements.shown(step)}")
            seen.add(step)
        yield from _errors(node.items, item, path + elements.shown(step))


def _item_error(node: Node, item: Any) -> str:
    if node.relation == KEYED:
        if item is None:
            return "associative list with keys may not have a null element"
        if not isinstance(item, dict):
            return "associative list with keys may not have non-map elements"
        if comparing.step_to(node, item) is None:
            names = " ".join(json_text(key[0]) for key in node.keys)
            return (
                f"associative list with keys has an element that omits all key fields [{names}] "
                "(and doesn't have default values for any key fields)"
            )
        return ""
    if item is None:
        return "associative list without keys has an element that's an explicit null"
    if isinstance(item, dict):
        return "associative list without keys has an element that's a map type"
    if isinstance(item, list):
        return "not supported: associative list with lists as elements"
    return ""


def _scalar_error(scalar: str, value: Any) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    match scalar:
        case "numeric" if not number:
            return f"expected numeric (int or float), got {_go_type(value)}"
        case "string" if not isinstance(value, str):
            return f"expected string, got &value.valueUnstructured{{Value:{_go_syntax(value)}}}"
        case "boolean" if not isinstance(value, bool):
            return f"expected boolean, got {_boxed(value)}"
        case _:
            return f"expected any scalar, got {_boxed(value)}" if isinstance(value, (dict, list)) else ""


def _at(path: str, text: str) -> str:
    return f"{path}: {text}" if path else text


def _boxed(value: Any) -> str:
    """Return a value as Go's ``%v`` shows structured-merge-diff's box of it."""
    return f"&{{{_go_value(value)}}}"


def _go_value(value: Any) -> str:
    if isinstance(value, dict):
        return "map[" + " ".join(f"{name}:{_go_value(value[name])}" for name in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(_go_value(item) for item in value) + "]"
    if value is None:
        return "<nil>"
    return value if isinstance(value, str) else json_text(value)


def _go_syntax(value: Any) -> str:
    if isinstance(value, dict):
        return "map[string]interface {}{" + ", ".join(f"{json_text(name)}:{_go_syntax(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[]interface {}{" + ", ".join(_go_syntax(item) for item in value) + "}"
    return "interface {}(nil)" if value is None else json_text(value)


def _go_type(value: Any) -> str:
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list):
        return "[]interface {}"
    return "bool" if isinstance(value, bool) else "string"
