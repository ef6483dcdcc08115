"""What is wrong with an object, place by place, in the words of kube-apiserver. The slow path: only objects that failed the fast check.

Follows kube-openapi's validator in what it reports and what it leaves out: all types and values are checked independently of each
other, of a text only the first broken limit is named, of failed alternatives the one that came closest. On updates, complaints about
a value that is as it was before are dropped (ratcheting).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from controller.apiserver.structural import formats, gotext, patterns
from controller.apiserver.structural.complaints import Complainer, shown
from controller.apiserver.structural.correlation import Old, same
from controller.apiserver.structural.fast import FastCheck
from lattice.api.errors import Cause

Schema = Mapping[str, Any]
MAX_PLACES: Final = 20_000
"""Places that one run looks at, about 0.2 s."""
MAX_CAUSES: Final = 500
"""Causes in one answer; nobody reads more, and millions would take the memory of the server."""
_SLICE: Final = 256
_RANGES: Final = {"int32": (-(2**31), 2**31 - 1), "uint32": (0, 2**32 - 1), "uint64": (0, 2**64 - 1)}
_MAX_FLOAT32: Final = 3.4028235677973366e38


class Result:
    """Complaints about one place, and how many checks it passed (which decides between failed alternatives)."""

    __slots__ = ("causes", "passed")

    def __init__(self, causes: list[Cause] | None = None, passed: int = 0) -> None:
        self.causes = causes or []
        self.passed = passed

    def merge(self, other: Result) -> None:
        """Take over what ``other`` found."""
        self.causes += other.causes
        self.passed += other.passed


class Checker:
    """One run over one body.

    A large list or map is first sifted with the fast check, in slices, so that one bad item among a million costs no more than its
    slice; after :data:`MAX_PLACES` places the run ends with what it has found.

    Args:
        complainer: makes the causes.
        sieves: compiled checks by the identity of the schema, kept by the caller from run to run.
    """

    def __init__(self, complainer: Complainer, sieves: dict[int, FastCheck] | None = None) -> None:
        self._say = complainer
        self._sieves = sieves if sieves is not None else {}
        self._places = 0

    def explain(self, schema: Schema, value: Any, old: Old | None) -> list[Cause]:
        """Return what is wrong with a whole body, each cause once. Never nothing for a run that had to end early."""
        causes = list(dict.fromkeys(self.check(schema, value, "", old).causes))
        if not causes and self._places > MAX_PLACES:
            return [self._say.loose("the object does not fit its schema, and is too large to say where")]
        return causes[:MAX_CAUSES]

    def _sift(self, schema: Schema, size: int, part: Callable[[int, int], Any]) -> Iterator[int]:
        """Yield the places of a list or map that may be wrong."""
        if size <= _SLICE:
            yield from range(size)
            return
        sieve = self._sieves.get(id(schema))
        if sieve is None:
            sieve = self._sieves[id(schema)] = FastCheck({"type": "array", "items": schema})
        for start in range(0, size, _SLICE):
            if self._places > MAX_PLACES:
                return
            if not sieve.is_valid(part(start, start + _SLICE)):
                yield from range(start, min(start + _SLICE, size))

    def check(self, schema: Schema, value: Any, where: str, old: Old | None) -> Result:
        """Return what is wrong with ``value`` at ``where``."""
        result = Result()
        self._places += 1
        if self._places > MAX_PLACES:
            return result
        if value is None:
            result.merge(self._type(schema, value, where))
            result.merge(self._enum(schema, value, where))
            return result
        for applies, part in self._parts(value):
            if applies:
                result.merge(part(schema, value, where))
                result.passed += 1
        if isinstance(value, list):
            result.merge(self._list(schema, value, where, old))
            result.passed += 1
        result.merge(self._enum(schema, value, where))
        result.passed += 1
        if isinstance(value, dict):
            result.merge(self._map(schema, value, where, old))
            result.passed += 1
        result.passed += 1
        if result.causes and old is not None and same(old.value, value):
            return Result(passed=result.passed)
        return result

    def _parts(self, value: Any) -> tuple[tuple[bool, Callable[[Schema, Any, str], Result]], ...]:
        is_text = isinstance(value, str)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return (
            (True, self._type),
            (True, self._combinations),
            (is_text, self._text),
            (is_text, self._format),
            (is_number, self._number),
        )

    def _type(self, schema: Schema, value: Any, where: str) -> Result:
        kinds = type_names(schema)
        form = schema.get("format") or ""
        if not kinds and not form:
            return Result()
        found = gotext.json_type(value)
        if value is None:
            wrong = bool(kinds) and not schema.get("nullable")
            return Result([self._say.wrong_type(where, ",".join(kinds), "null")] if wrong else None, 1 - wrong)
        whole = found == "number" and float(value).is_integer() and "integer" in kinds
        fits = found in kinds or whole or (found == "integer" and "number" in kinds)
        numeric = "integer" in kinds or "number" in kinds
        if form and found not in {"string", "array"} and not fits:
            shape = {"integer": "int64", "number": "float64"}.get(found, "")
            return Result(None, 1) if shape == form else Result([self._say.wrong_type(where, form, shape)])
        if form and not numeric and found in {"string", "array"}:
            wrong = found == "array" and "array" not in kinds and bool(kinds)
            return Result([self._say.wrong_type(where, ",".join(kinds), found)]) if wrong else Result(None, 1)
        if kinds and not fits:
            return Result([self._say.wrong_type(where, ",".join(kinds), found)])
        return Result(None, 1)

    def _combinations(self, schema: Schema, value: Any, where: str) -> Result:
        result = Result()
        if schema.get("anyOf"):
            self._any_of(schema["anyOf"], value, where, result)
        if schema.get("oneOf"):
            self._one_of(schema["oneOf"], value, where, result)
        if schema.get("allOf"):
            self._all_of(schema["allOf"], value, where, result)
        if schema.get("not") is not None and not self.check(schema["not"], value, where, None).causes:
            result.causes.append(self._say.loose(f'"{where}" must not validate the schema (not)'))
        result.passed += 1
        return result

    def _any_of(self, options: list[Schema], value: Any, where: str, result: Result) -> None:
        best: Result | None = None
        for option in options:
            found = self.check(option, value, where, None)
            if not found.causes:
                result.merge(found)
                return
            if best is None or found.passed > best.passed:
                best = found
        result.causes.append(self._say.loose(f'"{where}" must validate at least one schema (anyOf)'))
        if best is not None:
            result.merge(best)

    def _one_of(self, options: list[Schema], value: Any, where: str, result: Result) -> None:
        best: Result | None = None
        matched: list[Result] = []
        for option in options:
            found = self.check(option, value, where, None)
            if not found.causes:
                matched.append(found)
            elif not matched and (best is None or found.passed > best.passed):
                best = found
        if len(matched) == 1:
            result.merge(matched[0])
            return
        detail = f"Found {len(matched)} valid alternatives" if matched else "Found none valid"
        result.causes.append(self._say.loose(f'"{where}" must validate one and only one schema (oneOf). {detail}'))
        if best is not None and not matched:
            result.merge(best)

    def _all_of(self, options: list[Schema], value: Any, where: str, result: Result) -> None:
        found = [self.check(option, value, where, None) for option in options]
        for each in found:
            result.merge(each)
        valid = sum(not each.causes for each in found)
        if valid < len(found):
            detail = "" if valid else ". None validated"
            result.causes.append(self._say.loose(f'"{where}" must validate all the schemas (allOf){detail}'))

    def _text(self, schema: Schema, value: str, where: str) -> Result:
        say = self._say
        if (limit := schema.get("maxLength")) is not None and len(value) > limit:
            return Result([say.too_long(where, limit)])
        if (limit := schema.get("minLength")) is not None and len(value) < limit:
            return Result([say.invalid(where, value, f"should be at least {limit} chars long")])
        if (pattern := schema.get("pattern")) and not patterns.searcher(pattern)(value):
            return Result([say.invalid(where, value, f"should match '{pattern}'")])
        return Result()

    def _format(self, schema: Schema, value: str, where: str) -> Result:
        form = schema.get("format") or ""
        if form in formats.CHECKS and not ({"integer", "number"} & set(type_names(schema))) and not formats.CHECKS[form](value):
            return Result([self._say.wrong_type(where, form, value)])
        return Result()

    def _number(self, schema: Schema, value: float, where: str) -> Result:
        result = Result(passed=1)
        kind = next(iter(type_names(schema)), "")
        form = schema.get("format") or ""
        if form and not _in_range(value, kind, form):
            result.causes.append(self._say.loose(f"Checked value must be of type {kind or 'number'} with format {form} in {where}"))
        if (factor := schema.get("multipleOf")) and factor > 0 and not _is_multiple(value, factor):
            result.causes.append(self._say.invalid(where, value, f"should be a multiple of {gotext.number(factor)}"))
        if (limit := schema.get("minimum")) is not None:
            if schema.get("exclusiveMinimum") is True and value <= limit:
                result.causes.append(self._say.invalid(where, value, f"should be greater than {gotext.number(limit)}"))
            elif value < limit:
                result.causes.append(self._say.invalid(where, value, f"should be greater than or equal to {gotext.number(limit)}"))
        if (limit := schema.get("maximum")) is not None:
            if schema.get("exclusiveMaximum") is True and value >= limit:
                result.causes.append(self._say.invalid(where, value, f"should be less than {gotext.number(limit)}"))
            elif value > limit:
                result.causes.append(self._say.invalid(where, value, f"should be less than or equal to {gotext.number(limit)}"))
        return result

    def _enum(self, schema: Schema, value: Any, where: str) -> Result:
        options = schema.get("enum")
        if not options or any(_equals(value, option) for option in options):
            return Result()
        return Result([self._say.unsupported(where, value, options)])

    def _list(self, schema: Schema, value: list[Any], where: str, old: Old | None) -> Result:
        result = Result(passed=1)
        items = schema.get("items")
        if isinstance(items, Mapping):
            before = old.items(schema) if old is not None else None
            for index in self._sift(items, len(value), lambda start, end: value[start:end]):
                item = value[index]
                result.merge(self.check(items, item, f"{where}[{index}]", before.of(item) if before is not None else None))
        if (limit := schema.get("minItems")) is not None and len(value) < limit:
            result.causes.append(self._say.invalid(where, len(value), f"should have at least {limit} items"))
        if (limit := schema.get("maxItems")) is not None and len(value) > limit:
            result.causes.append(self._say.too_many(where, len(value), limit))
        if schema.get("uniqueItems") and any(_equals(item, other) for index, item in enumerate(value) for other in value[:index]):
            result.causes.append(self._say.invalid(where, "", "shouldn't contain duplicates"))
        return result

    def _map(self, schema: Schema, value: dict[str, Any], where: str, old: Old | None) -> Result:
        if (limit := schema.get("minProperties")) is not None and len(value) < limit:
            return Result([self._say.invalid(where, len(value), f"should have at least {limit} properties")])
        if (limit := schema.get("maxProperties")) is not None and len(value) > limit:
            return Result([self._say.too_many(where, len(value), limit)])
        result = Result()
        properties = schema.get("properties") or {}
        more = schema.get("additionalProperties")
        others = [name for name in value if name not in properties] if more is False or isinstance(more, Mapping) else []
        suspects: Iterable[int] = range(len(others))
        if isinstance(more, Mapping):
            suspects = self._sift(more, len(others), lambda start, end: [value[name] for name in others[start:end]])
        for index in suspects:
            name = others[index]
            child = value[name]
            if more is False:
                where_to = self._say.field(where) if where else "<nil>"
                text = f"Invalid value: {shown(name)}: {where}.{name} in body is a forbidden property"
                result.causes.append(Cause("FieldValueInvalid", text, where_to))
            elif isinstance(more, Mapping):
                result.merge(self.check(more, child, f"{where}.{name}".removeprefix("."), _field(old, name, where)))
        for name, node in properties.items():
            if name in value:
                result.merge(self.check(node, value[name], f"{where}.{name}" if where else name, _field(old, name, where)))
        for name in schema.get("required") or ():
            if name not in value:
                result.causes.append(self._say.required(f"{where}.{name}"))
        return result


def type_names(schema: Schema) -> tuple[str, ...]:
    """Return the JSON types that a schema allows; empty for any."""
    if schema.get("x-kubernetes-int-or-string"):
        return ("integer", "string")  # whatever type stands beside it, as in Kubernetes
    kind = schema.get("type")
    return (kind,) if kind else ()


def _field(old: Old | None, name: str, where: str) -> Old | None:
    if old is None or (not where and name in {"apiVersion", "kind"}):
        return None
    return old.field(name)


def _in_range(value: float, kind: str, form: str) -> bool:
    if kind == "integer":
        low, high = _RANGES.get(form, (gotext.MIN_INT64, gotext.MAX_INT64))
        return float(value).is_integer() and low <= value <= high if isinstance(value, float) else low <= value <= high
    return form not in {"float", "float32"} or abs(value) <= _MAX_FLOAT32


def _is_multiple(value: float, factor: float) -> bool:
    if isinstance(value, int) and isinstance(factor, int):
        return value % factor == 0
    quotient = value / factor
    return abs(quotient - round(quotient)) < 1e-9 if abs(quotient) < 2**53 else True


def _equals(left: Any, right: Any) -> bool:
    if isinstance(left, bool) is not isinstance(right, bool):
        return False
    if isinstance(left, (dict, list)):
        return same(left, right)
    return not isinstance(right, (dict, list)) and bool(left == right)
