"""What to do about a Workload: values in, values out.

Called by the shell for each reconcile. The order of actions is part of the contract: credentials and claims before the Pods that need
them, deletions after creations, the highest ordinal first. A spec that the user must change stops nothing that runs; its status says what
to do. Applied to an unchanged world, the plan is empty and the status is the one that is stored.
"""

from __future__ import annotations

from controller.reconcilers.workload import data, replicas, status, template
from controller.reconcilers.workload.model import Observed, Plan
from controller.reconcilers.workload.template import SpecProblem

LOOK_AGAIN_S = 30.0
"""Nothing tells us when a foreign object goes, or when the API server has changed its mind, so we try again."""


def make_plan(observed: Observed) -> Plan:
    """Return what to do now, and the status that says so."""
    owner, pods, now = observed.workload, tuple(sorted(observed.pods, key=lambda p: (p.name, p.uid))), observed.now
    if owner.metadata.deletion_timestamp is not None:
        return Plan(status=owner.status)  # what it owns is the garbage collector's
    problem = template.check_spec(owner.spec) or data.changed_parameters(observed)
    if problem is not None:
        return Plan(status=status.stalled_status(owner, pods, problem, now))
    if owner.spec.replicas > 0:
        taken = data.name_taken(observed)
        if taken is not None:
            message = f"there is a {taken.kind} {taken.name!r} that does not belong to this workload: rename or delete one of the two"
            problem = SpecProblem("NameTaken", message)
            return Plan(status=status.stalled_status(owner, pods, problem, now), requeue_after_s=LOOK_AGAIN_S)
        if observed.rejected:
            problem = SpecProblem("Rejected", f"the API server refused what this spec leads to: {observed.rejected}")
            return Plan(status=status.stalled_status(owner, pods, problem, now), requeue_after_s=LOOK_AGAIN_S)
        wait = data.waits_for(observed)
        if wait:
            return Plan(status=status.waiting_status(owner, pods, wait, now))
    digest = template.template_hash(owner)
    decided = replicas.plan_replicas(owner, pods, digest, now)
    # A stopped Workload needs no data, but keeps what it has.
    first = data.plan_data(observed) if owner.spec.replicas > 0 else []
    return Plan(
        actions=(*first, *decided.creates, *decided.deletes),
        status=status.pods_status(owner, pods, digest, now),
        requeue_after_s=decided.requeue_after_s,
    )
