"""Rules of requests and limits. Source: ``ValidateContainerResourceRequirements``."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

from controller.apiserver import shaping
from lattice.api import quantity, validation
from lattice.api.errors import Cause

Object = Mapping[str, Any]
_STANDARD: Final = frozenset({"cpu", "memory", "ephemeral-storage"})


def is_extended(name: str) -> bool:
    """Return whether a resource is somebody's own: counted in whole units, and never given out twice."""
    return "/" in name and not name.rpartition("/")[0].endswith("kubernetes.io")


def check_resources(resources: Object, where: str) -> list[Cause]:
    """Check what a container reserves and may use: known names, amounts, no request above its limit."""
    causes: list[Cause] = []
    amounts: dict[tuple[str, str], Fraction] = {}
    for part in ("limits", "requests"):
        for name, text in (resources.get(part) or {}).items():
            field = f"{where}.{part}[{name}]"
            if problems := _check_name(name, f"{where}.{part}"):
                causes += problems
            try:
                amount = quantity.parse_quantity(str(text))
            except ValueError as error:
                causes.append(shaping.invalid(field, text, str(error)))
                continue
            if amount < 0:
                causes.append(shaping.invalid(field, text, "must be greater than or equal to 0"))
            elif is_extended(name) and amount.denominator != 1:
                causes.append(shaping.invalid(field, text, "must be an integer"))
            amounts[part, name] = amount
    for (part, name), amount in amounts.items():
        if part == "requests":
            causes += _check_request(resources, where, name, amount, amounts.get(("limits", name)))
    return causes


def _check_request(resources: Object, where: str, name: str, amount: Fraction, limit: Fraction | None) -> list[Cause]:
    exact = is_extended(name)
    if limit is None:
        return [shaping.required(f"{where}.limits", "Limit must be set for non overcommitable resources")] if exact else []
    text, bound = resources["requests"][name], resources["limits"][name]
    if exact and amount != limit:
        return [shaping.invalid(f"{where}.requests", text, f"must be equal to {name} limit of {bound}")]
    if amount > limit:
        return [shaping.invalid(f"{where}.requests", text, f"must be less than or equal to {name} limit of {bound}")]
    return []


def _check_name(name: str, where: str) -> list[Cause]:
    if problem := validation.check_qualified_name(name):
        return [shaping.invalid(where, name, problem)]
    if "/" in name or name in _STANDARD or name.startswith("hugepages-"):
        return []
    return [
        shaping.invalid(where, name, "must be a standard resource type or fully qualified"),
        shaping.invalid(where, name, "must be a standard resource for containers"),
    ]
