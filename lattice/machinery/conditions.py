"""Conditions, where shells look for them.

The functions live in :mod:`lattice.api.conditions`, because plans use them too and may not import the machinery; a second copy would
drift.
"""

from lattice.api.conditions import (
    get_condition,
    is_true,
    merge_conditions,
    remove_condition,
    same_conditions,
    set_condition,
)

__all__ = [
    "get_condition",
    "is_true",
    "merge_conditions",
    "remove_condition",
    "same_conditions",
    "set_condition",
]
