"""Lists and content negotiation over HTTP: pages of one revision, options and their errors, tables, metadata, YAML, indentation."""

import base64
import json

import pytest
import yaml

from controller.store import base
from lattice.testing.polling import eventually

NS = "default"
WIDGETS = f"/apis/example.dev/v1/namespaces/{NS}/widgets"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIALS = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.dev"},
    "spec": {
        "group": "example.dev", "scope": "Namespaced", "names": {"kind": "Widget", "plural": "widgets", "singular": "widget"},
        "versions": [{
            "name": "v1", "served": True, "storage": True, "selectableFields": [{"jsonPath": ".spec.color"}],
            "additionalPrinterColumns": [{"name": "Color", "type": "string", "jsonPath": ".spec.color"}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {"color": {"type": "string"}, "size": {"type": "integer"}}},
            }}},
        }],
    },
}  # fmt: skip


def pack(**data):
    return base64.urlsafe_b64encode(json.dumps({"v": "meta.k8s.io/v1", **data}).encode()).rstrip(b"=").decode()


def make_widget(name, color="red", **labels):
    return {"apiVersion": "example.dev/v1", "kind": "Widget", "metadata": {"name": name, "labels": labels}, "spec": {"color": color}}


@pytest.fixture
async def admin(api_server):
    async with api_server.session() as session:
        yield session


@pytest.fixture
async def widgets(admin):
    """Serve the kind, with five objects: a to e, every second one blue."""
    async with admin.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", json=DEFINITION) as answer:
        assert answer.status == 201
    for index, name in enumerate("abcde"):
        await create(admin, make_widget(name, color="blue" if index % 2 else "red", even=str(not index % 2).lower()))


async def create(admin, body):
    async with admin.post(WIDGETS, json=body) as answer:
        assert answer.status == 201, await answer.text()


async def get(admin, query="", accept="application/json", path=WIDGETS, **headers):
    async with admin.get(f"{path}?{query}", headers={"Accept": accept, **headers}) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if answer.content_type == "application/json" else text


def names(body):
    return [item["metadata"]["name"] for item in body["items"]]


async def pages(admin, query, limit):
    """Return the pages of a list as (names, remaining, revision)."""
    found, token = [], ""
    while True:
        status, body = await get(admin, f"limit={limit}&{query}" + (f"&continue={token}" if token else ""))
        assert status == 200, body
        found.append((names(body), body["metadata"].get("remainingItemCount"), body["metadata"]["resourceVersion"]))
        token = body["metadata"]["continue"]
        if not token:
            return found
        await create(admin, make_widget(f"c{len(found)}x"))  # must not show up


async def test_pages_are_of_one_revision(admin, widgets):
    found = await pages(admin, "", 2)
    assert [(page, left) for page, left, _ in found] == [(["a", "b"], 3), (["c", "d"], 1), (["e"], None)]
    assert len({revision for *_, revision in found}) == 1


async def test_pages_from_the_store_are_the_same(api_server, admin, widgets):
    _, first = await get(admin, "limit=2")
    token, revision = first["metadata"]["continue"], int(first["metadata"]["resourceVersion"])
    await create(admin, make_widget("bb"))
    await api_server.restart()  # the cache has forgotten
    async with api_server.session() as session:
        _, second = await get(session, f"limit=2&continue={token}")
        assert (names(second), second["metadata"]["remainingItemCount"]) == (["c", "d"], 1)
        _, counted = await get(session, f"limit=1&continue={pack(rv=revision, start='/a' + chr(0))}")
        assert (names(counted), counted["metadata"]["remainingItemCount"]) == (["b"], 3)
        _, exact = await get(session, f"resourceVersion={revision}&resourceVersionMatch=Exact")
        assert (names(exact), exact["metadata"]["resourceVersion"]) == (list("abcde"), str(revision))


async def test_a_token_goes_on_in_another_range_and_at_the_present_revision(admin, widgets):
    _, body = await get(admin, f"continue={pack(rv=-1, start='/c')}", path="/apis/example.dev/v1/widgets")
    assert names(body) == list("abcde")  # all namespaces: "default" comes after "c"
    _, body = await get(admin, f"limit=1&continue={pack(rv=-1, start='/c')}")
    assert names(body) == ["c"]


