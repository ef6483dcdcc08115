"""All answers of a run together: what was acknowledged, what watchers saw, what is there in the end. They must tell one story.

Watches stand on every kind from before the first attack to after the last. Three things are compared in the end:

* the objects of a list, and what the watch's events add up to: equal, byte for byte;
* each object that a write was answered with, and the event of the same uid and resourceVersion: equal;
* each deletion that a watch saw, and the deletions that were asked for and answered (for kinds that nobody else deletes).

And a few things of the witness's own, which nobody attacks (:func:`sentinels`), must be at the end what they were.
"""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from lattice.machinery.clock import SystemClock
from lattice.machinery.tasks import TaskOwner
from lattice.testing.fuzz import subjects
from lattice.testing.fuzz.oracle import document
from lattice.testing.fuzz.subjects import Subject
from lattice.testing.fuzz.wire import Request, Response
from lattice.testing.polling import eventually

SENTINEL: Final = "sentinel"
_LINE_BYTES: Final = 16 * 2**20


def sentinels() -> list[tuple[str, dict[str, Any]]]:
    """Return collections and objects that no attack names."""
    found: list[tuple[str, dict[str, Any]]] = []
    for subject in (*subjects.BUILT_IN, *subjects.CUSTOM):
        if subject.steady and "v1beta1" not in subject.collection and subject.collection != "/api/v1/namespaces":
            path = subject.collection.replace(f"/namespaces/{subjects.NAMESPACE}", f"/namespaces/{SENTINEL}")
            found += [(path, subject.valid(f"{SENTINEL}-{number}")) for number in range(5)]
    return found


