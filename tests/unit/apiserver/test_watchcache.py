"""The cache and its watchers: whoever follows the lines ends up with what the cache holds, from wherever he begins."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.apiserver.feed import Feed
from controller.apiserver.resources import build_table
from controller.apiserver.selection import parse_selection
from controller.apiserver.watchcache import ResourceCache, Watcher
from controller.store import base
from lattice.machinery.clock import SystemClock

PODS = build_table().find("", "v1", "pods")

SELECTIONS = ({}, {"labelSelector": "color=red"}, {"fieldSelector": "spec.nodeName=n1"}, {"fieldSelector": "metadata.name=a"})

steps = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(["x", "y"]),
        st.sampled_from(["red", "blue", None]),
        st.sampled_from(["n1", "n2", ""]),
        st.booleans(),
    ),
    max_size=30,
)


class Script:
    """A store's events, made from steps; deletions of what is absent are skipped."""

    def __init__(self):
        self.records = {}
        self.revision = 1

    def event(self, name, namespace, color, node, removed):
        key = PODS.key(namespace, name)
        previous = self.records.get(key)
        if removed and previous is None:
            return None
        self.revision += 1
        record = None
        if not removed:
            metadata = {"name": name, "namespace": namespace, "uid": "u", "labels": {"color": color} if color else {}}
            value = orjson.dumps({"metadata": metadata, "spec": {"nodeName": node}})
            created = previous.create_revision if previous else self.revision
            record = base.Record(key, value, self.revision, created)
        self.records[key] = record
        if record is None:
            del self.records[key]
        return base.StoreEvent(key, self.revision, record, previous)


def follow(state, lines):
    for line in lines:
        event = orjson.loads(line)
        metadata = event["object"]["metadata"]
        key = (metadata["namespace"], metadata["name"])
        if event["type"] == "DELETED":
            del state[key]
        else:
            assert (key in state) == (event["type"] == "MODIFIED")
            state[key] = metadata["resourceVersion"]
    return state


def contents(cache, chosen):
    return {(entry.namespace, entry.name): str(entry.revision) for entry in cache.select(chosen)}


@given(steps, st.sampled_from(SELECTIONS), st.sampled_from(["", "x"]), st.integers(0, 30))
async def test_following_a_watch_gives_the_caches_contents(script, query, namespace, begin):
    source, cache = Script(), ResourceCache(PODS)
    cache.reset([], 1)
    chosen = parse_selection(PODS, namespace, query)
    state, watcher = {}, None
    for number, step in enumerate(script):
        if number == min(begin, len(script) - 1):
            state, position, ring_state = contents(cache, chosen), source.revision, contents(cache, chosen)
            watcher = Watcher(chosen, bookmarks=False)
            cache.add(watcher)
        event = source.event(*step)
        if event is not None:
            cache.apply(event)
    if watcher is None:
        return
    watcher.end()
    assert follow(state, await watcher.take()) == contents(cache, chosen)
    resumed = [line for change in cache.since(position) if (line := change.line_for(chosen)) is not None]
    assert follow(ring_state, resumed) == contents(cache, chosen)
    cache.remove(watcher)
    assert cache.watchers() == []


@given(steps)
def test_the_ring_forgets_the_oldest_and_says_so(script):
    source, cache = Script(), ResourceCache(PODS, ring_events=3)
    cache.reset([], 1)
    revisions = []
    for step in script:
        if (event := source.event(*step)) is not None:
            cache.apply(event)
            revisions.append(event.revision)
    assert [change.entry.revision for change in cache.since(0)] == revisions[-3:]
    assert cache.floor == (revisions[-4] if len(revisions) > 3 else 1)


async def test_a_watcher_with_too_much_unread_is_cut():
    watcher = Watcher(parse_selection(PODS, "", {}), bookmarks=False, max_lines=2)
    cut = []
    watcher.on_cut(lambda: cut.append(True))
    for _ in range(4):
        watcher.push(b"line\n")
    assert (await watcher.take(), cut, watcher.cut) == ([], [True], True)


@pytest.mark.parametrize("everything", [True, False])
def test_a_line_is_encoded_once(everything):
    source, cache = Script(), ResourceCache(PODS)
    cache.reset([], 1)
    cache.apply(source.event("a", "x", "red", "n1", False))
    (change,) = cache.since(0)
    chosen = parse_selection(PODS, "", {} if everything else {"labelSelector": "color=red"})
    assert change.line_for(chosen) is change.line_for(chosen)


def test_the_ring_is_bounded_in_bytes_too():
    """A user who writes the same large object again and again must not fill the server's memory with its history."""
    source, cache = Script(), ResourceCache(PODS, ring_bytes=10_000)
    cache.reset([], 1)
    for number in range(50):
        cache.apply(source.event("a", "x", f"{number:01000}", "n1", False))
    kept = list(cache.since(0))
    assert 5 <= len(kept) <= 10
    assert cache.floor == kept[0].entry.revision - 1
    cache.apply(source.event("a", "x", "x" * 20_000, "n1", False))
    assert [change.entry.revision for change in cache.since(0)] == [source.revision]  # the latest stays, however large


async def test_lines_are_kept_for_nobody():
    source, cache = Script(), ResourceCache(PODS)
    cache.reset([], 1)
    watcher = Watcher(parse_selection(PODS, "", {}), bookmarks=False)
    cache.add(watcher)
    cache.apply(source.event("a", "x", "red", "n1", False))
    (change,), (line,) = cache.since(0), await watcher.take()
    assert change.line_for(watcher.chosen) == line
    assert change.line_for(watcher.chosen) is not line


async def test_no_bookmark_goes_back_behind_an_event():
    """While a batch of the store is taken in (a definition among it is waited for), its events are out and the feed is not there yet."""
    source, feed = Script(), Feed("main", None, [PODS], clock=SystemClock())
    feed.revision = 1
    cache = feed.cache(PODS)
    cache.reset([], 1)
    watcher = Watcher(parse_selection(PODS, "", {}), bookmarks=True)
    cache.add(watcher)
    cache.apply(source.event("a", "x", "red", "n1", False))
    feed._tick_cache(cache, 0.0, bookmark=True)
    assert [orjson.loads(line)["type"] for line in await watcher.take()] == ["ADDED"]
    feed._advance(source.revision)
    feed._tick_cache(cache, 0.0, bookmark=True)
    (line,) = await watcher.take()
    assert orjson.loads(line)["object"]["metadata"]["resourceVersion"] == str(source.revision)
