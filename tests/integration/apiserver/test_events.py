"""Events through both of their APIs over HTTP: one object, one revision, two sets of names."""

import json

import pytest

NEW = "/apis/events.k8s.io/v1/namespaces/default/events"
CORE = "/api/v1/namespaces/default/events"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"


def make_event(name="e", **fields):
    """Return an event as client-go's newer recorder posts it."""
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": "default", "creationTimestamp": None},
        "eventTime": "2026-11-21T09:00:00.123456Z",
        "reportingController": "example.dev/operator",
        "reportingInstance": "operator-1",
        "action": "Scale",
        "reason": "Scaled",
        "type": "Normal",
        "note": "scaled to 3",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "web"},
        "deprecatedSource": {},
        "deprecatedFirstTimestamp": None,
        "deprecatedLastTimestamp": None,
        **fields,
    }


@pytest.fixture
async def admin(api_server):
    async with api_server.session() as session:
        yield session


async def call(session, method, path, body=None, kind="application/json", expect=200, **headers):
    data = None if body is None else json.dumps(body).encode()
    async with session.request(method, path, data=data, headers={"Content-Type": kind, **headers}) as answer:
        text = await answer.read()
        assert answer.status == expect, text
        return json.loads(text)


async def test_one_event_has_two_faces(admin):
    made = await call(admin, "POST", NEW, make_event(), expect=201)
    core = await call(admin, "GET", f"{CORE}/e")
    assert (core["apiVersion"], core["message"], core["involvedObject"]["name"]) == ("v1", "scaled to 3", "web")
    assert core["reportingComponent"] == "example.dev/operator"
    assert core["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    changed = await call(admin, "PATCH", f"{CORE}/e", {"metadata": {"labels": {"a": "b"}}}, MERGE)
    new = await call(admin, "GET", f"{NEW}/e")
    assert (new["note"], new["metadata"]["labels"]) == ("scaled to 3", {"a": "b"})
    assert new["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]
    same = await call(admin, "PATCH", f"{NEW}/e", {"metadata": {"labels": {"a": "b"}}}, MERGE)
    assert same["metadata"]["resourceVersion"] == new["metadata"]["resourceVersion"]
    await call(admin, "DELETE", f"{NEW}/e")
    await call(admin, "GET", f"{CORE}/e", expect=404)


async def test_lists_selectors_and_tables(admin):
    await call(admin, "POST", NEW, make_event("a"), expect=201)
    old = {"metadata": {"name": "b"}, "involvedObject": {"namespace": "default", "name": "db"}, "reason": "Old", "message": "m", "count": 2}
    await call(admin, "POST", CORE, old, expect=201)
    found = await call(admin, "GET", NEW)
    assert (found["kind"], found["apiVersion"]) == ("EventList", "events.k8s.io/v1")
    assert [(item["metadata"]["name"], item["note"]) for item in found["items"]] == [("a", "scaled to 3"), ("b", "m")]
    assert all("apiVersion" not in item and "involvedObject" not in item for item in found["items"])
    found = await call(admin, "GET", f"{NEW}?fieldSelector=regarding.name=db,reason=Old")
    assert [(item["metadata"]["name"], item["deprecatedCount"]) for item in found["items"]] == [("b", 2)]
    found = await call(admin, "GET", f"{NEW}?fieldSelector=reportingController=example.dev/operator&limit=1")
    assert [item["metadata"]["name"] for item in found["items"]] == ["a"]
    refused = await call(admin, "GET", f"{NEW}?fieldSelector=involvedObject.name=db", expect=400)
    assert refused["message"] == "field label not supported: involvedObject.name"
    tables = [await call(admin, "GET", path, Accept=TABLE) for path in (NEW, CORE)]
    assert [row["cells"] for row in tables[0]["rows"]] == [row["cells"] for row in tables[1]["rows"]]
    assert "pod/web" in tables[0]["rows"][0]["cells"]


async def test_a_watch_shows_what_the_other_api_writes(admin):
    await call(admin, "POST", NEW, make_event(), expect=201)
    listed = await call(admin, "GET", NEW)
    await call(admin, "POST", CORE, {"metadata": {"name": "a"}, "message": "m", "source": {"component": "c"}}, expect=201)
    await call(admin, "DELETE", f"{CORE}/a")
    path = f"{NEW}?watch=true&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion={listed['metadata']['resourceVersion']}"
    async with admin.get(path) as answer:
        events = [json.loads(line) for line in (await answer.read()).splitlines()]
    assert [event["type"] for event in events[:2]] == ["ADDED", "DELETED"]
    assert events[-1]["type"] == "BOOKMARK"
    assert {event["object"]["apiVersion"] for event in events} == {"events.k8s.io/v1"}
    assert (events[0]["object"]["note"], events[0]["object"]["deprecatedSource"]) == ("m", {"component": "c"})


async def test_rules_of_the_newer_api(admin):
    refused = await call(admin, "POST", NEW, make_event(type="Loud", action=None), expect=422)
    assert refused["message"] == 'Event.events.k8s.io "e" is invalid: action: Required value'
    refused = await call(admin, "POST", NEW, make_event(eventTime=None, deprecatedCount=1), expect=422)
    assert [cause["field"] for cause in refused["details"]["causes"]] == ["eventTime", "count"]
    await call(admin, "POST", NEW, make_event(), expect=201)
    refused = await call(admin, "PATCH", f"{NEW}/e", {"note": "other"}, MERGE, expect=422)
    assert refused["message"] == 'Event.events.k8s.io "e" is invalid: message: Invalid value: "other": field is immutable'
    repeated = await call(admin, "PATCH", f"{NEW}/e", {"series": {"count": 2, "lastObservedTime": "2026-11-21T10:00:00Z"}}, MERGE)
    assert repeated["series"] == {"count": 2, "lastObservedTime": "2026-11-21T10:00:00.000000Z"}
    unknown = await call(admin, "POST", f"{NEW}?fieldValidation=Strict", make_event("f", involvedObject={}), expect=400)
    assert unknown["message"].endswith('strict decoding error: unknown field "involvedObject"')


async def test_owners_of_fields_are_the_same_in_both(admin):
    await call(admin, "PATCH", f"{NEW}/e?fieldManager=first", make_event(metadata={"name": "e"}), APPLY, expect=201)
    taken = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "message": "mine"}
    refused = await call(admin, "PATCH", f"{CORE}/e?fieldManager=second", taken, APPLY, expect=409)
    assert [cause["field"] for cause in refused["details"]["causes"]] == [".message"]
    stored = await call(admin, "GET", f"{CORE}/e")
    (entry,) = stored["metadata"]["managedFields"]
    assert entry["apiVersion"] == "v1"
    assert "f:involvedObject" in entry["fieldsV1"]


async def test_the_newer_api_is_described(admin):
    found = await call(admin, "GET", "/apis/events.k8s.io/v1")
    core = await call(admin, "GET", "/api/v1")
    (mine,), theirs = found["resources"], next(item for item in core["resources"] if item["name"] == "events")
    assert mine == theirs
    document = await call(admin, "GET", "/openapi/v3/apis/events.k8s.io/v1")
    schemas = document["components"]["schemas"]
    assert "note" in schemas["io.k8s.api.events.v1.Event"]["properties"]
    assert "io.k8s.api.core.v1.ObjectReference" in schemas
