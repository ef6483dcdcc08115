"""The one door to CEL: compile an expression, evaluate it over JSON values. Behind it stands cel-cpp (``cel-expr-python``).

Expressions see ``self`` and ``oldSelf``. The functions of Kubernetes that cel-cpp lacks come from ``celfunctions.py``. An evaluation has no
side effects and stops after 10,000 loop iterations, cel-cpp's own limit; how much work those may be is bounded in ``cost.py``.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from controller.apiserver.structural import celfunctions
from controller.apiserver.structural.celfunctions import Kind

_OLD_ITEMS: Final = "kubernetes_old_self"
_OPTIONAL_OLD: Final = f"cel.bind(oldSelf, {_OLD_ITEMS}.size() == 0 ? optional.none() : optional.of({_OLD_ITEMS}[0]),\n%s\n)"
_LITERAL: Final = re.compile(r"'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|//[^\n]*", re.DOTALL)
_TEXTS: Final = (
    (re.compile(r'^NOT_FOUND: Key not found in map : "?(.*?)"?$', re.DOTALL), r"no such key: \1"),
    (re.compile(r"^\w+: Index error: index=(-?\d+) size=\d+$"), r"index out of bounds: \1"),
    (re.compile(r"^\w+: divide by zero$"), "division by zero"),
    (re.compile(r"^\w+: modulus by zero$"), "modulus by zero"),
    (re.compile(r"^\w+: integer overflow$"), "integer overflow"),
    (re.compile(r"^\w+: No matching overloads found : .*$", re.DOTALL), "no such overload"),
    (re.compile(r"^INTERNAL: Iteration budget exceeded$"), "operation cancelled: actual cost limit exceeded"),
    (re.compile(r"^[A-Z_]+: (.*)$", re.DOTALL), r"\1"),
)
"""cel-cpp's sentences and those of cel-go, which Kubernetes shows."""


class CompileError(ValueError):
    """The expression is not one: syntax, an unknown name, types that do not go together."""


class EvaluationError(Exception):
    """The expression could not be evaluated over these values."""


class Scope:
    """The values that expressions at one place see, converted once for all of them."""

    __slots__ = ("activation",)

    def __init__(self, value: Any, old: Any = None, *, has_old: bool = False) -> None:
        self.activation = _environment("any").Activation({"self": value, "oldSelf": old, _OLD_ITEMS: [old] if has_old else []})


class Expression:
    """A compiled expression.

    Args:
        text: the source.
        kind: static type of ``self`` and ``oldSelf``.
        optional_old: ``oldSelf`` is an optional value, empty where there is no old one.

    Raises:
        CompileError: with the compiler's sentences.
    """

    __slots__ = ("_compiled", "result", "text", "uses_old")

    def __init__(self, text: str, *, kind: Kind = "any", optional_old: bool = False) -> None:
        self.text = text
        self.uses_old = re.search(r"\boldSelf\b", _LITERAL.sub("''", text)) is not None
        compiled = _compile(text, "any" if optional_old else kind)
        if optional_old and self.uses_old:
            compiled = _compile(_OPTIONAL_OLD % text, "any")
        self._compiled = compiled
        self.result = compiled.return_type().name()

    def serialise(self) -> bytes:
        """Return the checked expression as ``trees.parse`` reads it."""
        return bytes(self._compiled.serialize())

    def evaluate(self, scope: Scope) -> Any:
        """Return the value of the expression; only booleans and strings are of use here, anything else comes back as ``None``.

        Raises:
            EvaluationError: with the sentence that cel-go has for it.
        """
        try:
            result = self._compiled.eval(scope.activation)
            kind = result.type().name()
            if kind == "ERROR":
                raise EvaluationError(_readable(str(result.value())))
            return result.value() if kind in {"BOOL", "STRING"} else None
        except RuntimeError as error:
            raise EvaluationError(_readable(str(error))) from error


def _compile(text: str, kind: Kind) -> Any:
    environment = _environment(kind)
    try:
        return environment.compile(text)
    except (RuntimeError, ValueError, UnicodeError) as error:
        found = re.sub(r" \[[A-Z_]+\]$|^[A-Z_]+: ", "", str(error)).replace(" (in container '')", "")
        raise CompileError(f"compilation failed: {found}") from error


def _readable(text: str) -> str:
    text = re.sub(r" \[[A-Z_]+\]$", "", text)
    for pattern, replacement in _TEXTS:
        if pattern.match(text):
            return pattern.sub(replacement, text)
    return text


@cache
def _environment(kind: Kind) -> Any:
    # Imported at the first rule: the library takes 20 MB, and many servers have no rule to run.
    from cel_expr_python import cel
    from cel_expr_python.ext import ext_bindings, ext_math, ext_optional, ext_strings

    types = {
        "any": cel.Type.DYN,
        "bool": cel.Type.BOOL,
        "int": cel.Type.INT,
        "double": cel.Type.DOUBLE,
        "string": cel.Type.STRING,
        "list": cel.Type.List(cel.Type.DYN),
        "map": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
    }
    declared: dict[str, list[Any]] = {}
    for function in celfunctions.FUNCTIONS:
        parameters = [types[parameter] for parameter in function.parameters]
        overload = cel.Overload(function.overload, types[function.result], parameters, function.member, function.call)
        declared.setdefault(function.name, []).append(overload)
    return cel.NewEnv(
        variables={"self": types[kind], "oldSelf": types[kind], _OLD_ITEMS: types["list"]},
        extensions=[ext_strings.ExtStrings(), ext_optional.ExtOptional(), ext_math.ExtMath(), ext_bindings.ExtBindings()],
        functions=[cel.FunctionDecl(name, overloads) for name, overloads in declared.items()],
    )
