"""A kopf operator that posts the phase changes of Workloads to a webhook, as CloudEvents.

    WEBHOOK_URL=http://127.0.0.1:8080/ kopf run --all-namespaces --standalone phase_webhook.py

Two handlers, with a queue in Lattice between them, so that neither a restart nor a webhook that is away for hours loses a change:

* ``observe`` watches Workloads. A phase that differs from the last one it recorded is appended to the Workload's PhaseLog, an object of
  the operator's own kind (``phaselogs.yaml``). The Workload itself is only read: no annotation, no finalizer, no status of ours.
* ``deliver`` handles PhaseLogs. It posts what is not delivered yet, oldest first, and notes in the status how far it came. While the
  webhook fails it raises ``kopf.TemporaryError``, and kopf calls it again: after 1 s, 2 s, 4 s … at most WEBHOOK_BACKOFF_S.

A change is posted at least once, those of one Workload in order. Whoever must not count one twice compares the CloudEvent's ``id``. What
a Workload goes through while the operator is away becomes one change, from the last phase recorded to the present one. A PhaseLog is
owned by its Workload; when that is deleted, kopf's finalizer holds the log until the rest is delivered.

Settings, all from the environment: WEBHOOK_URL; WEBHOOK_TIMEOUT_S (10), for one post; WEBHOOK_BACKOFF_S (60), the longest pause between
two; WEBHOOK_GIVE_UP_S (86400), the age at which a change is dropped with a Warning event.
"""

import asyncio
import itertools
import logging
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import aiohttp
import httpx
import kopf
import kr8s
import kr8s.asyncio
from kr8s.asyncio.objects import new_class

WEBHOOK_URL = os.environ["WEBHOOK_URL"]
TIMEOUT_S = float(os.environ.get("WEBHOOK_TIMEOUT_S", "10"))
BACKOFF_S = float(os.environ.get("WEBHOOK_BACKOFF_S", "60"))
GIVE_UP_S = float(os.environ.get("WEBHOOK_GIVE_UP_S", "86400"))
KEEP = 20
"""Changes that stay in a log after they were delivered, for whoever looks at it."""
MOST = 1000
"""Changes in a log: of a Workload that flaps while the webhook is away, the newest. An object may have 1.5 MB."""

GROUP = "webhooks.example.dev"
PhaseLog = new_class("PhaseLog", version=f"{GROUP}/v1", plural="phaselogs", namespaced=True)


@kopf.on.startup()
async def configure(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: Any) -> None:
    """Keep kopf's own notes in the status of the logs, not in annotations; outlast a server that restarts."""
    settings.persistence.finalizer = f"{GROUP}/deliver"
    settings.persistence.progress_storage = kopf.StatusProgressStorage()
    settings.persistence.diffbase_storage = kopf.StatusDiffBaseStorage()
    settings.networking.error_backoffs = [0.5, 1, 2, 4, 8, *([15] * 20)]  # five minutes; then kopf ends, for whoever starts it again
    logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line for each request of kr8s
    memo.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))


@kopf.on.cleanup()
async def close(memo: kopf.Memo, **_: Any) -> None:
    """Close the connections to the webhook."""
    await memo.session.close()


@kopf.on.event("lattice.dev", "v1", "workloads")
async def observe(type: str | None, body: kopf.Body, memo: kopf.Memo, logger: kopf.Logger, **_: Any) -> None:  # noqa: A002 - kopf's name
    """Record the phase in the Workload's log if it is another one than before. kopf calls this in the order of events, one at a time."""
    phase = body.status.get("phase")
    if type == "DELETED" or not phase or memo.get("phase") == phase:
        return
    for attempt in itertools.count():  # kopf never repeats an event: what is not recorded now is lost
        try:
            await record(body, phase)
            break
        except (kr8s.ServerError, kr8s.APITimeoutError, httpx.HTTPError) as error:
            answer = error.response.status_code if isinstance(error, kr8s.ServerError) and error.response is not None else 0
            if answer in {403, 404}:
                logger.warning("The change to %s is not recorded: %s", phase, error)  # the namespace goes, or this user has no right
                return
            if attempt > 3:  # it is no matter of two writers, one of whom was faster
                logger.warning("The change to %s cannot be recorded yet: %s", phase, error)
            await asyncio.sleep(0.05 * 2 ** min(attempt, 7))
    memo.phase = phase


