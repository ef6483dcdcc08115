"""The quality-of-service class of a Pod. Source: k8s.io/kubernetes ``pkg/apis/core/helper/qos``."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

from lattice.api import quantity

_COUNTED: Final = ("cpu", "memory")


def qos_class(spec: Mapping[str, Any]) -> str:
    """Return the class of a valid Pod's spec.

    ``Guaranteed``: each container has equal requests and limits of CPU and memory; ``BestEffort``: none has any; else ``Burstable``.
    """
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    guaranteed, any_set = True, False
    for container in containers:
        resources = container.get("resources") or {}
        requests, limits = _amounts(resources.get("requests")), _amounts(resources.get("limits"))
        any_set = any_set or bool(requests or limits)
        guaranteed = guaranteed and set(limits) == set(_COUNTED) and (not requests or requests == limits)
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _amounts(resources: Any) -> dict[str, Fraction]:
    found = {name: quantity.parse_quantity(str((resources or {}).get(name, "0"))) for name in _COUNTED}
    return {name: amount for name, amount in found.items() if amount > 0}
