"""How much work a rule may make: estimated from its syntax tree and the sizes of the values, before it runs.

cel-cpp stops after 10,000 loop iterations, but one iteration can compare megabytes, and ``map`` and ``filter`` copy their result on every
step. So each rule's work is bounded from above by the actual sizes of what it names (a unit is about 50 ns), and all rules of one
object share :data:`OBJECT_BUDGET`. The estimate over the largest values that a schema allows refuses hopeless rules in a definition; it
errs to the other side, and refuses none that Kubernetes accepts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from controller.apiserver.structural import complaints, gotext, trees
from controller.apiserver.structural.expressions import Expression
from lattice.api.errors import Cause

OBJECT_BUDGET: Final = 10_000_000
"""Units that all rules of one object may take together: about half a second."""
STATIC_LIMIT: Final = 10_000_000
"""Kubernetes' limit for one rule over the largest object that its schema allows."""
_LENIENCE: Final = 100
"""A definition is refused from so many times the limit on: our estimate is coarser than Kubernetes', and every run is bounded anyway."""
_PER_RUN: Final = 150
"""What running any rule once costs besides."""
_SMALL: Final = 20_000
"""Rules that cost no more than this by a coarse estimate need no finer one; a millisecond."""
_MAX_ITERATIONS: Final = 10_000
_OWN_FUNCTION: Final = 20
_TEXT_PER_UNIT: Final = 16
_MAX_REQUEST_BYTES: Final = 3 * 1024 * 1024
_MAX_DEPTH: Final = 40
_CONVERSIONS: Final = frozenset({"bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"})
"""Functions that Kubernetes' estimate has for nothing, however long the text."""


