"""Hands the status of one Pod to the reporter after each decision. Used by the Pod's worker."""

from __future__ import annotations

from dataclasses import replace

from lattice.api import names, pod
from nodeagent.workloads import members, order, plan, restarts, spec, status
from nodeagent.workloads.actions import PAUSE, Wait
from nodeagent.workloads.containerstatus import Seen
from nodeagent.workloads.endings import PodEndings
from nodeagent.workloads.looking import Target
from nodeagent.workloads.members import Member
from nodeagent.workloads.order import Role
from nodeagent.workloads.tools import Tools
from nodeagent.workloads.vitals import Vitals


class PodReport:
    """See the module's docstring."""

    def __init__(self, uid: str, tools: Tools, vitals: Vitals, endings: PodEndings) -> None:
        self._uid = uid
        self._tools = tools
        self._vitals = vitals
        self._endings = endings

    def make(self, target: Target, view: plan.View, decision: plan.Decision) -> None:
        """Make the status and hand it in, unless the message of an end is still being read."""
        wanted, tools = target.wanted, self._tools
        if wanted is None or self._uid in tools.desired.unknown or tools.desired.frozen or not wanted.spec.containers:
            return
        if self._endings.reading:
            return
        found = tuple(
            self._seen(wanted, member, target, view, decision)
            for member in members.members_of(wanted.spec)
            if member.role is not Role.PAUSE
        )
        active = any(container.state in restarts.ACTIVE for container in view.containers)
        seen = status.Observation(
            containers=found,
            outcome=decision.outcome,
            verdict=tools.verdicts.get(self._uid),
            any_running=active,
            initialized=_initialized(view),
            ip=target.ip(view),
            host_ip=tools.node.host_ip,
            generation=wanted.metadata.generation,
        )
        made = status.make_status(wanted, tools.reporter.last(wanted), seen, now=tools.clock.now())
        ports = tools.ports.of(self._uid)
        text = spec.host_ports_text(ports) if ports else wanted.metadata.annotations.get(names.ANNOTATION_HOST_PORTS, "")
        tools.reporter.report(wanted, made, text)

    def _seen(self, wanted: pod.Pod, member: Member, target: Target, view: plan.View, decision: plan.Decision) -> Seen:
        name = member.name
        history, newest = view.memory.of(name), target.newest(view, name)
        policy = order.effective_policy(member.role, wanted.spec.restart_policy or "Always")
        health = self._vitals.of(name)
        ended = history.ended is not None and not history.pending
        end = self._endings.end_of(name, history.restarts) if ended else None
        return Seen(
            member=member,
            newest=newest,
            end=end,
            last=self._endings.before(name, history.restarts),
            restarts=max(history.restarts, 0),
            wait=self._wait(name, view, decision) or (None if ended or _initialized(view) else plan.INITIALIZING),
            over=restarts.is_over(history, policy) or target.ending or view.finished or bool(decision.outcome),
            started=bool(health and health.started),
            ready=bool(health and health.ready) and not target.ending,
        )

    @staticmethod
    def _wait(name: str, view: plan.View, decision: plan.Decision) -> Wait | None:
        wait = decision.waits.get(name)
        if wait is None and (name in view.busy or any(action.name == name for action in decision.actions)):
            wait = view.memory.of(name).waiting  # it is being tried again: until that has worked, the reason stands
        if wait is None and view.pause is not None:
            return view.memory.of(PAUSE).waiting if name not in view.boxes else None
        return replace(wait, until_s=None) if wait is not None else None


def _initialized(view: plan.View) -> bool:
    if plan.initialized(view):
        return True
    pause_runs = any(container.state in restarts.ACTIVE for container in view.boxes.get(PAUSE, ()))
    apps = [slot.name for slot in view.slots if slot.role is Role.APP]
    begun = view.memory.initialized_in is not None or any(view.memory.of(name).restarts >= 0 for name in apps)
    return not pause_runs and begun
