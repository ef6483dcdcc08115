"""Waiting with something to see: Workloads until they run, objects until they are gone. Polls, so that a server's restart costs nothing."""

from __future__ import annotations

import click

from lattice.api import errors, meta, names, pod, workload
from lattice.client.client import Client
from lattice.machinery.clock import Clock, SystemClock

_POLL_S = 0.3


async def wait_running(client: Client, name: str, namespace: str, timeout_s: float, clock: Clock | None = None) -> None:
    """Wait until a Workload's present generation is Running, printing each new state.

    Raises:
        errors.LatticeError: it failed, was deleted, or the time is up; the message says what it was waiting for.
    """
    clock = clock or SystemClock()
    deadline_s = clock.monotonic() + timeout_s
    last = ""
    while True:
        try:
            found = await client.get(workload.Workload, name, namespace)
            state = state_of(found)
        except errors.UnavailableError as error:
            found, state = None, str(error)
        if state != last:
            click.echo(f"workload/{name}: {state}")
            last = state
        if found is not None and found.status.observed_generation == found.metadata.generation:
            if found.status.phase in ("Running", "Stopped"):
                return
            if found.status.phase == "Failed":
                raise errors.LatticeError(f"workload {name!r} failed: {state}")
        if clock.monotonic() >= deadline_s:
            raise errors.LatticeError(
                f"workload {name!r} does not run after {timeout_s:g} s: {state}; see `lattice describe workload {name}`"
            )
        await clock.sleep(_POLL_S)


def state_of(found: workload.Workload) -> str:
    """Return phase, ready count and what it waits for."""
    text = f"{found.status.phase or 'Pending'} {found.status.ready_replicas}/{found.spec.replicas} ready"
    reasons = [c.message for c in found.status.conditions if c.message and (c.type == "Stalled") == (c.status == "True")]
    return f"{text}: {reasons[0]}" if reasons and found.status.phase != "Running" else text


async def wait_gone(
    client: Client, kind: type[meta.Object], name: str, namespace: str | None, uid: str, timeout_s: float, clock: Clock | None = None
) -> None:
    """Wait until the object of this uid is gone.

    Raises:
        errors.LatticeError: the time is up.
    """
    clock = clock or SystemClock()
    deadline_s = clock.monotonic() + timeout_s
    while True:
        try:
            if (await client.get(kind, name, namespace)).uid != uid:
                return
        except errors.NotFoundError:
            return
        except errors.UnavailableError:
            pass  # it restarts: look again
        if clock.monotonic() >= deadline_s:
            raise errors.LatticeError(
                f"{kind.KIND} {name!r} is there after {timeout_s:g} s; `lattice describe {kind.KIND.lower()} {name}` says what holds it"
            )
        await clock.sleep(_POLL_S)


async def wait_pods_gone(client: Client, name: str, namespace: str, timeout_s: float, clock: Clock | None = None) -> None:
    """Wait until a deleted Workload's Pods are gone: only then are its containers and ports.

    Raises:
        errors.LatticeError: the time is up.
    """
    clock = clock or SystemClock()
    deadline_s = clock.monotonic() + timeout_s
    left: tuple[pod.Pod, ...] = ()
    while True:
        try:
            left = (await client.list(pod.Pod, namespace, label_selector=f"{names.LABEL_WORKLOAD}={name}")).items
            if not left:
                return
        except errors.UnavailableError:
            pass  # it restarts: look again
        if clock.monotonic() >= deadline_s:
            nodes = ", ".join(sorted({each.spec.node_name or "no node" for each in left}))
            raise errors.LatticeError(f"Pods of {name!r} are left after {timeout_s:g} s on {nodes}; see `lattice get nodes`")
        await clock.sleep(_POLL_S)
