"""The rules of a definition's schema: each compiles, names fields that exist, says something when it is broken, and can be afforded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from controller.apiserver import shaping
from controller.apiserver.structural import complaints, cost, expressions, fieldpaths, fieldtypes, rules, trees
from lattice.api.errors import Cause

Schema = Mapping[str, Any]
_REASONS: Final = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_ADVICE: Final = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
MAX_RULES: Final = 1000
"""Rules in one schema; real definitions have some dozens."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the schema, and what that means for rules."""

    path: str
    root: bool = False
    uncorrelated: str = ""
    """The path from which on old and new values do not correlate, if there is one above."""
    cardinality: int = 1
    """How many values this place can have in one object."""

    def below(self, path: str, **changes: Any) -> Place:
        """Return a place further down."""
        return replace(self, path=path, root=False, **changes)


@dataclass(slots=True)
class _Run:
    causes: list[Cause] = field(default_factory=list)
    count: int = 0


def check(schema: Schema, path: str) -> list[Cause]:
    """Return what is wrong with the rules of a structural schema."""
    run = _Run()
    _check(schema, Place(path, root=True), run)
    if run.count > MAX_RULES:
        return [shaping.forbidden(path, f"x-kubernetes-validations has {run.count} rules, more than {MAX_RULES}")]
    return run.causes


def _check(schema: Schema, place: Place, run: _Run) -> None:
    own = schema.get(rules.RULES) or ()
    for index, rule in enumerate(own):
        run.count += 1
        if run.count <= MAX_RULES:
            run.causes += _check_rule(rule, schema, place, f"{place.path}.{rules.RULES}[{index}]")
    for name, child in (schema.get("properties") or {}).items():
        _check(child, place.below(f"{place.path}.properties[{name}]"), run)
    items = schema.get("items")
    if isinstance(items, Mapping):
        correlates = schema.get("x-kubernetes-list-type") == "map"
        below = place.below(f"{place.path}.items", cardinality=_times(place.cardinality, schema.get("maxItems"), items))
        _check(items, below if correlates else replace(below, uncorrelated=place.uncorrelated or place.path), run)
    more = schema.get("additionalProperties")
    if isinstance(more, Mapping):
        _check(
            more,
            place.below(f"{place.path}.additionalProperties", cardinality=_times(place.cardinality, schema.get("maxProperties"), more)),
            run,
        )


def _times(cardinality: int, limit: int | None, inner: Schema) -> int:
    most = 3 * 1024 * 1024 // (cost.smallest(inner) + 1)
    return min(cardinality * limit, most) if limit is not None else most


def _check_rule(source: Any, schema: Schema, place: Place, path: str) -> list[Cause]:
    causes = _check_texts(source, schema, path)
    if causes:
        return causes
    try:
        rule = rules.Rule(source, schema)
        tree = trees.parse(rule.expression.serialise())
        result = fieldtypes.check(tree, schema, root=place.root, optional_old=rule.optional_old)
        if result is not None and (result.get("type") or "boolean") != "boolean":
            raise expressions.CompileError("cel expression must evaluate to a bool")  # noqa: TRY301 - one place tells of all of them
    except fieldtypes.UndefinedFieldError as error:
        return [complaints.shaped(f"{path}.rule", source, f"compilation failed: {_located(source['rule'].strip(), error.name)}")]
    except expressions.CompileError as error:
        part = "messageExpression" if "messageExpression" in str(error) else "rule"
        return [complaints.shaped(f"{path}.{part}", source, str(error))]
    if rule.expression.uses_old and place.uncorrelated and not rule.optional_old:
        text = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {place.uncorrelated}"
        causes.append(complaints.shaped(f"{path}.rule", source["rule"], text))
    if not rule.expression.uses_old and source.get("optionalOldSelf") is not None:
        text = "may not be set if oldSelf is not used in rule"
        causes.append(complaints.shaped(f"{path}.optionalOldSelf", source["optionalOldSelf"], text))
    if cost.static_excess(rule.work, cost.measure_schema(schema), place.cardinality):
        causes.append(shaping.forbidden(f"{path}.rule", f"estimated rule cost exceeds budget by factor of more than 100x {_ADVICE}"))
    return causes


def _check_texts(source: Any, schema: Schema, path: str) -> list[Cause]:
    causes = []
    message, rule = str(source.get("message") or ""), str(source.get("rule") or "")
    if not rule.strip():
        causes.append(shaping.required(f"{path}.rule", "rule is not specified"))
    elif message and not message.strip():
        causes.append(complaints.shaped(f"{path}.message", message, "message must be non-empty if specified"))
    elif _breaks(message.strip()):
        causes.append(complaints.shaped(f"{path}.message", message, "message must not contain line breaks"))
    elif _breaks(rule.strip()) and not message.strip():
        causes.append(shaping.required(f"{path}.message", "message must be specified if rule contains line breaks"))
    told = source.get("messageExpression")
    if told and not str(told).strip():
        causes.append(shaping.required(f"{path}.messageExpression", "messageExpression must be non-empty if specified"))
    if (reason := source.get("reason")) is not None and reason not in _REASONS:
        causes.append(shaping.unsupported(f"{path}.reason", reason, _REASONS))
    if given := source.get("fieldPath"):
        if not given.strip():
            causes.append(complaints.shaped(f"{path}.fieldPath", given, "fieldPath must be non-empty if specified"))
        elif _breaks(given):
            causes.append(complaints.shaped(f"{path}.fieldPath", given, "fieldPath must not contain line breaks"))
        else:
            try:
                fieldpaths.resolve(given, schema)
            except fieldpaths.PathError:
                causes.append(complaints.shaped(f"{path}.fieldPath", given, "fieldPath must be a valid path"))
    return causes


def _breaks(text: str) -> bool:
    return "\n" in text or "\r" in text


def _located(text: str, name: str) -> str:
    """Return the compiler's sentence for an undefined field, with the line and a caret, as cel-go gives it."""
    found = re.search(rf"\.\??{re.escape(name)}\b", text)
    start = found.start() if found else 0
    line = text.count("\n", 0, start)
    column = start - (text.rfind("\n", 0, start) + 1)
    shown = text.split("\n")[line]
    return f"ERROR: <input>:{line + 1}:{column + 1}: undefined field '{name}'\n | {shown}\n | {'.' * column}^"