@dataclass(slots=True)
class Story:
    """What the watch on one kind saw."""

    subject: Subject
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Uid to the latest state."""
    digests: dict[tuple[str, str], str] = field(default_factory=dict)
    """Uid and resourceVersion to a digest of the object then."""
    deleted: dict[str, dict[str, Any]] = field(default_factory=dict)
    started_at: str = ""
    position: str = ""
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True, frozen=True)
class _Acknowledged:
    uid: str
    version: str
    digest: str
    request: Request
    kind: str


class Witness:
    """See the module's docstring. ``start`` before the run, ``acknowledge`` each answer, ``verdict`` after it.

    Args:
        url: of the server.
        token: of somebody with all rights.
        context: TLS.
        watched: the kinds.
    """

    def __init__(self, url: str, token: str, context: ssl.SSLContext, watched: Sequence[Subject]) -> None:
        self._url = url
        self._session = aiohttp.ClientSession(
            url,
            headers={"Authorization": f"Bearer {token}"},
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            read_bufsize=_LINE_BYTES,
        )
        self._tasks = TaskOwner("witness")
        self.stories = {subject.everywhere: Story(subject) for subject in watched}
        self._kinds = {subject.kind for subject in watched}
        self._acknowledged: list[_Acknowledged] = []
        self._asked: set[str] = set()
        self._asked_unknown = False
        self._before: dict[str, bytes] = {}

    @property
    def acknowledged(self) -> int:
        """Return how many writes were answered with an object."""
        return len(self._acknowledged)

    async def start(self) -> None:
        """Make the sentinels and begin to watch."""
        for path, obj in sentinels():
            async with self._session.post(path, json=obj) as answer:
                assert answer.status == 201, await answer.text()
            key = f"{path}/{obj['metadata']['name']}"
            async with self._session.get(key) as answer:
                self._before[key] = await answer.read()
        for path, story in self.stories.items():
            listed = await self._list(path)
            story.started_at = story.position = listed["metadata"]["resourceVersion"]
            for obj in listed["items"]:
                story.objects[obj["metadata"]["uid"]] = _plain(obj)
                _remember(story, obj)
            self._tasks.spawn(self._watch(path, story), name=path)

    async def close(self) -> None:
        """Stop watching."""
        await self._tasks.stop()
        await self._session.close()

    def acknowledge(self, request: Request, response: Response) -> None:
        """Take note of an answer."""
        if request.method == "DELETE" and response.status == 0:
            self._asked_unknown = True
        if request.method not in {"POST", "PUT", "PATCH", "DELETE"} or not 200 <= response.status < 300 or "dryRun" in request.target:
            return
        obj = document(response)
        metadata = obj.get("metadata")
        if not isinstance(metadata, dict):
            if request.method == "DELETE":
                self._asked_unknown = True  # answered in a form that is not read here
            return
        if request.method == "DELETE":
            self._asked |= {str((obj.get("details") or {}).get("uid")), str(metadata.get("uid"))}
            self._asked |= {item["metadata"]["uid"] for item in obj.get("items") or () if isinstance(item.get("metadata"), dict)}
            return
        uid, version = metadata.get("uid"), metadata.get("resourceVersion")
        ending = "deletionTimestamp" in metadata and not metadata.get("finalizers")
        if ending and uid:
            self._asked.add(uid)
        if uid and version and obj.get("kind") in self._kinds:
            digest = "" if ending else _digest(obj)
            self._acknowledged.append(_Acknowledged(uid, version, digest, request, str(obj["kind"])))

    async def verdict(self) -> list[tuple[str, Request | None]]:
        """Compare everything. Returns what does not fit, with the request that it came from where there is one."""
        found: list[tuple[str, Request | None]] = []
        for path, story in self.stories.items():
            found += [(problem, None) for problem in story.problems]
            try:
                await eventually(lambda path=path, story=story: self._settled(path, story), 15, f"the watch on {path} to catch up")  # type: ignore[misc]
            except AssertionError as error:
                found.append((f"watch and list of {path} differ: {error}", None))
        history = {key: digest for story in self.stories.values() for key, digest in story.digests.items()}
        for acknowledged in self._acknowledged:
            seen = history.get((acknowledged.uid, acknowledged.version))
            if seen is None:
                found.append(
                    (f"a {acknowledged.kind} was acknowledged at {acknowledged.version}, and no watch saw it", acknowledged.request)
                )
            elif acknowledged.digest and seen != acknowledged.digest:
                found.append((f"the answer and the event at {acknowledged.version} differ", acknowledged.request))
        for story in self.stories.values():
            if story.subject.steady and not self._asked_unknown:
                for uid, last in story.deleted.items():
                    if uid not in self._asked and not last["metadata"].get("ownerReferences"):
                        found.append((f"{story.subject.kind} {last['metadata']['name']} vanished and nobody asked for it", None))
        for key, before in self._before.items():
            async with self._session.get(key) as answer:
                if await answer.read() != before:
                    found.append((f"{key} is not what it was: {await answer.text()}", None))
        return found

    async def replayed(self) -> list[str]:
        """Watch from the very start again, where the server still has it, and compare with the list."""
        problems = []
        for path, story in self.stories.items():
            objects: dict[str, dict[str, Any]] = {}
            again = Story(story.subject, objects=objects, position=story.started_at)
            async with self._session.get(path, params=_watch_query(story.started_at, timeout_s=3)) as answer:
                while line := await answer.content.readline():
                    _take(again, json.loads(line))
            if any("too old" in problem for problem in again.problems):
                continue
            present = {uid: obj for uid, obj in story.objects.items() if (uid, obj["metadata"]["resourceVersion"]) in again.digests}
            if present != again.objects:
                problems.append(f"a watch on {path} from {story.started_at} does not lead to what is there")
        return problems

    async def _settled(self, path: str, story: Story) -> bool:
        listed = await self._list(path)
        present = {obj["metadata"]["uid"]: _plain(obj) for obj in listed["items"]}
        differing = [uid for uid in present.keys() | story.objects.keys() if present.get(uid) != story.objects.get(uid)]
        assert not differing, [(present.get(uid), story.objects.get(uid)) for uid in differing[:2]]
        return True

    async def _list(self, path: str) -> dict[str, Any]:
        async with self._session.get(path) as answer:
            assert answer.status == 200, await answer.text()
            listed: dict[str, Any] = json.loads(await answer.read())
            return listed

    async def _watch(self, path: str, story: Story) -> None:
        clock = SystemClock()
        while True:
            try:
                timeout = aiohttp.ClientTimeout(total=None)
                async with self._session.get(path, params=_watch_query(story.position, timeout_s=600), timeout=timeout) as answer:
                    while line := await answer.content.readline():
                        _take(story, json.loads(line))
            except aiohttp.ClientError as error:
                story.problems.append(f"the watch on {path} broke: {error}")
            if len(story.problems) > 20:
                return
            await clock.sleep(0.2)


def _watch_query(version: str, *, timeout_s: int) -> dict[str, str]:
    return {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(timeout_s), "allowWatchBookmarks": "true"}


def _take(story: Story, event: Mapping[str, Any]) -> None:
    obj = event["object"]
    if event["type"] == "ERROR":
        story.problems.append(f"the watch on {story.subject.everywhere} was ended: {obj.get('message')}")
        return
    version = obj["metadata"]["resourceVersion"]
    if story.position and int(version) < int(story.position):
        story.problems.append(f"the watch on {story.subject.everywhere} went back from {story.position} to {version}")
    story.position = version
    if event["type"] == "BOOKMARK":
        return
    uid = obj["metadata"]["uid"]
    if event["type"] == "DELETED":
        if story.objects.pop(uid, None) is None:
            story.problems.append(f"DELETED without an ADDED: {story.subject.kind} {uid}")
        story.deleted[uid] = obj
        return
    if (event["type"] == "ADDED") is (uid in story.objects):
        story.problems.append(
            f"{event['type']} at {version} for {story.subject.kind} {uid}, which was {'' if uid in story.objects else 'not '}there"
        )
    story.objects[uid] = _plain(obj)
    _remember(story, obj)


def _remember(story: Story, obj: dict[str, Any]) -> None:
    story.digests[(obj["metadata"]["uid"], obj["metadata"]["resourceVersion"])] = _digest(obj)


def _plain(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object without what depends on how it was asked for."""
    return {key: value for key, value in obj.items() if key not in {"apiVersion", "kind"}}


def _digest(obj: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(_plain(obj), sort_keys=True).encode()).hexdigest()
