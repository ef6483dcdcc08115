"""JSON values as rules see them: typed by the schema, fields under names that CEL can say.

Only what the schema names is visible (of ``metadata``, as in Kubernetes, just name and generateName). Numbers of a ``number`` field are
doubles even when written without a fraction. A field called ``my-field`` or ``for`` is ``my__dash__field`` or ``__for__`` in a rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from controller.apiserver.structural import gotext
from controller.apiserver.structural.celfunctions import Kind

_RESERVED: Final = frozenset({
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
    "namespace", "return", "var", "void", "while",
})  # fmt: skip
_ESCAPES: Final = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_ESCAPED: Final = re.compile(r"__|[./-]")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_VISIBLE_METADATA: Final = ("name", "generateName")
_KINDS: Final[Mapping[str, Kind]] = {"integer": "int", "string": "string", "boolean": "bool", "number": "double", "array": "list"}


def escape(name: str) -> str | None:
    """Return the name of a field in rules, or ``None`` for one that no rule can say."""
    if name in _RESERVED:
        return f"__{name}__"
    escaped = _ESCAPED.sub(lambda found: _ESCAPES[found.group(0)], name)
    return escaped if _NAME.fullmatch(escaped) else None


def kind_of(schema: Mapping[str, Any]) -> Kind:
    """Return the static type of ``self`` at a place of a schema."""
    if schema.get("nullable") or schema.get("x-kubernetes-int-or-string"):
        return "any"
    kind = schema.get("type", "")
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping) and not schema.get("properties"):
        return "map"
    return _KINDS.get(kind, "any")


class Converter:
    """Turns values of one place of a schema into what rules see."""

    __slots__ = ("_fields", "_is_number", "_items", "_open", "_values", "plain")

    def __init__(self, schema: Mapping[str, Any], *, root: bool = False) -> None:
        self._is_number = schema.get("type") == "number"
        properties = dict(schema.get("properties") or {})
        if root or schema.get("x-kubernetes-embedded-resource"):
            known = (properties.get("metadata") or {}).get("properties") or {}
            visible = {name: known.get(name, {"type": "string"}) for name in _VISIBLE_METADATA}
            properties["metadata"] = {"type": "object", "properties": visible}
            properties = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, **properties}
        self._fields: dict[str, tuple[str, Converter]] = {}
        for name, child in properties.items():
            escaped = escape(name)
            if escaped is not None and is_visible(child):
                self._fields[name] = (escaped, Converter(child))
        self._items = Converter(schema["items"]) if isinstance(schema.get("items"), Mapping) else None
        more = schema.get("additionalProperties")
        self._values = Converter(more) if isinstance(more, Mapping) and not properties else None
        self._open = not properties and self._values is None
        self.plain: bool = not self._is_number and not self._fields and all(
            child is None or child.plain for child in (self._items, self._values)
        ) and schema.get("type") != "integer"  # fmt: skip
        """Whether values can be taken as they are."""

    def convert(self, value: Any) -> Any:
        """Return what a rule sees of ``value``."""
        kind = value.__class__
        if kind is dict:
            if self._fields:
                return {
                    escaped: child.convert(value[name]) if not child.plain else value[name]
                    for name, (escaped, child) in self._fields.items()
                    if name in value
                }
            if self._values is not None:
                convert = self._values.convert
                return value if self._values.plain else {name: convert(item) for name, item in value.items()}
            return {}
        if kind is list:
            if self._items is None or self._items.plain:
                return value
            return [self._items.convert(item) for item in value]
        if kind is int and (self._is_number or not gotext.is_integer(value)):
            return float(value)
        return value


def is_visible(schema: Mapping[str, Any]) -> bool:
    """Return whether rules see a field of this schema: one without a type they do not, save int-or-string."""
    kind = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        return True
    if not kind:
        return False
    if kind == "array":
        return isinstance(schema.get("items"), Mapping) and is_visible(schema["items"])
    if kind == "object":
        more = schema.get("additionalProperties")
        if isinstance(more, Mapping):
            return is_visible(more)
        return bool(schema.get("properties")) or bool(schema.get("x-kubernetes-embedded-resource"))
    return True
