"""The status of a Pod does not go back: the server refuses the record of an agent that is older than the one it has."""

from __future__ import annotations

from typing import Any

import pytest

from lattice.api import errors, names, pod
from lattice.client.client import Client


async def write(client: Client, record: str | None, phase: str) -> pod.Pod:
    body: dict[str, Any] = {"status": {"phase": phase}}
    if record is not None:
        body["metadata"] = {"annotations": {names.ANNOTATION_STATUS_RECORD: record}}
    return await client.patch(pod.Pod, "p", "default", body, subresource="status")


@pytest.fixture
async def made(client: Client) -> pod.Pod:
    spec = {"containers": [{"name": "main", "image": "busybox"}]}
    return await client.create(pod.Pod.model_validate({"metadata": {"name": "p", "namespace": "default"}, "spec": spec}))


async def test_an_older_record_is_refused_and_the_same_may_come_again(client: Client, made: pod.Pod) -> None:
    assert (await write(client, "10", "Running")).status.phase == "Running"
    assert (await write(client, "11", "Failed")).status.phase == "Failed"
    with pytest.raises(errors.ConflictError, match="record 10 is older than that of record 11") as refused:
        await write(client, "10", "Running")
    assert [cause["reason"] for cause in refused.value.details["causes"]] == [names.REASON_OLDER_RECORD]
    found = await client.get(pod.Pod, "p", "default")
    assert found.status.phase == "Failed"
    again = await write(client, "11", "Failed")
    assert again.metadata.resource_version == found.metadata.resource_version


async def test_who_sends_no_record_or_nonsense_is_not_held_up(client: Client, made: pod.Pod) -> None:
    await write(client, "10", "Running")
    assert (await write(client, None, "Failed")).status.phase == "Failed"
    assert (await write(client, "x", "Running")).status.phase == "Running"
    assert (await write(client, "3", "Failed")).status.phase == "Failed"  # nonsense is no record to compare with


async def test_other_writes_of_the_pod_are_not_judged(client: Client, made: pod.Pod) -> None:
    await write(client, "10", "Running")
    changed = await client.patch(pod.Pod, "p", "default", {"metadata": {"annotations": {names.ANNOTATION_STATUS_RECORD: "1"}}})
    assert changed.metadata.annotations[names.ANNOTATION_STATUS_RECORD] == "1"
