"""Selectors that stand inside objects: of labels and of nodes. The text of a request's selectors is ``lattice.api.selectortext``.

Source: ``metav1.LabelSelector`` and ``core/v1.NodeSelectorTerm``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import ConfigDict

from lattice.api import meta
from lattice.api.selectortext import parse_int64

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
            number, bound = parse_int64(value or ""), parse_int64("".join(requirement.values[:1]))
            if number is None or bound is None:
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