async def record(workload: kopf.Body, phase: str) -> None:
    """Append a change to the log, unless the last one in it has led to this phase already.

    Raises:
        kr8s.ServerError: among others, somebody else has written the log meanwhile (409, 422).
    """
    name, namespace, uid = workload.metadata["name"], workload.metadata["namespace"], workload.metadata["uid"]
    log_name = f"{name}-{uid[:8]}"  # a second Workload of this name has a log of its own
    api = await kr8s.asyncio.api()
    found: Any = [log async for log in api.get(PhaseLog, log_name, namespace=namespace)]
    if not found:
        owner = {"apiVersion": "lattice.dev/v1", "kind": "Workload", "name": name, "uid": uid}
        metadata = {"name": log_name, "namespace": namespace, "ownerReferences": [owner]}
        spec = {"workload": name, "uid": uid, "phase": phase, "recorded": 1, "changes": [change(workload, None, phase)]}
        await (await PhaseLog({"metadata": metadata, "spec": spec}, api=api)).create()
        return
    [log] = found
    if log.spec.phase == phase:
        return
    new = change(workload, log.spec.changes[-1], phase)
    old = surplus([each["sequence"] for each in log.spec.changes], log.raw.get("status", {}).get("delivered", 0))
    patch = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": log.metadata.resourceVersion},
        *({"op": "remove", "path": "/spec/changes/0"} for _ in range(old)),
        {"op": "add", "path": "/spec/changes/-", "value": new},
        {"op": "replace", "path": "/spec/recorded", "value": new["sequence"]},
        {"op": "replace", "path": "/spec/phase", "value": phase},
    ]
    await log.patch(patch, type="json")


def surplus(sequences: Sequence[int], delivered: int) -> int:
    """Return how many of the oldest changes go before another is appended."""
    return max(sum(each <= delivered for each in sequences) - KEEP, len(sequences) + 1 - MOST, 0)


def change(workload: kopf.Body, last: Mapping[str, Any] | None, phase: str) -> dict[str, Any]:
    """Return the entry of the log: from which phase, to which, why, and when."""
    conditions = {each["type"]: each for each in workload.status.get("conditions") or []}
    why = conditions.get("Progressing", {})  # says in a sentence what the Workload waits for
    return {
        "sequence": last["sequence"] + 1 if last else 1,
        **({"from": last["to"]} if last else {}),
        "to": phase,
        "reason": why.get("reason", ""),
        "message": why.get("message", ""),
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }


@kopf.on.create(GROUP, "v1", "phaselogs")
@kopf.on.update(GROUP, "v1", "phaselogs", field="spec.changes")
@kopf.on.delete(GROUP, "v1", "phaselogs")
async def deliver(body: kopf.Body, patch: kopf.Patch, memo: kopf.Memo, retry: int, **_: Any) -> None:
    """Post what is not delivered yet, in order; stop at the first that fails, and be called again."""
    delivered = body.status.get("delivered", 0)
    for entry in body.spec["changes"]:
        if entry["sequence"] <= delivered:
            continue
        problem = await post(memo.session, cloud_event(body, entry))
        if problem:
            age_s = (datetime.now(UTC) - datetime.fromisoformat(entry["time"])).total_seconds()
            if age_s < GIVE_UP_S:
                raise kopf.TemporaryError(problem, delay=min(2.0 ** min(retry, 16), BACKOFF_S))
            kopf.warn(body, reason="GaveUp", message=f"change {entry['sequence']} to {entry['to']} was never delivered: {problem}")
        patch.status["delivered"] = entry["sequence"]


async def post(session: aiohttp.ClientSession, event: Mapping[str, Any]) -> str | None:
    """Post an event; return what went wrong, or None."""
    headers = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
    try:
        async with session.post(WEBHOOK_URL, json=event, headers=headers, allow_redirects=False) as answer:
            return None if answer.status < 300 else f"the webhook answered {answer.status}"
    except (aiohttp.ClientError, TimeoutError) as error:
        return f"the webhook cannot be reached: {error!r}"


def cloud_event(log: kopf.Body, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the CloudEvent (1.0, structured mode) of a change. Posted twice, it has the same id."""
    name, namespace, uid = log.spec["workload"], log.metadata["namespace"], log.spec["uid"]
    about = {key: entry.get(key) for key in ("from", "to", "reason", "message", "time")}
    return {
        "specversion": "1.0",
        "id": f"{log.metadata['uid']}-{entry['sequence']}",
        "source": f"/apis/lattice.dev/v1/namespaces/{namespace}/workloads/{name}",
        "type": "dev.lattice.workload.phase",
        "subject": f"{namespace}/{name}",
        "time": entry["time"],
        "datacontenttype": "application/json",
        "data": {"namespace": namespace, "name": name, "uid": uid, **about},
    }