class OverBudgetError(Exception):
    """The rules of an object would take too long."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.message)
        self.cause = cause


@dataclass(slots=True)
class Extent:
    """Upper bounds of the values under one field name: items of a list or map, characters of a text, all nodes in all."""

    length: int = 0
    text: int = 0
    weight: int = 1
    item: str = ""
    """Where the bounds of the items stand."""

    def widen(self, other: Extent) -> None:
        """Raise the bounds to those of ``other``."""
        self.length = max(self.length, other.length)
        self.text = max(self.text, other.text)
        self.weight = max(self.weight, other.weight)
        self.item = self.item or other.item


@dataclass(slots=True)
class Sizes:
    """Bounds by field name; items of the list ``x`` stand under ``x[]``. Names are not unique in an object: the largest counts."""

    root: Extent
    largest: Extent = field(default_factory=Extent)
    named: dict[str, Extent] = field(default_factory=dict)
    real: bool = True
    """Measured in values, and work is what it costs here. Else: what a schema allows, and work is no more than Kubernetes estimates."""

    def of(self, name: str) -> Extent:
        """Return the bounds under a name; what has none is as large as the largest."""
        return self.named.get(name, self.largest)

    def note(self, name: str, extent: Extent) -> None:
        """Take in one value."""
        known = self.named.get(name)
        if known is None:
            self.named[name] = Extent(extent.length, extent.text, extent.weight, extent.item)
        else:
            known.widen(extent)
        self.largest.widen(Extent(extent.length, extent.text, extent.weight))


def measure(*values: Any) -> Sizes:
    """Return the sizes in actual values, which have been converted for rules and so are no deeper than their schema."""
    sizes = Sizes(Extent(item="self[]"))
    for value in values:
        sizes.root.widen(_measure(value, "self", sizes))
    return sizes


def _measure(value: Any, name: str, sizes: Sizes) -> Extent:
    item = f"{name}[]"
    if isinstance(value, str):
        extent = Extent(0, len(value), 1 + len(value) // _TEXT_PER_UNIT)
    elif isinstance(value, dict):
        extent = Extent(len(value), 0, 1, item)
        for key, child in value.items():
            found = _measure(child, key, sizes)
            extent.weight += found.weight + 1
            sizes.note(item, Extent(found.length, max(found.text, len(key)), found.weight, found.item))
    elif isinstance(value, list):
        extent = Extent(len(value), 0, 1, item)
        for child in value:
            extent.weight += _measure(child, item, sizes).weight
    else:
        extent = Extent()
    sizes.note(name, extent)
    return extent


def measure_schema(schema: Mapping[str, Any]) -> Sizes:
    """Return the sizes of the largest values that a schema allows. As in Kubernetes, what lists and objects hold adds nothing to them."""
    sizes = Sizes(Extent(item="self[]"), real=False)
    sizes.root.widen(_measure_schema(schema, "self", sizes))
    return sizes


def _measure_schema(schema: Mapping[str, Any], name: str, sizes: Sizes) -> Extent:
    item = f"{name}[]"
    kind = schema.get("type")
    if kind == "array" or isinstance(schema.get("additionalProperties"), Mapping):
        inner = schema.get("items") if kind == "array" else schema["additionalProperties"]
        if isinstance(inner, Mapping):
            _measure_schema(inner, item, sizes)
        limit = schema.get("maxItems" if kind == "array" else "maxProperties")
        length = limit if limit is not None else _MAX_REQUEST_BYTES // (smallest(inner if isinstance(inner, Mapping) else {}) + 1)
        extent = Extent(length, 0, length if kind == "array" else 1, item)
    elif kind == "object":
        for key, child in (schema.get("properties") or {}).items():
            _measure_schema(child, key, sizes)
        extent = Extent(len(schema.get("properties") or {}), 0, 1, item)
    elif kind in {"integer", "number", "boolean"}:
        extent = Extent()
    else:
        options = [len(option) for option in schema.get("enum") or () if isinstance(option, str)]
        text = max(options) if options else schema.get("maxLength", _MAX_REQUEST_BYTES)
        extent = Extent(0, text, 1 + text // _TEXT_PER_UNIT)
    sizes.note(name, extent)
    return extent


def smallest(schema: Mapping[str, Any]) -> int:
    """Return the bytes of the smallest JSON value that a schema allows."""
    match schema.get("type"):
        case "object":
            fields = schema.get("properties") or {}
            return 2 + sum(len(name) + 3 + smallest(fields.get(name, {})) for name in schema.get("required") or () if name in fields)
        case "string" | "array":
            return 2
        case "boolean":
            return 4
        case _:
            return 1


class Work:
    """What one rule costs."""

    __slots__ = ("_by_size", "_tree")

    def __init__(self, expression: Expression) -> None:
        self._tree = trees.parse(expression.serialise())
        self._by_size: dict[int, int] = {}

    def at_most(self, size_bytes: int) -> int:
        """Return an upper bound of the work over any value of so many bytes: coarse, and known after the first time."""
        magnitude = size_bytes.bit_length()
        found = self._by_size.get(magnitude)
        if found is None:
            limit = 1 << magnitude
            anything = Extent(limit, limit, limit)
            found = self._by_size[magnitude] = self.units(Sizes(anything, anything))
        return found

    def units(self, sizes: Sizes) -> int:
        """Return an upper bound of the work over values of these sizes."""
        return _estimate(self._tree, sizes, {"self": sizes.root, "oldSelf": sizes.root}, 0)[0]


class Values:
    """The values that the rules at one place run over; measured when a rule could be expensive."""

    __slots__ = ("_sizes", "_values", "size_bytes")

    def __init__(self, *values: Any) -> None:
        self._values = values
        self._sizes: Sizes | None = None
        self.size_bytes = sum(len(gotext.canonical(value)) for value in values)

    @property
    def sizes(self) -> Sizes:
        """The sizes by field."""
        if self._sizes is None:
            self._sizes = measure(*self._values)
        return self._sizes


class Budget:
    """What is left for the rules of one object."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = OBJECT_BUDGET

    def spend(self, work: Work, values: Values, where: str, kind: str, shown: str) -> None:
        """Take the cost of a rule off.

        Raises:
            OverBudgetError: it is more than what is left.
        """
        units = work.at_most(values.size_bytes)
        if units > _SMALL:
            units = work.units(values.sizes)
        self._left -= units + _PER_RUN
        if self._left < 0:
            message = f"validation failed due to running out of cost budget, no further validation rules will be run; at rule: {shown}"
            raise OverBudgetError(complaints.shaped(where, kind, message))


def static_excess(work: Work, sizes: Sizes, cardinality: int) -> float:
    """Return by what factor a rule is over the limit for definitions, 0 for one that is not."""
    factor = work.units(sizes) * cardinality / STATIC_LIMIT
    return factor if factor > _LENIENCE else 0.0