async def test_selected_pages_do_not_count(admin, widgets):
    found = await pages(admin, "labelSelector=even%3Dtrue", 2)
    assert [(page, left) for page, left, _ in found] == [(["a", "c"], None), (["e"], None)]


async def test_an_expired_token_comes_with_a_new_one(api_server, admin, widgets):
    _, first = await get(admin, "limit=2")
    revision = int(first["metadata"]["resourceVersion"])
    await create(admin, make_widget("z"))
    await create(admin, make_widget("zz"))
    await api_server.stores.main.compact(base.Revision(revision + 1))
    assert (await get(admin, f"limit=2&continue={first['metadata']['continue']}"))[0] == 200  # the cache still knows
    await api_server.restart()
    async with api_server.session() as session:
        status, body = await get(session, f"limit=2&continue={first['metadata']['continue']}")
        assert (status, body["reason"]) == (410, "Expired")
        assert body["message"].startswith("The provided continue parameter is too old")
        _, rest = await get(session, f"limit=9&continue={body['metadata']['continue']}")
        assert names(rest) == ["c", "d", "e", "z", "zz"]
        status, body = await get(session, f"resourceVersion={revision}&resourceVersionMatch=Exact")
        assert (status, body["message"]) == (410, "The resourceVersion for the provided list is too old.")


async def test_revisions(admin, widgets):
    _, before = await get(admin)
    revision = before["metadata"]["resourceVersion"]
    await create(admin, make_widget("z"))
    everything = [*"abcde", "z"]
    assert names((await get(admin, f"resourceVersion={revision}&resourceVersionMatch=NotOlderThan"))[1]) == everything
    assert names((await get(admin, f"resourceVersion={revision}"))[1]) == everything
    assert names((await get(admin, f"resourceVersion={revision}&resourceVersionMatch=Exact"))[1]) == list("abcde")
    assert names((await get(admin, f"resourceVersion={revision}&limit=9"))[1]) == list("abcde")  # exact, since there were limits
    assert names((await get(admin, "resourceVersion=0&limit=2"))[1]) == everything
    status, body = await get(admin, "resourceVersion=999999999")
    assert (status, body["reason"], body["details"]["retryAfterSeconds"]) == (504, "Timeout", 1)
    assert body["message"].startswith("Timeout: Too large resource version: 999999999, current: ")


