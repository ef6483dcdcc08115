"""Tables: ages in kubectl's words, cells of unfinished objects."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest

from controller.apiserver.resources import build_table
from controller.apiserver.tables import TableMaker, human_age, wants_table

NOW = datetime(2026, 11, 21, tzinfo=UTC)
KUBECTL = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (600, "10m"), (3 * 3600 - 1, "179m"), (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (8 * 3600, "8h"), (47 * 3600, "47h"), (48 * 3600, "2d"), (49 * 3600, "2d1h"), (8 * 86400, "8d"), (729 * 86400, "729d"),
        (730 * 86400, "2y"),
        (3000 * 86400, "8y"), (-5, "<invalid>"),
    ],
)  # fmt: skip
def test_ages(seconds, text):
    assert human_age((NOW - timedelta(seconds=seconds)).isoformat(), NOW) == text


def test_accept():
    assert wants_table(KUBECTL)
    assert not wants_table("application/json")
    assert not wants_table("*/*")
    assert not wants_table("")


@pytest.mark.parametrize("resource", build_table().all, ids=lambda resource: resource.kind)
def test_every_kind_has_a_row_even_when_empty(resource):
    body = {"kind": resource.kind, "metadata": {"name": "x", "creationTimestamp": "2026-11-20T23:59:00Z"}}
    table = orjson.loads(TableMaker(resource, "", NOW).render([orjson.dumps(body)], {"resourceVersion": "1"}))
    (row,) = table["rows"]
    assert len(row["cells"]) == len(table["columnDefinitions"])
    assert "60s" in row["cells"]
    assert row["object"]["kind"] == "PartialObjectMetadata"


def test_pod_cells():
    resource = build_table().find("", "v1", "pods")
    state = {"waiting": {"reason": "CrashLoopBackOff"}}
    body = {
        "metadata": {"name": "p", "creationTimestamp": "2026-11-20T23:59:00Z"},
        "spec": {"containers": [{}], "nodeName": "n1"},
        "status": {"phase": "Running", "containerStatuses": [{"ready": False, "restartCount": 3, "state": state}]},
    }
    table = orjson.loads(TableMaker(resource, "None", NOW).render([orjson.dumps(body)], {}))
    assert table["rows"] == [{"cells": ["p", "0/1", "CrashLoopBackOff", 3, "60s", "<none>", "n1"], "object": None}]
