"""A watch resumed at any revision of any history gives exactly the rest of that history, wherever the rest comes from.

The history is short and the cache's memory shorter, so some positions are in the ring, some only in the store, and some, after a
compaction, nowhere: those get one ERROR line and never part of a history. The model below knows nothing of caches.
"""

import random
import tempfile
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.apiserver import admission, selection
from controller.apiserver.feed import Feed
from controller.apiserver.registry import Registry
from controller.apiserver.resources import build_table
from controller.apiserver.watching import WatchStarter
from controller.store import base
from controller.store.opening import StoreConfig, open_stores
from lattice.machinery.clock import SystemClock

TABLE = build_table()
SECRETS = TABLE.find("", "v1", "secrets")
RING = 5
SELECTIONS = (
    ("", {}),
    ("x", {}),
    ("", {"labelSelector": "color=red"}),
    ("", {"labelSelector": "color!=red"}),
    ("", {"labelSelector": "color"}),
    ("y", {"labelSelector": "color in (red,blue)", "fieldSelector": "type!=t1"}),
    ("", {"fieldSelector": "type=t1"}),
    ("x", {"fieldSelector": "metadata.name=a"}),
)

steps = st.lists(
    st.tuples(
        st.sampled_from("ab"), st.sampled_from("xy"), st.sampled_from(["red", "blue", None]), st.sampled_from(["t1", "t2"]), st.booleans()
    ),
    min_size=1,
    max_size=18,
)


class History:
    """Writes into a store, and remembers what was there before and after each write."""

    def __init__(self, store):
        self._store = store
        self.present = {}
        self.events = []

    async def write(self, name, namespace, color, kind, removed):
        key, before = SECRETS.key(namespace, name), self.present.get((namespace, name))
        if removed and before is None:
            return
        after = None if removed else {"color": color, "type": kind}
        metadata = {"name": name, "namespace": namespace, "labels": {} if color is None else {"color": color}}
        value = orjson.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind})
        result = await self._store.txn([base.Delete(key) if removed else base.Put(key, value)])
        self.events.append((result.revision, namespace, name, before, after))
        self.present.pop((namespace, name), None)
        if after is not None:
            self.present[namespace, name] = after

    def after(self, position, matches):
        """Return what a watcher from ``position`` is told, as (type, namespace, name, color, revision)."""
        told = []
        for revision, namespace, name, before, after in self.events:
            was, now = before is not None and matches(namespace, name, before), after is not None and matches(namespace, name, after)
            if revision > position and (was or now):
                kind = "MODIFIED" if was and now else "ADDED" if now else "DELETED"
                told.append((kind, namespace, name, (after if now else before)["color"], revision))
        return told


def model_of(namespace, query):
    """Return what a selection means, said in another way than the server's."""

    def matches(of, name, item):
        color = item["color"]
        labels = {
            None: True, "color=red": color == "red", "color!=red": color != "red", "color": color is not None,
            "color in (red,blue)": color in {"red", "blue"},
        }[query.get("labelSelector")]  # fmt: skip
        fields = {None: True, "type!=t1": item["type"] != "t1", "type=t1": item["type"] == "t1", "metadata.name=a": name == "a"}
        return labels and fields[query.get("fieldSelector")] and namespace in {"", of}

    return matches


async def told(starter, namespace, query, position):
    """Return what a watch from ``position`` says of the past, or the code of the error that it ends with."""
    chosen = selection.parse_selection(SECRETS, namespace, query)
    stream = await starter.open(SECRETS, chosen, {"resourceVersion": str(position), "timeoutSeconds": "-1"})
    events = [orjson.loads(line) async for lines in stream.batches for line in lines]
    stream.close()
    if events and events[-1]["type"] == "ERROR":
        assert len(events) == 1
        return events[-1]["object"]["code"]
    return [
        (
            event["type"], event["object"]["metadata"]["namespace"], event["object"]["metadata"]["name"],
            event["object"]["metadata"].get("labels", {}).get("color"), int(event["object"]["metadata"]["resourceVersion"]),
        )
        for event in events
    ]  # fmt: skip


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(steps, st.data())
@pytest.mark.timeout(120)
async def test_a_watch_resumes_at_every_revision_of_any_history(script, data):
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as directory:
        stores = await open_stores(StoreConfig(data_dir=Path(directory), durability="off"), clock)
        try:
            history, store = History(stores.main), stores.main
            await store.txn([base.Put("/lattice/v1/other", b"{}")])
            start = await store.revision()
            feed = Feed("main", store, [SECRETS], clock=clock, ring_events=RING)
            await feed.start()
            registry = Registry(TABLE, {"main": feed}, clock=clock, rng=random.Random(1), admission=admission.Chain())
            starter = WatchStarter(registry, random.Random(1))
            for step in script:
                await history.write(*step)
            end = await feed.fresh()
            chosen = [data.draw(st.sampled_from(SELECTIONS)) for _ in range(2)]

            async def check(compacted):
                for namespace, query in chosen:
                    for position in range(start, end + 1):
                        found = await told(starter, namespace, query, position)
                        if position >= compacted or found != 410:
                            assert found == history.after(position, model_of(namespace, query)), (position, namespace, query)

            await check(0)
            compacted = data.draw(st.integers(start, end))
            await store.compact(base.Revision(compacted))
            await check(compacted)
            await feed.stop()
            feed = registry.feeds["main"] = Feed("main", store, [SECRETS], clock=clock, ring_events=RING)  # the ring is empty again
            await feed.start()
            await check(compacted)
            await feed.stop()
        finally:
            await stores.close()
