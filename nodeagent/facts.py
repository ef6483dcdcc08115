"""What parts of the agent say of the node: conditions without their times. Pure; ``nodestatus.py`` makes conditions of them."""

from __future__ import annotations

from dataclasses import dataclass

from lattice.api import meta


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A condition without its times: what a part of the agent says of the node now. The message must not change with every look."""

    type: str
    status: meta.ConditionStatus
    reason: str
    message: str
