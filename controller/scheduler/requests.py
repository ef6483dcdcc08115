"""What a Pod takes from its node: kube-scheduler's sum over its containers.

Sidecars are added to what runs beside them. An ordinary init container runs before the others, but beside the sidecars that stand before it
in the list; so the Pod needs the larger of two amounts: all containers with all sidecars, or the most demanding moment of its start.
Source: k8s.io/component-helpers ``resource.PodRequests``. Pure; amounts are as in ``model.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from lattice.api import quantity

Document: TypeAlias = Mapping[str, Any]
Amounts: TypeAlias = tuple[tuple[str, int], ...]
"""Resource name to amount, sorted by name."""


def amounts(resources: Mapping[str, Any]) -> Amounts:
    """Return a resource list as integers: millicores for ``cpu``, whole units for all else."""
    return tuple(sorted((name, _amount(name, text)) for name, text in resources.items()))


def add_amounts(total: dict[str, int], more: Amounts, sign: int = 1) -> None:
    """Add ``more`` to ``total`` in place, or take it away with ``sign=-1``."""
    for name, amount in more:
        total[name] = total.get(name, 0) + sign * amount


def pod_requests(spec: Document) -> Amounts:
    """Return what a Pod takes, without what is zero. Ephemeral containers take nothing."""
    running: dict[str, int] = {}
    for container in spec.get("containers") or ():
        add_amounts(running, _container_requests(container))
    sidecars: dict[str, int] = {}
    starting: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        own = _container_requests(container)
        if container.get("restartPolicy") == "Always":
            add_amounts(running, own)
            add_amounts(sidecars, own)
            moment = dict(sidecars)
        else:
            moment = dict(sidecars)
            add_amounts(moment, own)
        _raise_to(starting, moment.items())
    _raise_to(running, starting.items())
    return tuple(sorted((name, amount) for name, amount in running.items() if amount))


def _container_requests(container: Document) -> Amounts:
    """Return the requests of a container; a limit without a request counts as one."""
    resources = container.get("resources") or {}
    return amounts({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def _raise_to(total: dict[str, int], least: Iterable[tuple[str, int]]) -> None:
    for name, amount in least:
        total[name] = max(total.get(name, 0), amount)


def _amount(name: str, text: Any) -> int:
    try:
        return quantity.to_millis(str(text)) if name == "cpu" else quantity.to_units(str(text))
    except ValueError:
        return 0
