"""Metadata that is made to harm: as much of it as a request may carry."""

import io
import json
import time

import pytest

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


async def call(session, method, path, body=None, kind="application/json"):
    async with session.request(method, path, data=io.BytesIO(json.dumps(body or {}).encode()), headers={"Content-Type": kind}) as answer:
        return answer.status, await answer.read()


@pytest.fixture
async def admin(api_server):
    async with api_server.session() as session:
        yield session


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": {f"no label {index}": "v" for index in range(100_000)}},
        {"annotations": {f"no key {index}": "v" for index in range(100_000)}},
        {"finalizers": [f"no name {index}" for index in range(100_000)]},
        {"ownerReferences": [{"apiVersion": "v1", "kind": "", "name": "", "uid": f"{index}"} for index in range(40_000)]},
    ],
    ids=lambda metadata: next(iter(metadata)),
)
async def test_the_answer_to_what_is_wrong_everywhere_has_a_bound(admin, metadata):
    status, body = await call(admin, "POST", CONFIGMAPS, {"metadata": {"name": "wrong", **metadata}})
    causes = json.loads(body)["details"]["causes"]
    assert (status, len(causes)) == (422, 1_000)
    assert len(body) < 2_000_000


async def test_many_finalizers_for_many_others(admin):
    """Each was once compared with each: ten billion comparisons for two lists of a hundred thousand."""
    metadata = {"name": "held", "finalizers": [f"a/{index:06d}" for index in range(60_000)]}
    assert (await call(admin, "POST", CONFIGMAPS, {"metadata": metadata}))[0] in {201, 500}
    metadata["finalizers"] = metadata["finalizers"][:20_000]
    await call(admin, "POST", CONFIGMAPS, {"metadata": metadata})
    assert (await call(admin, "DELETE", f"{CONFIGMAPS}/held"))[0] == 200
    change = {"metadata": {"finalizers": [f"b/{index:06d}" for index in range(60_000)]}}
    begin = time.process_time()
    status, body = await call(admin, "PATCH", f"{CONFIGMAPS}/held", change, "application/merge-patch+json")
    assert (status, json.loads(body)["reason"]) == (422, "Invalid")
    assert time.process_time() - begin < 5, "of CPU; it was minutes"
