"""Runs the probes of one container. Called by the worker of its Pod, as a task that lives as long as the container runs.

An engine that is away is no result: the check is repeated, and changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lattice.api import pod
from lattice.machinery.clock import Clock
from nodeagent.probes import plan
from nodeagent.probes.checks import Checker, Target
from nodeagent.runtime import base

Kind = Literal["Startup", "Readiness", "Liveness"]


@dataclass(slots=True)
class Health:
    """What probes and hooks of one container say. Written by its task, read by its worker."""

    started: bool = False
    ready: bool = False
    unhealthy: str = ""
    """Why it has to be restarted."""
    grace_s: float | None = None
    """Grace period for that, where the probe has its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """A container that is probed."""

    target: Target
    spec: pod.Container
    health: Health
    changed: Callable[[], None]
    """Called after every change of ``health``."""
    failed: Callable[[Kind, str], None]
    """Called with each failed check that counts."""


class Prober:
    """Probes containers. One for the agent."""

    def __init__(self, runtime: base.Runtime, clock: Clock) -> None:
        self._clock = clock
        self.checker = Checker(runtime, clock)

    async def close(self) -> None:
        """Release connections."""
        await self.checker.close()

    def initial(self, spec: pod.Container) -> Health:
        """Return the health before any check: without a probe, a running container is started and ready."""
        return Health(started=spec.startup_probe is None, ready=spec.startup_probe is None and spec.readiness_probe is None)

    async def run(self, patient: Patient) -> None:
        """Check until cancelled."""
        spec, health = patient.spec, patient.health
        if spec.startup_probe is not None:
            await self._start_up(patient, spec.startup_probe)
        health.started = True
        health.ready = health.ready or spec.readiness_probe is None
        patient.changed()
        async with asyncio.TaskGroup() as group:
            if spec.readiness_probe is not None:
                group.create_task(self._readiness(patient, spec.readiness_probe))
            if spec.liveness_probe is not None:
                group.create_task(self._liveness(patient, spec.liveness_probe))

    async def _start_up(self, patient: Patient, probe: pod.Probe) -> None:
        def judge(state: plan.ProbeState) -> bool:
            if state.healthy is False:
                _condemn(patient, probe, f"failed startup probe: {state.message}")
            return state.healthy is True

        await self._repeat(patient, "Startup", probe, judge, eager=True)

    async def _readiness(self, patient: Patient, probe: pod.Probe) -> None:
        def judge(state: plan.ProbeState) -> bool:
            if state.healthy is not None and patient.health.ready != state.healthy:
                patient.health.ready = state.healthy
                patient.changed()
            return False

        await self._repeat(patient, "Readiness", probe, judge, eager=True)

    async def _liveness(self, patient: Patient, probe: pod.Probe) -> None:
        def judge(state: plan.ProbeState) -> bool:
            if state.healthy is False:
                _condemn(patient, probe, f"failed liveness probe: {state.message}")
            return False

        await self._repeat(patient, "Liveness", probe, judge, eager=False)

    async def _repeat(
        self, patient: Patient, kind: Kind, probe: pod.Probe, judge: Callable[[plan.ProbeState], bool], *, eager: bool
    ) -> None:
        """Check again and again, until ``judge`` says that it is enough."""
        state = plan.ProbeState()
        await self._clock.sleep(probe.initial_delay_seconds)
        begun_s = self._clock.monotonic()
        last_failure_s: float | None = None
        while True:
            outcome = await self.checker.probe(patient.target, probe)
            elapsed_s = self._clock.monotonic() - begun_s
            if outcome.success:
                state, last_failure_s = plan.record(state, probe, success=True), None
            elif outcome.success is False and plan.counts_failure(probe, elapsed_s=elapsed_s, last_failure_s=last_failure_s):
                state, last_failure_s = plan.record(state, probe, success=False, message=outcome.message), elapsed_s
                patient.failed(kind, outcome.message)
            if judge(state):
                return
            await self._clock.sleep(plan.next_check_s(probe, state, elapsed_s=elapsed_s, eager=eager))


def _condemn(patient: Patient, probe: pod.Probe, why: str) -> None:
    if patient.health.unhealthy:
        return
    patient.health.unhealthy, patient.health.grace_s = why, probe.termination_grace_period_seconds
    patient.changed()
