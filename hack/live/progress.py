"""Shows how a Workload comes up, until it runs: one line per change, in the words of its own conditions."""

from __future__ import annotations

import time
from typing import Any

from kit.console import HackError, say, wait_until

from live.session import Json, Session

RUNNING_TIMEOUT_S = 180
"""The first start of a database on a busy machine takes 6 s; this also covers an image that is pulled first."""


def wait_until_running(session: Session, name: str, *, timeout_s: float = RUNNING_TIMEOUT_S) -> Json:
    """Print each step and return the Workload once its phase is Running and it has an endpoint.

    Raises:
        HackError: It failed, `lattice up` ended, or the time is over; with the last that was said of it.
    """
    started = time.monotonic()
    shown = ""
    last: Json = {}

    def step() -> bool:
        nonlocal shown, last
        if session.exit_code() is not None:
            raise HackError(f"`lattice up` ended with code {session.exit_code()}; see {session.log}")
        last = _read(session, name)
        status = last.get("status") or {}
        line = f"{status.get('phase') or 'Pending'}: {explain(status)}".removesuffix(": ")
        if line != shown:
            shown = line
            say(f"  {time.monotonic() - started:5.1f} s  {name}  {line}")
        return is_running(last)

    if not wait_until(step, timeout_s=timeout_s, every_s=0.2):
        raise HackError(f"workload {name} is not running after {timeout_s:.0f} s; last: {shown}; see {session.log}")
    return last


def is_running(workload: Json) -> bool:
    """Whether the Workload is up as its newest spec asks, and can be connected to."""
    status = workload.get("status") or {}
    current = status.get("observedGeneration") in (None, workload["metadata"].get("generation"))
    return current and status.get("phase") == "Running" and bool(status.get("endpoints"))


def explain(status: dict[str, Any]) -> str:
    """What a Workload that does not run waits for: the message of the first condition that is not as wished."""
    if status.get("phase") == "Running":
        return ""
    for condition in status.get("conditions") or []:
        if condition.get("message") and condition.get("status") != "True":
            return str(condition["message"])
    return ""


def _read(session: Session, name: str) -> Json:
    try:
        return session.workload(name) or {"metadata": {}}
    except OSError:  # the server restarts
        return {"metadata": {}}
