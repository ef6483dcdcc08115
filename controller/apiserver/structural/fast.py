"""A structural schema as a compiled JSON schema: says in microseconds that an object is fine. What is wrong, ``checking.py`` says.

The two must agree on which objects are valid. Differences between OpenAPI v3 as Kubernetes has it and JSON Schema are translated here:
``nullable``, boolean ``exclusiveMinimum``, int-or-string, the ranges of int32 and int64, Go's regular expressions, Kubernetes' formats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import jsonschema_rs

from controller.apiserver.structural import formats, gotext, patterns

_PLAIN: Final = ("enum", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "uniqueItems", "required")
_INT32: Final = (-(2**31), 2**31 - 1)
_INT64: Final = (gotext.MIN_INT64, gotext.MAX_INT64)


class FastCheck:
    """The compiled schema of one kind, or of one part of it."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._formats: dict[str, Callable[[str], bool]] = {}
        translated = self._translate(schema)
        self._validator = jsonschema_rs.Draft202012Validator(translated, formats=self._formats, validate_formats=True, offline=True)

    def is_valid(self, value: Any) -> bool:
        """Return whether ``value`` fits. A text that is not Unicode fits nothing."""
        try:
            return self._validator.is_valid(value)
        except (ValueError, OverflowError, TypeError):
            return False

    def _format(self, name: str, check: Callable[[str], bool]) -> dict[str, Any]:
        self._formats[name] = check
        return {"format": name}

    def _translate(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {key: schema[key] for key in _PLAIN if schema.get(key) not in (None, [])}
        further: list[dict[str, Any]] = []
        kind = schema.get("type")
        kinds = ["integer", "string"] if schema.get("x-kubernetes-int-or-string") else [kind] if kind else []
        if kinds:
            out["type"] = [*kinds, "null"] if schema.get("nullable") else kinds
        if "integer" in kinds:
            low, high = _INT32 if schema.get("format") == "int32" else _INT64
            further.append({"type": ["integer", "string", "null"], "minimum": low, "maximum": high})
        name = schema.get("format") or ""
        if name in formats.CHECKS and "integer" not in kinds and "number" not in kinds:
            further.append(self._format(f"kubernetes:{name}", formats.CHECKS[name]))
        if pattern := schema.get("pattern"):
            further.append(self._format(f"pattern:{pattern}", patterns.searcher(pattern)))
        out |= _limits(schema)
        if isinstance(schema.get("properties"), Mapping):
            out["properties"] = {name: self._translate(child) for name, child in schema["properties"].items()}
        more = schema.get("additionalProperties")
        if isinstance(more, Mapping):
            out["additionalProperties"] = self._translate(more)
        elif more is False:
            out["additionalProperties"] = False
        if isinstance(schema.get("items"), Mapping):
            out["items"] = self._translate(schema["items"])
        for key in ("anyOf", "oneOf"):
            if schema.get(key):
                further += [{key: [self._translate(child) for child in schema[key]]}]
        if schema.get("not") is not None:
            out["not"] = self._translate(schema["not"])
        further += [self._translate(child) for child in schema.get("allOf") or ()]
        if further:
            out["allOf"] = further
        return out if not schema.get("nullable") else self._or_null(out, schema)

    @staticmethod
    def _or_null(translated: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
        """Of a null only the enum is checked; the combinations would refuse it."""
        if not ({"allOf", "not"} & translated.keys()):
            return translated
        null: dict[str, Any] = {"type": "null"}
        if schema.get("enum"):
            null["enum"] = schema["enum"]
        return {"anyOf": [null, translated]}


def _limits(schema: Mapping[str, Any]) -> dict[str, Any]:
    out = {}
    for key, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if (limit := schema.get(key)) is not None:
            out[exclusive if schema.get(exclusive) is True else key] = limit
    if (factor := schema.get("multipleOf")) is not None and factor > 0:
        out["multipleOf"] = factor
    return out
