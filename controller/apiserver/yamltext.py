"""YAML into the value that the same JSON would give, without recursion and without surprises. Used by ``bodies.py`` alone.

Read from libyaml's events rather than with PyYAML's loaders: the fast one overflows the C stack on a deeply nested text (which ends the
process), the safe one takes a second for 70 KB. Aliases are refused, for a short text must not grow without bound; so are tags of types
that JSON has not. Dates stay text. What is still slow is bounded by :data:`MAX_BYTES`: manifests come as JSON from every tool we know.
"""

from __future__ import annotations

import math
from typing import Any, Final

import yaml

MAX_BYTES: Final = 512 * 1024
"""Of a YAML text: less than a second of the server's time."""
_MAX_DEPTH: Final = 250
"""What can be encoded as JSON afterwards."""
_MAX_DUPLICATES: Final = 100
_TAG: Final = "tag:yaml.org,2002:"
_COLLECTION_TAGS: Final = frozenset({None, "!", f"{_TAG}map", f"{_TAG}seq"})
_SCALAR_TAGS: Final = {f"{_TAG}{name}" for name in ("str", "int", "float", "bool", "null", "value", "merge")}
_NUMBERS: Final = frozenset({f"{_TAG}int", f"{_TAG}float"})
_Loader: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MISSING: Final = object()


class YamlError(ValueError):
    """The text is no YAML, or has no JSON form."""


class _Scalars(yaml.constructor.SafeConstructor, yaml.resolver.Resolver):
    """Resolves and makes scalars."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own attribute, overridden
        first: [(tag, regex) for tag, regex in resolvers if tag != f"{_TAG}timestamp"]
        for first, resolvers in yaml.resolver.Resolver.yaml_implicit_resolvers.items()
    }

    def __init__(self) -> None:
        yaml.constructor.SafeConstructor.__init__(self)
        yaml.resolver.Resolver.__init__(self)

    def _resolved(self, event: Any) -> Any:
        resolve: Any = self.resolve  # PyYAML's stubs leave it untyped
        tag = resolve(yaml.ScalarNode, event.value, event.implicit)
        # Numbers to the base of 60, as 22:22, are text for Kubernetes' parser; and a long one would take seconds to make.
        return f"{_TAG}str" if tag in _NUMBERS and ":" in event.value else tag

    def value(self, event: Any) -> Any:
        """Return the value of a scalar event."""
        tag = event.tag if event.tag not in {None, "!"} else self._resolved(event)
        if tag not in _SCALAR_TAGS:
            raise YamlError(f"line {_line(event)}: the tag {tag} is not accepted")
        if tag in {f"{_TAG}str", f"{_TAG}value", f"{_TAG}merge"}:
            return event.value
        if ":" in event.value:
            raise YamlError(f"line {_line(event)}: {event.value[:64]!r} is not of the type {tag}")
        try:
            found = self.construct_object(yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark))
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            raise YamlError(f"line {_line(event)}: {event.value[:64]!r} is not of the type {tag}") from error
        finally:
            self.constructed_objects.clear()
        if isinstance(found, float) and not math.isfinite(found):
            raise YamlError(f"line {_line(event)}: JSON has no {event.value[:64]}")
        return found


class _Builder:
    """Takes in the events of one document."""

    def __init__(self) -> None:
        self.root: Any = None
        self.duplicates: list[str] = []
        self._open: list[Any] = []
        self._keys: list[Any] = []
        self._scalars = _Scalars()

    def take(self, event: Any) -> None:
        """Take in one event."""
        if isinstance(event, yaml.ScalarEvent):
            self._add(self._scalars.value(event), event)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            if event.tag not in _COLLECTION_TAGS:
                raise YamlError(f"line {_line(event)}: the tag {event.tag} is not accepted")
            if len(self._open) >= _MAX_DEPTH:
                raise YamlError(f"line {_line(event)}: exceeded max depth")
            value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
            self._add(value, event)
            self._open.append(value)
            self._keys.append(_MISSING)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._open.pop()
            self._keys.pop()
        elif isinstance(event, yaml.AliasEvent):
            raise YamlError(f"line {_line(event)}: aliases are not accepted")

    def _add(self, value: Any, event: Any) -> None:
        if not self._open:
            self.root = value
        elif isinstance(self._open[-1], list):
            self._open[-1].append(value)
        elif self._keys[-1] is _MISSING:
            self._keys[-1] = _key(value, event)
        else:
            key, mapping = self._keys[-1], self._open[-1]
            if key in mapping and len(self.duplicates) < _MAX_DUPLICATES:
                self.duplicates.append(f'line {_line(event)}: key "{key}" already set in map')
            mapping[key] = value
            self._keys[-1] = _MISSING


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _key(value: Any, event: Any) -> str:
    if isinstance(value, (dict, list)):
        raise YamlError(f"line {_line(event)}: a key must be a text")
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def _told(error: yaml.YAMLError) -> str:
    """Return an error of libyaml as Go's parser tells of it, which counts lines in its own way; without an excerpt of the text."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if not problem or mark is None:
        return type(error).__name__
    context = getattr(error, "context_mark", None)
    line = mark.line + isinstance(error, yaml.scanner.ScannerError) if mark.line else getattr(context, "line", 0)
    return f"line {line}: {problem}" if line else str(problem)


def load(text: bytes) -> tuple[Any, list[str]]:
    """Return the one document in a text, and a sentence for each key that occurs twice.

    Raises:
        YamlError: it is none.
    """
    if len(text) > MAX_BYTES:
        raise YamlError(f"a text of {len(text)} bytes is too long to be read as YAML (the limit is {MAX_BYTES}): send it as JSON")
    builder, loader, documents = _Builder(), None, 0
    try:
        loader = _Loader(text)
        while loader.check_event():
            event = loader.get_event()
            documents += isinstance(event, yaml.DocumentStartEvent)
            if documents > 1:
                raise YamlError(f"line {_line(event)}: only one document is accepted")
            builder.take(event)
    except yaml.YAMLError as error:
        raise YamlError(_told(error)) from error
    finally:
        if loader is not None:
            loader.dispose()
    return builder.root, builder.duplicates