FORBIDDEN = "Forbidden: resourceVersionMatch is forbidden"
PARSE = 'strconv.ParseUint: parsing "abc": invalid syntax'


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("limit=abc", 400, 'strconv.ParseInt: parsing "abc": invalid syntax'),
        ("limit=99999999999999999999", 400, 'strconv.ParseInt: parsing "99999999999999999999": value out of range'),
        ("limit=-1", 200, ""),
        ("resourceVersion=abc", 400, f'invalid resource version: resourceVersion: Invalid value: "abc": {PARSE}'),
        ("watch=1&resourceVersion=abc", 500, f'resourceVersion: Invalid value: "abc": {PARSE}'),
        ("watch=1&timeoutSeconds=x", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("resourceVersion=1&continue=x", 400, "specifying resource version is not allowed when using continue"),
        ("continue=!", 400, "invalid continue token: continue key is not valid: illegal base64 data at input byte 0"),
        ("resourceVersionMatch=Exact", 422, f"{FORBIDDEN} unless resourceVersion is provided"),
        ("resourceVersionMatch=Exact&resourceVersion=0", 422, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'),
        ("resourceVersionMatch=Junk&resourceVersion=1", 422, 'Unsupported value: "Junk": supported values: "Exact", "NotOlderThan", ""'),
        ("resourceVersionMatch=Exact&resourceVersion=1&continue=x", 422, f"{FORBIDDEN} when continue is provided"),
        ("sendInitialEvents=true", 422, "Forbidden: sendInitialEvents is forbidden for list"),
        ("watch=1&resourceVersionMatch=NotOlderThan", 422, f"{FORBIDDEN} for watch unless sendInitialEvents is provided"),
        ("watch=1&sendInitialEvents=1", 422, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        ("labelSelector=a%3D%3D%3Db", 400, "unable to parse requirement: found '=', expected: identifier"),
        ("fieldSelector=spec.nope%3Db", 400, "field label not supported: spec.nope"),
        ("fieldSelector=junk", 400, "invalid selector: 'junk'; can't understand 'junk'"),
        ("watch=1&fieldSelector=spec.nope%3Db", 400, "field label not supported: spec.nope"),
    ],
)  # fmt: skip
async def test_options_that_do_not_go(admin, widgets, query, status, message):
    found, body = await get(admin, query)
    assert found == status
    assert message in body.get("message", "")


async def test_a_get_of_a_revision(admin, widgets):
    assert (await get(admin, "resourceVersion=0", path=f"{WIDGETS}/a"))[0] == 200
    assert (await get(admin, "resourceVersion=abc", path=f"{WIDGETS}/a"))[0] == 500
    assert (await get(admin, "resourceVersion=999999999", path=f"{WIDGETS}/a"))[0] == 504
    assert (await get(admin, "watch=true", path=f"{WIDGETS}/a"))[1]["kind"] == "Widget"


async def test_fields_that_a_definition_selects_by(admin, widgets):
    assert names((await get(admin, "fieldSelector=spec.color%3Dblue"))[1]) == ["b", "d"]
    assert names((await get(admin, "fieldSelector=spec.color!%3Dblue,metadata.name!%3Da"))[1]) == ["c", "e"]


async def test_tables(admin, widgets):
    _, table = await get(admin, "limit=2", accept=TABLE)
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Color"]
    assert [row["cells"] for row in table["rows"]] == [["a", "red"], ["b", "blue"]]
    assert table["metadata"].keys() == {"resourceVersion", "continue", "remainingItemCount"}
    _, one = await get(admin, "includeObject=Object", accept=TABLE, path=f"{WIDGETS}/a")
    assert (one["kind"], one["rows"][0]["object"]["spec"]) == ("Table", {"color": "red"})
    assert (await get(admin, "includeObject=Junk", accept=TABLE))[0] == 400
    async with admin.post(WIDGETS, json=make_widget("new"), headers={"Accept": TABLE}) as answer:
        created = await answer.json()
        assert (answer.status, created["kind"], created["rows"][0]["cells"]) == (201, "Table", ["new", "red"])
    async with admin.delete(f"{WIDGETS}/new", headers={"Accept": TABLE}) as answer:
        assert (await answer.json())["kind"] == "Status"


async def test_metadata_alone(admin, widgets):
    status, one = await get(admin, accept=PARTIAL, path=f"{WIDGETS}/a")
    assert (status, one["kind"], one["apiVersion"], "spec" in one) == (200, "PartialObjectMetadata", "meta.k8s.io/v1", False)
    _, many = await get(admin, accept=PARTIALS)
    assert (many["kind"], [item["kind"] for item in many["items"]]) == ("PartialObjectMetadataList", ["PartialObjectMetadata"] * 5)
    status, body = await get(admin, accept=PARTIAL)
    assert (status, body["reason"]) == (406, "NotAcceptable")
    assert body["message"] == "you requested PartialObjectMetadata, but the requested object is a list (*unstructured.UnstructuredList)"


@pytest.mark.parametrize("accept", [PARTIAL, TABLE])
async def test_watches_in_other_forms(admin, widgets, accept):
    query = "watch=true&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with admin.get(f"{WIDGETS}?{query}", headers={"Accept": accept}) as answer:
        events = [json.loads(line) for line in (await answer.read()).splitlines()]
    kind = "Table" if accept == TABLE else "PartialObjectMetadata"
    assert [(event["type"], event["object"]["kind"]) for event in events[:6]] == [("ADDED", kind)] * 5 + [("BOOKMARK", kind)]
    metadata = events[5]["object"]["metadata"] if accept == PARTIAL else events[5]["object"]["rows"][0]["object"]["metadata"]
    assert metadata["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_forms_of_the_text(admin, widgets):
    status, text = await get(admin, accept="application/yaml")
    assert (status, names(yaml.safe_load(text))) == (200, list("abcde"))
    status, text = await get(admin, accept="application/yaml", path=f"{WIDGETS}/nope")
    assert (status, yaml.safe_load(text)["reason"]) == (404, "NotFound")
    async with admin.get(f"{WIDGETS}/a", headers={"User-Agent": "curl/8"}) as answer:
        assert (await answer.text()).startswith('{\n  "')
    async with admin.get("/apis?pretty=true") as answer:
        assert (await answer.text()).startswith('{\n  "')
    status, body = await get(admin, accept="text/csv")
    assert (status, body["message"]) == (
        406, "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf",
    )  # fmt: skip


async def test_a_watch_from_the_future_waits_for_it(admin, widgets):
    _, now = await get(admin)
    future = int(now["metadata"]["resourceVersion"]) + 2
    async with admin.get(f"{WIDGETS}?watch=true&resourceVersion={future}") as answer:
        assert answer.status == 200
        for name in ("f1", "f2", "f3"):
            await create(admin, make_widget(name))
        event = json.loads(await answer.content.readline())
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "f3")


async def test_a_watch_from_before_the_kind_existed_is_too_old(api_server, admin, widgets):
    async with admin.get(f"{WIDGETS}?watch=true&resourceVersion=1") as answer:
        (line,) = (await answer.read()).splitlines()
        status = json.loads(line)["object"]
        assert (answer.status, status["code"], status["reason"]) == (200, 410, "Expired")
        assert status["message"].startswith("too old resource version: 1 (")
    await eventually(lambda: not api_server.api.registry.cache(api_server.api.table.find("example.dev", "v1", "widgets")).watchers())


async def test_no_initial_events(admin, widgets):
    query = "watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with admin.get(f"{WIDGETS}?{query}") as answer:
        await create(admin, make_widget("late"))
        assert json.loads(await answer.content.readline())["object"]["metadata"]["name"] == "late"


async def test_a_watch_of_one_name(admin, widgets):
    path = f"/apis/example.dev/v1/watch/namespaces/{NS}/widgets/b"
    async with admin.get(f"{path}?timeoutSeconds=-1") as answer:
        (line,) = (await answer.read()).splitlines()
        assert json.loads(line)["object"]["metadata"]["name"] == "b"
    status, body = await get(admin, "fieldSelector=metadata.name%3Dother", path=path)
    assert (status, body["message"]) == (400, "fieldSelector metadata.name doesn't match requested name")


async def test_an_object_that_stops_matching_is_deleted_as_it_was_known(admin, widgets):
    async with admin.get(f"{WIDGETS}?watch=true&labelSelector=even%3Dtrue&fieldSelector=metadata.name%3Da") as answer:
        assert json.loads(await answer.content.readline())["type"] == "ADDED"
        patch = {"metadata": {"labels": {"even": "no"}}}
        async with admin.patch(f"{WIDGETS}/a", json=patch, headers={"Content-Type": "application/merge-patch+json"}) as done:
            revision = (await done.json())["metadata"]["resourceVersion"]
        event = json.loads(await answer.content.readline())
        assert (event["type"], event["object"]["metadata"]["resourceVersion"]) == ("DELETED", revision)
        assert event["object"]["metadata"]["labels"] == {"even": "true"}


async def test_a_body_that_names_a_field_twice(admin, widgets):
    twice = b'{"apiVersion":"example.dev/v1","kind":"Widget","metadata":{"name":"t"},"spec":{"size":1,"size":2,"more":1}}'
    headers = {"Content-Type": "application/json"}
    async with admin.post(f"{WIDGETS}?fieldValidation=Strict", data=twice, headers=headers) as answer:
        assert answer.status == 400
        expected = 'strict decoding error: duplicate field "spec.size", unknown field "spec.more"'
        assert (await answer.json())["message"] == f'Widget in version "v1" cannot be handled as a Widget: {expected}'
    async with admin.post(f"{WIDGETS}?fieldValidation=Warn", data=twice, headers=headers) as answer:
        assert (answer.status, (await answer.json())["spec"]) == (201, {"size": 2})
        assert answer.headers.getall("Warning") == [
            r'299 - "duplicate field \"spec.size\""', r'299 - "unknown field \"spec.more\""',
        ]  # fmt: skip
