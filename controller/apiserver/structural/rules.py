"""``x-kubernetes-validations``: the rules of a schema, compiled once, run over objects at every depth.

A rule that names ``oldSelf`` is a transition rule: it runs on updates, where an old value correlates, or always with ``optionalOldSelf``.
A rule that fails over a value which did not change is tolerated, transition rules excepted. All rules of one object share a budget
(``cost.py``), so no rule can hold the server up: what is over it is refused, as Kubernetes refuses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from controller.apiserver import shaping
from controller.apiserver.structural import celvalues, complaints, cost, expressions
from controller.apiserver.structural.correlation import Old, same
from controller.apiserver.structural.expressions import EvaluationError, Expression, Scope
from lattice.api.errors import Cause

Schema = Mapping[str, Any]
RULES: Final = "x-kubernetes-validations"
BLOCKING: Final = frozenset(
    {"FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"}
)
"""Reasons of schema causes after which rules are not run: they rely on the types."""
_MAX_MESSAGE_BYTES: Final = 5 * 1024


def present(schema: Schema) -> bool:
    """Return whether any rule stands in a schema; without one, CEL is not even loaded."""
    if schema.get(RULES):
        return True
    children = (
        *(schema.get("properties") or {}).values(),
        *(schema.get("allOf") or ()),
        schema.get("items"),
        schema.get("additionalProperties"),
    )
    return any(isinstance(child, Mapping) and present(child) for child in children)


class Rule:
    """One compiled rule. Raises ``expressions.CompileError`` where it is none."""

    __slots__ = ("_message", "expression", "field_path", "message_expression", "optional_old", "reason", "work")

    def __init__(self, source: Mapping[str, Any], schema: Schema) -> None:
        kind = celvalues.kind_of(schema)
        self.optional_old = bool(source.get("optionalOldSelf"))
        text = str(source.get("rule", "")).strip()
        self.expression = Expression(text, kind=kind, optional_old=self.optional_old)
        if self.expression.result not in {"BOOL", "DYN"}:
            raise expressions.CompileError("cel expression must evaluate to a bool")
        self.work = cost.Work(self.expression)
        told = str(source.get("messageExpression") or "").strip()
        self.message_expression = Expression(told, kind=kind, optional_old=self.optional_old) if told else None
        if self.message_expression is not None and self.message_expression.result not in {"STRING", "DYN"}:
            raise expressions.CompileError("messageExpression must evaluate to a string")
        self._message = str(source.get("message") or "").strip()
        self.reason = source.get("reason")
        self.field_path = str(source.get("fieldPath") or "").strip()

    @property
    def shown(self) -> str:
        """What stands for the rule in messages."""
        return self._message or self.expression.text

    def message(self, scope: Scope) -> str:
        """Return what a broken rule says."""
        if self.message_expression is not None:
            try:
                told = self.message_expression.evaluate(scope)
            except EvaluationError:
                told = None
            text = told.strip() if isinstance(told, str) else ""
            if text and "\n" not in text and len(text.encode()) <= _MAX_MESSAGE_BYTES:
                return text
        return self._message or f"failed rule: {self.expression.text}"

    def cause(self, where: str, kind: str, message: str) -> Cause:
        """Return the cause of a broken rule."""
        field = (
            (f"{where}{self.field_path}" if self.field_path.startswith((".", "[")) else where).removeprefix(".")
            if self.field_path
            else where
        )
        field = field or "<nil>"
        match self.reason:
            case "FieldValueForbidden":
                return shaping.forbidden(field, message)
            case "FieldValueRequired":
                return shaping.required(field, message)
            case "FieldValueDuplicate":
                return complaints.duplicate(field, complaints.shown(kind))
            case _:
                return complaints.shaped(field, kind, message)


class Rules:
    """The rules at and below one place of a schema."""

    __slots__ = ("_all_of", "_converter", "_correlates", "_fields", "_items", "_kind", "_rules", "_schema", "_values", "present")

    def __init__(self, schema: Schema, *, rules: Schema | None = None, root: bool = False) -> None:
        """``rules`` is where the rules stand: in the schema itself, or in one of its ``allOf``."""
        source = schema if rules is None else rules
        self._schema = schema
        self._kind = schema.get("type") or ""
        self._rules = tuple(Rule(rule, schema) for rule in source.get(RULES) or ())
        self._converter = celvalues.Converter(schema, root=root) if self._rules else None
        self._correlates = schema.get("x-kubernetes-map-type") in {None, "granular", "atomic"}
        properties, inner = schema.get("properties") or {}, source.get("properties") or {}
        children = {name: Rules(properties[name], rules=inner[name]) for name in inner if name in properties}
        self._fields = {name: child for name, child in children.items() if child.present}
        self._items = self._child(schema.get("items"), source.get("items"))
        self._values = self._child(schema.get("additionalProperties"), source.get("additionalProperties"))
        parts = (Rules(schema, rules=part, root=root) for part in source.get("allOf") or ())
        self._all_of = tuple(part for part in parts if part.present)
        self.present: bool = bool(self._rules or self._fields or self._items or self._values or self._all_of)

    @staticmethod
    def _child(schema: Any, rules: Any) -> Rules | None:
        if not isinstance(schema, Mapping) or not isinstance(rules, Mapping):
            return None
        child = Rules(schema, rules=rules)
        return child if child.present else None

    def check(self, obj: Any, old: Any = None) -> list[Cause]:
        """Return the causes of all broken rules of an object that fits its schema."""
        before = Old(old) if old is not None else None
        causes: list[Cause] = []
        try:
            self._check(obj, "", before, before, causes, cost.Budget())
        except cost.OverBudgetError as error:
            causes.append(error.cause)
        return causes

    def _check(self, value: Any, where: str, old: Old | None, nearest: Old | None, causes: list[Cause], budget: cost.Budget) -> None:
        if value is None:
            return
        if self._rules:
            self._run(value, where, old, nearest, causes, budget)
        for part in self._all_of:
            part._check(value, where, old, None, causes, budget)
        if isinstance(value, dict):
            for name, child in self._fields.items():
                if name in value:
                    before = old.field(name) if old is not None and self._correlates else None
                    below = None if not where and name in {"apiVersion", "kind"} else before
                    child._check(value[name], f"{where}.{name}" if where else name, before, below, causes, budget)
            if self._values is not None:
                for name, item in value.items():
                    before = old.field(name) if old is not None and self._correlates else None
                    self._values._check(item, f"{where}[{name}]", before, before, causes, budget)
        elif isinstance(value, list) and self._items is not None:
            items = old.items(self._schema) if old is not None else None
            for index, item in enumerate(value):
                before = items.of(item) if items is not None else None
                self._items._check(item, f"{where}[{index}]", before, before, causes, budget)

    def _run(self, value: Any, where: str, old: Old | None, nearest: Old | None, causes: list[Cause], budget: cost.Budget) -> None:
        assert self._converter is not None
        has_old = old is not None and old.value is not None
        seen = self._converter.convert(value)
        before = self._converter.convert(old.value) if old is not None and has_old else None
        scope = Scope(seen, before, has_old=has_old)
        values = cost.Values(seen, before)
        for rule in self._rules:
            if rule.expression.uses_old and not has_old and not rule.optional_old:
                continue
            budget.spend(rule.work, values, where or "<nil>", self._kind, rule.shown)
            cause = self._broken(rule, scope, where)
            if cause is None:
                continue
            if not rule.expression.uses_old and nearest is not None and same(nearest.value, value):
                continue
            causes.append(cause)

    def _broken(self, rule: Rule, scope: Scope, where: str) -> Cause | None:
        try:
            if rule.expression.evaluate(scope) is True:
                return None
        except EvaluationError as error:
            text = str(error)
            if text.startswith("no such overload"):
                text = f"'{text}': call arguments did not match a supported operator, function or macro signature for rule: {rule.shown}"
            elif text.startswith("operation cancelled"):
                text = f"'{text}': no further validation rules will be run due to call cost exceeds limit for rule: {rule.shown}"
                raise cost.OverBudgetError(complaints.shaped(where or "<nil>", self._kind, text)) from error
            else:
                text = f"{text} evaluating rule: {rule.shown}"
            return complaints.shaped(where or "<nil>", self._kind, text)
        return rule.cause(where, self._kind, rule.message(scope))
