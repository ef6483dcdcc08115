"""OpenAPI, strategic merge patch and times, through the whole server."""

import json
from pathlib import Path

import pytest
import yaml

DATA = Path(__file__).parents[2] / "data" / "openapi"
STRATEGIC = {"Content-Type": "application/strategic-merge-patch+json"}
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
GROUP_VERSION = "apis/example.dev/v1"


@pytest.fixture
async def http(api_server):
    async with api_server.session() as session:
        yield session


async def test_a_defined_kind_is_in_the_index_at_once(http):
    definition = yaml.safe_load((DATA / "specimens.yaml").read_text())
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    async with http.get("/openapi/v3") as answer:
        before = answer.headers["Last-Modified"]
        assert GROUP_VERSION not in (await answer.json(content_type=None))["paths"]
    async with http.post(path, json=definition) as answer:
        assert answer.status == 201
    async with http.get("/openapi/v3", headers={"If-Modified-Since": before}) as answer:
        url = (await answer.json(content_type=None))["paths"][GROUP_VERSION]["serverRelativeURL"]
    async with http.get(url) as answer:
        document = await answer.json()
    expected = json.loads((DATA / "specimens.json").read_text())
    assert document["paths"].keys() == expected["paths"].keys()
    name = "dev.example.v1.Specimen"
    assert document["components"]["schemas"][name] == expected["components"]["schemas"][name]


async def test_an_unknown_document_is_an_empty_answer_without_a_type(http):
    async with http.get("/openapi/v3/apis/nope/v1") as answer:
        assert (answer.status, await answer.read()) == (404, b"")
        assert "Content-Type" not in answer.headers


async def test_strategic_merge_of_finalizers(http):
    async with http.post(CONFIGMAPS, json={"metadata": {"name": "c", "finalizers": ["a/b"]}, "data": {"x": "1"}}) as answer:
        assert answer.status == 201
    patch = {"metadata": {"finalizers": ["c/d"]}, "data": {"y": "2"}}
    async with http.patch(f"{CONFIGMAPS}/c", data=json.dumps(patch), headers=STRATEGIC) as answer:
        merged = await answer.json()
    assert sorted(merged["metadata"]["finalizers"]) == ["a/b", "c/d"]
    assert merged["data"] == {"x": "1", "y": "2"}
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/b", "c/d"]}}
    async with http.patch(f"{CONFIGMAPS}/c", data=json.dumps(patch), headers=STRATEGIC) as answer:
        assert "finalizers" not in (await answer.json())["metadata"]
    async with http.patch(f"{CONFIGMAPS}/c", data=json.dumps({"$patch": "zap"}), headers=STRATEGIC) as answer:
        assert answer.status == 400


async def test_times_of_built_in_kinds_are_stored_in_one_form(http):
    sent = "2026-11-21T09:00:00.123456+02:00"
    event = {"metadata": {"generateName": "e-"}, "involvedObject": {"namespace": "default"}, "firstTimestamp": sent, "eventTime": sent}
    event |= {"action": "Action?", "reason": "Tested", "type": "Normal", "reportingComponent": "kopf", "reportingInstance": "dev"}
    async with http.post("/api/v1/namespaces/default/events", json=event) as answer:
        stored = await answer.json()
    assert (stored["firstTimestamp"], stored["eventTime"]) == ("2026-11-21T07:00:00Z", "2026-11-21T07:00:00.123456Z")
    lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a", "renewTime": sent, "leaseDurationSeconds": 15}}
    async with http.post("/apis/coordination.k8s.io/v1/namespaces/default/leases", json=lease) as answer:
        assert (await answer.json())["spec"]["renewTime"] == "2026-11-21T07:00:00.123456Z"
