"""Names of what a Workload owns: a function of the Workload's name, the template's hash, the ordinal and the attempt.

Deterministic, so that a reconciler that was cut off half-way finds again what it made. A Pod's name is also its hostname, a DNS label of
at most 63 characters; a long Workload name is cut, and a hash of the whole keeps two long names apart.
"""

from __future__ import annotations

import hashlib

HASH_LENGTH = 8
MAX_BASE = 42
"""63 less ``-<8 hash>-<4 ordinal>-<6 attempt>``, the longest ending of a Pod's name."""


def base(workload: str) -> str:
    """Return the Workload's name, cut to ``MAX_BASE`` characters if it is longer, and without dots."""
    plain = workload.replace(".", "-")
    if plain == workload and len(workload) <= MAX_BASE:
        return workload
    digest = hashlib.sha256(workload.encode()).hexdigest()[:HASH_LENGTH]
    return f"{plain[: MAX_BASE - HASH_LENGTH - 1].rstrip('-')}-{digest}"


def label_value(workload: str) -> str:
    """Return the value of the label ``lattice.dev/workload``: the name itself where it fits into 63 characters."""
    return workload if len(workload) <= 63 else base(workload)


def pod(workload: str, template_hash: str, ordinal: int, attempt: int) -> str:
    """Return a Pod's name."""
    return f"{base(workload)}-{template_hash}-{ordinal}-{attempt}"


def claim(workload: str, ordinal: int) -> str:
    """Return the name of a replica's claim. It does not depend on the template: the data stays when the template changes."""
    return f"{base(workload)}-data-{ordinal}"


def credentials(workload: str) -> str:
    """Return the name of the Secret with the generated credentials."""
    return f"{base(workload)}-credentials"
