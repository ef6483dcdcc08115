"""What a real kube-apiserver 1.36 answered, request by request: the same writes must leave the same managedFields here."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from controller.apiserver.fieldmanager import entries, fieldset
from controller.apiserver.fieldmanager.ownership import FieldManager
from lattice.api import errors

RECORDED = json.loads((Path(__file__).parents[3] / "data" / "managedfields.json").read_bytes())
OBJECTS = RECORDED["objects"]
NO_STATUS_SUBRESOURCE = {"Event", "Lease", "ServiceAccount"}


@cache
def manager_of(version: str, kind: str) -> FieldManager:
    schema = RECORDED["schemas"][kind]
    head = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": RECORDED["metadata"]}
    return FieldManager(
        {**schema, "properties": {**head, **schema["properties"]}}, group_version=version, has_status=kind not in NO_STATUS_SUBRESOURCE
    )


def named(case: dict[str, Any]) -> str:
    return f"{case['from']}-{case['manager']}"


def own_time(obj: dict[str, Any]) -> datetime:
    """The time of the recorded write: the newest of its entries."""
    times = [entry["time"] for entry in obj["metadata"]["managedFields"] if "time" in entry]
    return datetime.fromisoformat(max(times, default="2026-01-01T00:00:00Z"))


def untimed(managed: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    return [{name: value for name, value in entry.items() if name != "time"} for entry in managed or ()]


@pytest.mark.parametrize("case", RECORDED["creations"], ids=named)
def test_a_creation_owns_what_the_recorded_one_did(case: dict[str, Any]) -> None:
    obj = OBJECTS[case["object"]]
    given = {**obj, "metadata": {name: value for name, value in obj["metadata"].items() if name != "managedFields"}}
    managed = manager_of(obj["apiVersion"], obj["kind"]).update(None, given, manager=case["manager"], now=own_time(obj))
    assert managed == obj["metadata"]["managedFields"]


@pytest.mark.parametrize("case", RECORDED["updates"], ids=named)
def test_an_update_leaves_the_recorded_owners(case: dict[str, Any]) -> None:
    before, after = OBJECTS[case["before"]], OBJECTS[case["after"]]
    sent = case.get("sent", before["metadata"].get("managedFields"))
    new = {**after, "metadata": {**after["metadata"], "managedFields": sent}}
    managed = manager_of(after["apiVersion"], after["kind"]).update(
        before, new, manager=case["manager"], now=own_time(after), subresource=case.get("subresource", "")
    )
    # Times are compared where the recording can tell them: a later write of the same second is not another time.
    assert untimed(managed) == untimed(after["metadata"]["managedFields"])
    assert ["time" in entry for entry in managed or ()] == ["time" in entry for entry in after["metadata"]["managedFields"]]


@pytest.mark.parametrize("case", RECORDED["applies"], ids=named)
def test_an_apply_merges_and_owns_as_recorded(case: dict[str, Any]) -> None:
    before = None if case["before"] is None else OBJECTS[case["before"]]
    after = OBJECTS[case["after"]]
    result = manager_of(after["apiVersion"], after["kind"]).apply(
        before, case["applied"], manager=case["manager"], force=case["force"], now=own_time(after)
    )
    assert untimed(result["metadata"]["managedFields"]) == untimed(after["metadata"]["managedFields"])
    merged, wanted = dict(result["spec"]), dict(after["spec"])
    # Defaults come after the merge: the recorded answer has the protocol of each port filled in.
    merged["ports"] = [{"protocol": "TCP", **port} for port in merged.get("ports", ())]
    wanted.setdefault("ports", [])
    assert merged == wanted
    assert result["metadata"].get("annotations") == after["metadata"].get("annotations")


@pytest.mark.parametrize("case", RECORDED["conflicts"], ids=named)
def test_a_conflict_reads_as_recorded(case: dict[str, Any]) -> None:
    before = OBJECTS[case["before"]]
    with pytest.raises(errors.ConflictError) as caught:
        manager_of(before["apiVersion"], before["kind"]).apply(
            before, case["applied"], manager=case["manager"], force=False, now=datetime(2026, 11, 21, tzinfo=UTC)
        )
    assert caught.value.to_status() == case["status"]


@pytest.mark.parametrize("managed", RECORDED["managedFields"], ids=lambda managed: managed[0]["manager"])
def test_reading_and_writing_recorded_managed_fields_changes_nothing(managed: list[dict[str, Any]]) -> None:
    assert entries.encode(entries.decode(managed)) == managed
    for entry in managed:
        assert fieldset.parse(entry["fieldsV1"]) == entry["fieldsV1"]
