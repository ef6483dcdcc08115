"""What the agent keeps although nobody asks for it, or although somebody asked for its end: said on the Node, as conditions. Pure.

Both conditions are there only while they are true: a Node without them is as it should be.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from lattice.api import names
from nodeagent.facts import Fact

_SHOWN: Final = 10
"""Names in a message."""


def unknown_fact(pods: Iterable[str]) -> Fact | None:
    """Return the condition for containers of Pods that the server does not know. ``pods``: ``namespace/name`` of each."""
    found = sorted(set(pods))
    if not found:
        return None
    message = f"containers of {_count(found)} that the server does not know are kept: {_listed(found)}; see `lattice node prune`"
    return Fact(type=names.CONDITION_UNKNOWN_PODS, status="True", reason="NotInTheStore", message=message)


def held_fact(pods: Iterable[str], node: str) -> Fact | None:
    """Return the condition for removals that wait for a person. ``pods``: ``namespace/name`` of each."""
    found = sorted(set(pods))
    if not found:
        return None
    message = (
        f"the removal of {_count(found)} waits, because it is too much at once: {_listed(found)}; "
        f"`lattice node approve-removals {node}` or draining the node lets it pass"
    )
    return Fact(type=names.CONDITION_REMOVALS_HELD, status="True", reason="TooManyRemovals", message=message)


def _count(found: list[str]) -> str:
    return "1 Pod" if len(found) == 1 else f"{len(found)} Pods"


def _listed(found: list[str]) -> str:
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more
