"""The operator of test_kopf.py: every kind of handler on three kinds of object. What it was told, it writes to a journal.

Environment: ``STORY_GROUP``, whose Specimens it handles, and as a label (``story``) ConfigMaps and Workloads; ``STORY_JOURNAL``, a file
that gets one JSON object a line; ``STORY_LIST``, "chunks" or "stream", for other ways to list than whole. A ``name`` with ``flaky`` in it
fails for a while, one with ``hopeless`` for good.
"""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import kopf

GROUP = os.environ["STORY_GROUP"]
JOURNAL = Path(os.environ["STORY_JOURNAL"])
FINALIZER = "story.example.dev/finalizer"
KINDS = (
    ((GROUP, "v1", "specimens"), {}),
    (("", "v1", "configmaps"), {"labels": {"story": GROUP}}),
    (("lattice.dev", "v1", "workloads"), {"labels": {"story": GROUP}}),
)


def tell(what: str, name: str, **more: Any) -> None:
    with JOURNAL.open("a") as journal:
        journal.write(json.dumps({"what": what, "name": name, **more}) + "\n")


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.persistence.finalizer = FINALIZER
    settings.networking.error_backoffs = [0.1, 0.2, 0.5, *([1] * 30)]  # a killed server is back within seconds; on a busy machine, tens
    settings.queueing.error_delays = [0.5, 1]
    settings.peering.lifetime = 5
    settings.watching.reconnect_backoff = 0.1
    settings.watching.initial_streaming = os.environ.get("STORY_LIST") == "stream"
    if os.environ.get("STORY_LIST") == "chunks":
        settings.watching.chunk_size = 2
        settings.watching.server_timeout = 1
    tell("startup", "")


def created(name: str, body: kopf.Body, patch: kopf.Patch, retry: int, same_kind: kopf.Index[Any, Any], **_: Any) -> dict[str, Any]:
    tell("created", name, retry=retry)
    patch.status["phase"] = "Deploying"
    kopf.event(body, type="Normal", reason="Told", message=f"{name} was created")
    return {"peers": len(same_kind.get(body["kind"], ()))}


def flaky(name: str, retry: int, **_: Any) -> None:
    tell("flaky", name, retry=retry)
    if retry < 2:
        raise kopf.TemporaryError("not yet", delay=0.3)


def hopeless(name: str, retry: int, **_: Any) -> None:
    tell("hopeless", name, retry=retry)
    raise kopf.PermanentError("never")


def updated(name: str, diff: kopf.Diff, **_: Any) -> None:
    tell("updated", name, diff=[[op, list(field), old, new] for op, field, old, new in diff])


def replicas(name: str, old: Any, new: Any, **_: Any) -> None:
    tell("field", name, old=old, new=new)


def deleted(name: str, **_: Any) -> None:
    tell("deleted", name)


def ticked(name: str, **_: Any) -> None:
    tell("ticked", name)


def seen(name: str, type: str | None, **_: Any) -> None:  # noqa: A002 - kopf's name of it
    tell("seen", name, type=type)


async def attended(name: str, stopped: kopf.DaemonStopped, **_: Any) -> None:
    tell("daemon started", name)
    try:
        await stopped.wait()
    except asyncio.CancelledError:
        tell("daemon cancelled", name)
        raise
    tell("daemon stopped", name)


def indexed(name: str, namespace: str, body: kopf.Body, **_: Any) -> dict[str, str]:
    return {body["kind"]: f"{namespace}/{name}"}


def _is(word: str) -> Any:
    return lambda name, **_: word in name


for kind, filters in KINDS:
    kopf.index(*kind, id="same_kind", **filters)(indexed)
    kopf.on.event(*kind, **filters)(seen)
    kopf.on.create(*kind, **filters)(created)
    kopf.on.create(*kind, when=_is("flaky"), **filters)(flaky)
    kopf.on.create(*kind, when=_is("hopeless"), **filters)(hopeless)
    kopf.on.update(*kind, **filters)(updated)
    kopf.on.field(*kind, field="data.replicas" if kind[2] == "configmaps" else "spec.replicas", **filters)(replicas)
    kopf.on.delete(*kind, **filters)(deleted)
    kopf.timer(*kind, interval=0.3, **filters)(ticked)
    kopf.daemon(*kind, **filters)(attended)
