"""The form of answers that clients negotiate, where they ask for something unusual."""

import pytest

from lattice.testing.specimens import definition

GROUP = "forms.example.dev"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SPECIMENS = f"/apis/{GROUP}/v1/namespaces/default/specimens"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PROTOBUF = "application/vnd.kubernetes.protobuf"


@pytest.fixture
async def session(api_server):
    async with api_server.session() as session:
        async with session.post(CRDS, json=definition(GROUP)) as answer:
            assert answer.status == 201, await answer.text()
        body = {"apiVersion": f"{GROUP}/v1", "kind": "Specimen", "metadata": {"name": "web"}, "spec": {"image": "a", "replicas": 3}}
        async with session.post(SPECIMENS, json=body) as answer:
            assert answer.status == 201, await answer.text()
        yield session


async def test_a_scale_is_printed_with_columns_of_its_own(session):
    async with session.get(f"{SPECIMENS}/web/scale", headers={"Accept": TABLE}) as answer:
        assert answer.status == 200
        table = await answer.json()
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
    (row,) = table["rows"]
    assert row["cells"][:3] == ["web", 3, 0]
    assert row["object"]["kind"] == "PartialObjectMetadata"
    assert set(row["object"]["metadata"]) == {"name", "namespace", "uid", "resourceVersion", "creationTimestamp"}


@pytest.mark.parametrize(("path", "shown"), [(SPECIMENS, "UnstructuredList"), (f"{SPECIMENS}/web", "Unstructured")])
async def test_custom_resources_have_no_protobuf_form(session, path, shown):
    async with session.get(path, headers={"Accept": PROTOBUF}) as answer:
        assert (answer.status, answer.content_type) == (406, PROTOBUF)
        text = f"object *unstructured.{shown} does not implement the protobuf marshalling interface"
        assert text.encode() in await answer.read()
    async with session.get(path, headers={"Accept": "text/html"}) as answer:
        assert (answer.status, answer.content_type) == (406, "application/json")
        assert (await answer.json())["message"].startswith("only the following media types are accepted: application/json, ")
