"""Which of the feasible nodes is best, a column at a time.

Called by the plan. The default spreads: free capacity first, then balanced use of cpu and memory, and above both that replicas of one
Workload do not share a machine while another is free (a provider's machine may go at any time). Ties go to the node with fewer Pods and
then by name, so the same input gives the same placement.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controller.scheduler.model import PodInfo
from controller.scheduler.snapshot import RESOURCE_PODS, Columns, group_key

_WEIGHED = ("cpu", "memory")
_SPREAD_WEIGHT = 200.0
"""More than the two others together (each 0 to 100) can give: one replica less on a node outweighs any difference in use."""


def score(pod: PodInfo, columns: Columns) -> NDArray[np.float64]:
    """Return a number for each node; higher is better."""
    requests = dict(pod.requests)
    shares = []
    for name in _WEIGHED:
        column = columns.column_of.get(name)
        if column is None:
            continue
        capacity = np.maximum(columns.allocatable[:, column], 1)
        shares.append(np.clip((columns.used[:, column] + requests.get(name, 0)) / capacity, 0.0, 1.0))
    total = np.zeros(len(columns), dtype=np.float64)
    if shares:
        stacked = np.stack(shares)
        total += 100.0 * (1.0 - stacked.mean(axis=0))
        total += 100.0 * (1.0 - stacked.std(axis=0))
    if group := group_key(pod):
        total -= _SPREAD_WEIGHT * columns.in_group(group)
    return total


def choose(pod: PodInfo, columns: Columns, feasible: NDArray[np.bool_]) -> int:
    """Return the row of the best feasible node. There must be one."""
    rows = np.flatnonzero(feasible)
    scores = np.round(score(pod, columns)[rows], 6)  # so that the last bit of a float decides nothing
    pods = columns.used[rows, columns.column_of[RESOURCE_PODS]]
    best = np.lexsort((rows, pods, -scores))[0]
    return int(rows[best])