def _estimate(tree: trees.Tree, sizes: Sizes, names: Mapping[str, Extent], depth: int) -> tuple[int, Extent]:
    if depth > _MAX_DEPTH * 10:
        return STATIC_LIMIT * _LENIENCE, sizes.largest
    deeper = depth + 1
    match tree:
        case trees.Constant(size):
            return 1, Extent(0, size, 1 + size // _TEXT_PER_UNIT)
        case trees.Name(name):
            return 1, names.get(name, sizes.largest)
        case trees.Select(operand, name, test):
            return _estimate(operand, sizes, names, deeper)[0] + 1, Extent() if test else sizes.of(name)
        case trees.Literal(parts):
            found = [_estimate(part, sizes, names, deeper) for part in parts]
            extent = Extent(len(parts), 0, 1 + sum(part.weight for _, part in found))
            return 1 + sum(work for work, _ in found), extent
        case trees.Call(function, arguments):
            found = [_estimate(argument, sizes, names, deeper) for argument in arguments]
            work, extent = _call(function, [part for _, part in found], sizes)
            return work + sum(spent for spent, _ in found), extent
        case trees.Loop():
            return _loop(tree, sizes, names, deeper)


def _call(function: str, parts: list[Extent], sizes: Sizes) -> tuple[int, Extent]:
    texts = sum(part.text for part in parts)
    if not sizes.real and (function == "size" or function in _CONVERSIONS):
        return 1, Extent(0, texts, 1 + texts // _TEXT_PER_UNIT)
    if not sizes.real and function in {"startsWith", "endsWith"}:
        return 1 + parts[-1].weight, Extent()
    match function:
        case "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_":
            return 1 + min(part.weight for part in parts), Extent()
        case "@in":
            return 1 + parts[-1].weight, Extent()
        case "_[_]" | "_[?_]" | "_?._" | "optFlatMap" | "value" | "orValue" | "or":
            item = parts[0].item
            return 1, sizes.of(item) if item and function != "_?._" else sizes.largest
        case "_?_:_" | "_||_" | "_&&_" | "@not_strictly_false":
            result = Extent()
            for part in parts:
                result.widen(part)
            return 1, result
        case "_+_":
            total = sum(part.length for part in parts)
            return 1 + total + texts // _TEXT_PER_UNIT, Extent(total, texts, sum(part.weight for part in parts), parts[0].item)
        case "size" | "!_" | "-_":
            return 1 + texts // _TEXT_PER_UNIT, Extent()
        case "replace" if len(parts) >= 3:
            grown = parts[0].text * max(1, parts[2].text)
            return 2 + (texts + grown) // _TEXT_PER_UNIT, Extent(0, grown, 1 + grown // _TEXT_PER_UNIT)
        case "join" | "format" | "split" | "matches" | "contains" | "startsWith" | "endsWith":
            weight = sum(part.weight for part in parts)
            grown = weight * _TEXT_PER_UNIT + sum(part.length for part in parts) * parts[-1].text
            return 2 + 2 * grown // _TEXT_PER_UNIT, Extent(parts[0].text, grown, 1 + grown // _TEXT_PER_UNIT)
        case _:
            weight = sum(part.weight for part in parts)
            return _OWN_FUNCTION + 4 * weight, Extent(max(part.text for part in parts) if parts else 0, texts, weight)


def _loop(loop: trees.Loop, sizes: Sizes, names: Mapping[str, Extent], depth: int) -> tuple[int, Extent]:
    spent, over = _estimate(loop.over, sizes, names, depth)
    begun, start = _estimate(loop.start, sizes, names, depth)
    turns = over.length
    if sizes.real:
        turns = min(turns, _MAX_ITERATIONS)
    inner = {**names, loop.variable: sizes.of(over.item) if over.item else over, loop.accumulator: start}
    per_turn, step = _estimate(loop.step, sizes, inner, depth)
    per_turn += _estimate(loop.condition, sizes, inner, depth)[0]
    gathers = isinstance(loop.start, trees.Literal)
    gathered = Extent(turns, 0, turns * step.weight, over.item) if gathers else start
    copying = turns * turns if gathers and sizes.real else 0
    ended, result = _estimate(loop.result, sizes, {**names, loop.accumulator: gathered}, depth)
    return spent + begun + turns * (per_turn + 1) + copying + ended, result
