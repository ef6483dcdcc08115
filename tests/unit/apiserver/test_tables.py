"""Tables: ages in kubectl's words, cells of unfinished objects, Pods in every state, columns of custom resources."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest

from controller.apiserver import negotiation, views
from controller.apiserver.printers import custom
from controller.apiserver.printers.base import human_age
from controller.apiserver.printers.kinds import OTHER, PRINTERS
from controller.apiserver.printers.pods import POD
from controller.apiserver.resources import Resource
from controller.apiserver.tables import TableMaker
from lattice.api import errors

NOW = datetime(2026, 11, 21, tzinfo=UTC)
CREATED = "2026-11-20T23:59:00Z"
COLUMNS = (
    {"name": "Image", "type": "string", "jsonPath": ".spec.image", "description": "The container image"},
    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
    {"name": "Node", "type": "string", "jsonPath": ".status.node", "priority": 1},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
)


def make_resource(columns=COLUMNS, *, custom=True, kind="Specimen"):
    return Resource(
        group="example.dev", version="v1", kind=kind, plural="specimens", singular="specimen", namespaced=True, schema={},
        columns=columns, custom=custom,
    )  # fmt: skip


def make_specimen(name="web", **spec):
    metadata = {"name": name, "namespace": "default", "resourceVersion": "7", "creationTimestamp": CREATED, "labels": {"a": "b"}}
    return {"apiVersion": "example.dev/v1", "kind": "Specimen", "metadata": metadata, "spec": {"image": "nginx:1", "replicas": 2, **spec}}


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


@pytest.mark.parametrize("printer", [*PRINTERS.values(), OTHER, custom.printer_of(COLUMNS)])
@pytest.mark.parametrize(
    "obj",
    [
        {"metadata": {"name": "x", "creationTimestamp": CREATED}},
        {"metadata": {"resourceVersion": "5"}},
        {"metadata": {"name": "x", "labels": None}, "spec": None, "status": {"conditions": None, "containerStatuses": [None, {}]}},
    ],
    ids=["new", "bookmark", "odd"],
)
def test_every_printer_fills_every_column_even_of_an_unfinished_object(printer, obj):
    cells = printer.cells(obj, NOW)
    assert len(cells) == len(printer.columns)
    orjson.dumps(cells)


def listed(maker, raw, metadata):
    return b"%b%b]}" % (maker.head(metadata), maker.row(raw))


def test_a_list_of_a_custom_resource_has_the_columns_of_its_definition():
    table = orjson.loads(
        listed(TableMaker(make_resource(), "", NOW), orjson.dumps(make_specimen()), {"resourceVersion": "9", "continue": ""})
    )
    assert table["metadata"] == {"resourceVersion": "9"}
    assert [(c["name"], c["type"], c["format"], c["priority"]) for c in table["columnDefinitions"]] == [
        ("Name", "string", "name", 0), ("Image", "string", "", 0), ("Replicas", "integer", "", 0), ("Node", "string", "", 1),
        ("Age", "date", "", 0),
    ]  # fmt: skip
    assert table["columnDefinitions"][1]["description"] == "The container image"
    assert table["columnDefinitions"][2]["description"] == "Custom resource definition column (in JSONPath format): .spec.replicas"
    (row,) = table["rows"]
    assert row["cells"] == ["web", "nginx:1", 2, None, "60s"]
    assert row["object"] == {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": make_specimen()["metadata"]}


def test_a_definition_without_columns_shows_the_age():
    table = orjson.loads(TableMaker(make_resource(None), "None", NOW).object(orjson.dumps(make_specimen())))
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Age"]
    assert table["rows"] == [{"cells": ["web", "60s"], "object": None}]
    assert table["metadata"] == {"resourceVersion": "7"}


@pytest.mark.parametrize(
    ("kind", "value", "cell"),
    [
        ("string", "a", "a"), ("string", 3, "3"), ("string", True, "true"), ("string", {"b": 1, "a": [2]}, '{"a":[2],"b":1}'),
        ("integer", 3, 3), ("integer", 3.7, 3), ("integer", "3", None), ("integer", True, None), ("number", 1.5, 1.5), ("number", 2, 2),
        ("number", "x", None), ("boolean", True, True), ("boolean", "true", None), ("date", CREATED, "60s"),
        ("date", "yesterday", "<invalid>"),
        ("date", "", "<unknown>"), ("date", 5, None), ("integer", None, None),
    ],
)  # fmt: skip
def test_cells_by_type(kind, value, cell):
    printer = custom.printer_of([{"name": "X", "type": kind, "jsonPath": ".spec.x"}])
    found = printer.cells({"metadata": {"name": "n"}, "spec": {"x": value}}, NOW)
    assert (found[1], type(found[1])) == (cell, type(cell))


def test_include_object():
    body = orjson.dumps(make_specimen())
    assert orjson.loads(TableMaker(make_resource(), "Object", NOW).object(body))["rows"][0]["object"] == make_specimen()
    with pytest.raises(errors.BadRequestError):
        TableMaker(make_resource(), "Everything", NOW)


def make_container(restarts=0, *, ready=False, name="c", last=None, **state):
    status = {"name": name, "restartCount": restarts, "ready": ready, "state": state}
    return {**status, "lastState": {"terminated": {"finishedAt": last}}} if last else status


RUNNING = make_container(ready=True, running={})


def running(*containers, phase="Running", **more):
    return {"status": {"phase": phase, "containerStatuses": list(containers), **more}}


def starting(*containers):
    return {**INIT, "status": {"phase": "Pending", "initContainerStatuses": list(containers)}}


LEAVING = {"metadata": {"deletionTimestamp": CREATED}}
CRASHING = make_container(2, last="2026-11-20T23:57:00Z", waiting={"reason": "CrashLoopBackOff"})
SIDECAR = {**make_container(4, name="s", ready=True, running={}), "started": True}
GATED = {"type": "PodScheduled", "reason": "SchedulingGated"}
INIT = {"spec": {"initContainers": [{"name": "i"}, {"name": "j"}]}}

PODS = [
    (running(RUNNING), "1/1", "Running", "0"),
    ({"status": {"phase": "Pending"}}, "0/1", "Pending", "0"),
    ({"status": {"phase": "Failed", "reason": "Evicted"}}, "0/1", "Evicted", "0"),
    (running(CRASHING), "0/1", "CrashLoopBackOff", "2 (3m ago)"),
    (running(make_container(1, terminated={"exitCode": 3}), phase="Failed"), "0/1", "ExitCode:3", "1"),
    (running(make_container(terminated={"signal": 9}), phase="Failed"), "0/1", "Signal:9", "0"),
    (running(make_container(terminated={"reason": "Completed"}), RUNNING), "1/1", "NotReady", "0"),
    (starting(make_container(name="i", running={})), "0/1", "Init:0/2", "0"),
    (starting(make_container(terminated={"exitCode": 0}), make_container(1, terminated={"exitCode": 2})), "0/1", "Init:ExitCode:2", "1"),
    (starting(make_container(name="i", waiting={"reason": "ErrImagePull"})), "0/1", "Init:ErrImagePull", "0"),
    (starting(make_container(name="i", waiting={"reason": "PodInitializing"})), "0/1", "Init:0/2", "0"),
    (
        {"spec": {"initContainers": [{"name": "s", "restartPolicy": "Always"}]}, **running(RUNNING, initContainerStatuses=[SIDECAR])},
        "2/2", "Running", "4",
    ),
    ({**LEAVING, **running(RUNNING)}, "1/1", "Terminating", "0"),
    ({**LEAVING, "status": {"phase": "Succeeded"}}, "0/1", "Succeeded", "0"),
    ({"status": {"phase": "Pending", "conditions": [GATED]}}, "0/1", "SchedulingGated", "0"),
]  # fmt: skip


@pytest.mark.parametrize(("pod", "ready", "status", "restarts"), PODS)
def test_pods(pod, ready, status, restarts):
    metadata = {"name": "p", "creationTimestamp": CREATED, **pod.get("metadata", {})}
    cells = POD.cells({**pod, "metadata": metadata, "spec": {"containers": [{}], **pod.get("spec", {})}}, NOW)
    assert cells == ["p", ready, status, restarts, "60s", "<none>", "<none>", "<none>", "<none>"]


def test_an_ended_pod_says_so_in_its_row():
    body = {"metadata": {"name": "p"}, "spec": {}, "status": {"phase": "Succeeded"}}
    resource = make_resource(custom=False, kind="Pod")
    (row,) = orjson.loads(TableMaker(resource, "None", NOW).object(orjson.dumps(body)))["rows"]
    assert row["conditions"][0]["reason"] == "Succeeded"


def test_event_cells():
    event = {
        "metadata": {"name": "e1"}, "type": "Warning", "reason": "KubeAPIReadyz", "message": "readyz=true\n",
        "involvedObject": {"kind": "Namespace", "name": "openshift"}, "source": {"component": "apiserver", "host": "vm"},
        "firstTimestamp": CREATED, "lastTimestamp": CREATED, "count": 1,
    }  # fmt: skip
    shown = ["60s", "Warning", "KubeAPIReadyz", "namespace/openshift", "", "apiserver, vm", "readyz=true", "60s", 1, "e1"]
    assert PRINTERS["Event"].cells(event, NOW) == shown
    series = {**event, "series": {"count": 4, "lastObservedTime": "2026-11-20T23:59:58Z"}}
    assert PRINTERS["Event"].cells(series, NOW)[0] == "2s"
    assert PRINTERS["Event"].cells(series, NOW)[8] == 4


def test_node_roles_and_status():
    labels = {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": ""}
    node = {
        "metadata": {"name": "n", "labels": labels},
        "spec": {"unschedulable": True},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    assert PRINTERS["Node"].cells(node, NOW)[1:3] == ["Ready,SchedulingDisabled", "control-plane,worker"]
    assert PRINTERS["Node"].cells({"metadata": {"name": "n"}}, NOW)[1:3] == ["Unknown", "<none>"]


def form_of(target, version="v1"):
    return negotiation.Form("json", target, version)


async def lines_of(view, lines):
    async def batches():
        yield lines

    return [orjson.loads(line) async for found in views.convert(batches(), view) for line in found]


async def test_in_a_watch_only_the_first_event_names_the_columns():
    view = views.choose(form_of("Table"), make_resource(), {}, lambda: NOW, watched=True)
    body = orjson.dumps(make_specimen())
    bookmark = b'{"type":"BOOKMARK","object":{"kind":"Specimen","metadata":{"resourceVersion":"9"}}}\n'
    error = b'{"type":"ERROR","object":{"kind":"Status","code":410}}\n'
    lines = [b'{"type":"ADDED","object":%b}\n' % body, b'{"type":"DELETED","object":%b}\n' % body, bookmark, error]
    first, second, third, last = await lines_of(view, lines)
    assert (first["type"], len(first["object"]["columnDefinitions"])) == ("ADDED", 5)
    assert (second["type"], second["object"]["columnDefinitions"]) == ("DELETED", None)
    assert second["object"]["rows"][0]["cells"][0] == "web"
    assert third["object"]["metadata"] == {"resourceVersion": "9"}
    assert last == {"type": "ERROR", "object": {"kind": "Status", "code": 410}}


async def test_metadata_alone():
    raw = orjson.dumps(make_specimen())
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": make_specimen()["metadata"]}
    one = views.choose(form_of("PartialObjectMetadata"), make_resource(), {}, lambda: NOW)
    assert orjson.loads(one.object(raw)) == partial
    many = views.choose(form_of("PartialObjectMetadataList"), make_resource(), {}, lambda: NOW, listed=True)
    found = orjson.loads(b"%b%b]}" % (many.head({"resourceVersion": "9", "continue": ""}), many.item(raw)))
    assert found == {
        "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "9"}, "items": [partial],
    }  # fmt: skip
    watch = views.choose(form_of("PartialObjectMetadata"), make_resource(), {}, lambda: NOW, watched=True)
    line = b'{"type":"ADDED","object":%b}\n' % raw
    assert watch.line(line) is watch.line(line)
    assert await lines_of(watch, [line]) == [{"type": "ADDED", "object": partial}]


@pytest.mark.parametrize(("target", "listed"), [("PartialObjectMetadata", True), ("PartialObjectMetadataList", False)])
def test_metadata_of_the_wrong_number_is_not_acceptable(target, listed):
    with pytest.raises(errors.NotAcceptableError, match=f"you requested {target}, but the requested object is"):
        views.choose(form_of(target), make_resource(), {}, lambda: NOW, listed=listed)
