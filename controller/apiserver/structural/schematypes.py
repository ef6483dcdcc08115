"""Whether a definition's schema is a schema at all: every keyword of the type it must have, not too deep, not too large.

Kubernetes refuses the rest while decoding; here the schema is kept as an open map, so it is looked at first, before anything relies on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from controller.apiserver import shaping
from controller.apiserver.structural import gotext
from controller.apiserver.structural.complaints import Complainer
from lattice.api.errors import Cause

MAX_DEPTH: Final = 100
MAX_NODES: Final = 50_000
_SCALARS: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(("type", "format", "pattern", "title", "description", "id", "$ref", "$schema"), frozenset({"string"})),
    **dict.fromkeys(
        ("nullable", "uniqueItems", "exclusiveMinimum", "exclusiveMaximum", "x-kubernetes-int-or-string",
         "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"), frozenset({"boolean"}),
    ),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), frozenset({"integer"})),
    **dict.fromkeys(("minimum", "maximum", "multipleOf"), frozenset({"integer", "number"})),
    **dict.fromkeys(("x-kubernetes-list-type", "x-kubernetes-map-type"), frozenset({"string"})),
}  # fmt: skip
_TEXTS: Final = ("required", "x-kubernetes-list-map-keys")
_RULE_FIELDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("rule", "message", "messageExpression", "reason", "fieldPath"), "string"),
    "optionalOldSelf": "boolean",
}


class SchemaTypes:
    """One run over one schema."""

    def __init__(self) -> None:
        self._say = Complainer()
        self._nodes = 0
        self.causes: list[Cause] = []

    def check(self, schema: Any, path: str, depth: int = 0) -> None:
        """Collect what is not of the right type."""
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            if not any(cause.reason == "FieldValueForbidden" for cause in self.causes):
                message = f"a schema may be {MAX_DEPTH} levels deep and have {MAX_NODES} places"
                self.causes.append(shaping.forbidden(path, message))
            return
        if not self._is(schema, "object", path):
            return
        for keyword, kinds in _SCALARS.items():
            value = schema.get(keyword)
            if value is not None and gotext.json_type(value) not in kinds:
                self._wrong(value, min(kinds), f"{path}.{keyword}")
        for keyword in _TEXTS:
            value = schema.get(keyword)
            if value is not None and self._is(value, "array", f"{path}.{keyword}"):
                for index, item in enumerate(value):
                    self._is(item, "string", f"{path}.{keyword}[{index}]")
        if schema.get("enum") is not None:
            self._is(schema["enum"], "array", f"{path}.enum")
        self._rules(schema.get("x-kubernetes-validations"), f"{path}.x-kubernetes-validations")
        self._children(schema, path, depth + 1)

    def _children(self, schema: Mapping[str, Any], path: str, depth: int) -> None:
        for keyword in ("properties", "patternProperties", "definitions"):
            if schema.get(keyword) is not None and self._is(schema[keyword], "object", f"{path}.{keyword}"):
                for name, child in schema[keyword].items():
                    self.check(child, f"{path}.{keyword}[{name}]", depth)
        for keyword in ("allOf", "anyOf", "oneOf"):
            if schema.get(keyword) is not None and self._is(schema[keyword], "array", f"{path}.{keyword}"):
                for index, child in enumerate(schema[keyword]):
                    self.check(child, f"{path}.{keyword}[{index}]", depth)
        if schema.get("not") is not None:
            self.check(schema["not"], f"{path}.not", depth)
        for keyword, other in (("items", list), ("additionalProperties", bool)):
            child = schema.get(keyword)
            if child is not None and not isinstance(child, other):
                self.check(child, f"{path}.{keyword}", depth)

    def _rules(self, given: Any, path: str) -> None:
        if given is None or not self._is(given, "array", path):
            return
        for index, rule in enumerate(given):
            if self._is(rule, "object", f"{path}[{index}]"):
                for name, kind in _RULE_FIELDS.items():
                    if rule.get(name) is not None:
                        self._is(rule[name], kind, f"{path}[{index}].{name}")

    def _is(self, value: Any, kind: str, path: str) -> bool:
        if gotext.json_type(value) == kind:
            return True
        self._wrong(value, kind, path)
        return False

    def _wrong(self, value: Any, kind: str, path: str) -> None:
        self.causes.append(self._say.wrong_type(path, kind, gotext.json_type(value)))


def check(schema: Any, path: str) -> list[Cause]:
    """Return what keeps ``schema`` from being one."""
    run = SchemaTypes()
    run.check(schema, path)
    return run.causes
