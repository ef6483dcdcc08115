"""Label selectors, node selectors and field selectors: parse and match, as Kubernetes does.

Source: k8s.io/apimachinery ``pkg/labels`` (selector text), ``metav1.LabelSelector`` and ``core/v1.NodeSelectorTerm``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import ConfigDict

from lattice.api import meta

NodeSelectorOperator = Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]


class NodeSelectorRequirement(meta.Model):
    """One demand on a Node's labels."""

    key: str
    """Label."""
    operator: NodeSelectorOperator
    """How to compare."""
    values: meta.AtomicList[str] = ()
    """What to compare with."""


class NodeSelectorTerm(meta.Model):
    """Demands that must all hold."""

    model_config = ConfigDict(json_schema_extra=meta.ATOMIC)

    match_expressions: meta.AtomicList[NodeSelectorRequirement] = ()
    """On labels."""
    match_fields: meta.AtomicList[NodeSelectorRequirement] = ()
    """On fields; only ``metadata.name``."""

    def matches(self, labels: Mapping[str, str], name: str) -> bool:
        """Return whether a Node with these labels and this name meets all demands. An empty term matches nothing."""
        if not self.match_expressions and not self.match_fields:
            return False
        return all(_node_matches(r, labels) for r in self.match_expressions) and all(
            _node_matches(r, {"metadata.name": name}) for r in self.match_fields
        )


def _node_matches(requirement: NodeSelectorRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value is not None and value in requirement.values
        case "NotIn":
            return value is None or value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            try:
                number, bound = int(value or ""), int(requirement.values[0])
            except (ValueError, IndexError):
                return False
            return number > bound if requirement.operator == "Gt" else number < bound


class LabelSelectorRequirement(meta.Model):
    """One demand on labels."""

    key: str
    """Label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How to compare."""
    values: meta.AtomicList[str] = ()
    """What to compare with."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One part of a selector. ``operator`` is one of ``=``, ``!=``, ``in``, ``notin``, ``exists``, ``!``."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether ``labels`` meet this demand."""
        value = labels.get(self.key)
        match self.operator:
            case "=" | "in":
                return value is not None and value in self.values
            case "!=" | "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case _:
                return value is None


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """A parsed label selector; an empty one matches everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether ``labels`` meet all demands."""
        return all(requirement.matches(labels) for requirement in self.requirements)


_KEY: Final = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.\-]{0,251}[A-Za-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9._\-]{0,61}[A-Za-z0-9])?"
_VALUE: Final = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._\-]{0,61}[A-Za-z0-9])?)?"
_SET = re.compile(rf"^\s*({_KEY})\s+(in|notin)\s*\(\s*([^()]*?)\s*\)[ \t]*\Z")
_EQUAL = re.compile(rf"^\s*({_KEY})\s*(==|=|!=)\s*({_VALUE})[ \t]*\Z")
_EXISTS = re.compile(rf"^\s*(!?)\s*({_KEY})[ \t]*\Z")
_VALUE_ONLY = re.compile(rf"^{_VALUE}\Z")


def _split(text: str) -> list[str]:
    """Split at commas outside of parentheses."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        if character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    parts.append(text[start:])
    return parts


def parse_label_selector(text: str) -> LabelSelector:
    """Parse ``a=b,c!=d,e in (x,y),f,!g``.

    Raises:
        ValueError: the text is not a selector.
    """
    if not text.strip():
        return LabelSelector()
    return LabelSelector(tuple(_parse_requirement(part) for part in _split(text)))


def _parse_requirement(part: str) -> Requirement:
    if match := _EQUAL.match(part):
        return Requirement(match[1], "!=" if match[2] == "!=" else "=", frozenset({match[3]}))
    if match := _SET.match(part):
        values = frozenset(value.strip() for value in match[3].split(","))
        if all(_VALUE_ONLY.match(value) for value in values):
            return Requirement(match[1], match[2], values)
    elif match := _EXISTS.match(part):
        return Requirement(match[2], "!" if match[1] else "exists")
    raise ValueError(f"unable to parse requirement: {part.strip()!r} is not of the form key=value, key in (a,b), key or !key")


def parse_field_selector(text: str) -> tuple[Requirement, ...]:
    """Parse ``metadata.name=x,spec.nodeName!=y``.

    Raises:
        ValueError: the text is not a field selector.
    """
    requirements = []
    for part in text.split(","):
        if not part.strip():
            continue
        for operator in ("!=", "==", "="):
            key, found, value = part.partition(operator)
            if found:
                requirements.append(Requirement(key.strip(), "!=" if operator == "!=" else "=", frozenset({value.strip()})))
                break
        else:
            raise ValueError(f"invalid selector: {part.strip()!r}; can't understand {part.strip()!r}")
    return tuple(requirements)
