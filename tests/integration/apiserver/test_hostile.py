"""What ``hack/fuzz`` has found, each as a test that says what the answer must be."""

import gzip
import logging

import pytest


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", b'{"metadata":{"name":"a"}}', 201),  # what a body is encoded with is not a matter of this API: it is taken as it is
        ("br", b'{"metadata":{"name":"a"}}', 201),
        ("gzip", gzip.compress(b'{"metadata":{"name":"a"}}'), 400),
        ("gzip", gzip.compress(b" " * (100 << 20)), 400),  # and never unpacked: this would be 100 MiB
    ],
)
async def test_content_encoding_of_a_request_is_ignored(api_server, caplog, encoding, body, status):
    caplog.set_level(logging.WARNING)
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    async with api_server.session() as session:
        async with session.post("/api/v1/namespaces/default/configmaps", data=body, headers=headers) as response:
            document = await response.json()
            assert (response.status, document["kind"]) == (status, "ConfigMap" if status == 201 else "Status")
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
