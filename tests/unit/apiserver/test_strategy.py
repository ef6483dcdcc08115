"""What each kind accepts, defaults and keeps: objects through the write pipeline, without a store."""

import copy
import random
from datetime import UTC, datetime

import pytest

from controller.apiserver.request import User
from controller.apiserver.resources import build_table
from controller.apiserver.subresources import apply_scale, check_scale, parse_binding, scale_of
from controller.apiserver.writing import WriteOptions, Writer
from lattice.api import errors

TABLE = {resource.kind: resource for resource in build_table().stored}
NOW = datetime(2026, 11, 21, tzinfo=UTC)
CONTAINER = {"name": "a", "image": "busybox"}


def create(kind, body, name="x"):
    writer, body = Writer(TABLE[kind]), copy.deepcopy(body)
    obj = writer.match_request(
        {"apiVersion": TABLE[kind].group_version, "kind": kind, "metadata": {"name": name}, **body}, namespace="default"
    )
    writer.shape(obj, WriteOptions(User("u")))
    writer.prepare_create(obj, now=NOW, rng=random.Random(1))
    writer.check_create(obj)
    return obj


def update(kind, old, change, subresource=""):
    writer = Writer(TABLE[kind])
    new = writer.match_request({**old, **change}, namespace="default", name=old["metadata"]["name"])
    writer.shape(new, WriteOptions(User("u")))
    return writer.finish_update({**new, "metadata": dict(new["metadata"])}, old, subresource=subresource)


def pod(**container):
    return {"spec": {"containers": [{**CONTAINER, **container}]}}


REFUSED = [
    ("Pod", {"spec": {"containers": []}}, "spec.containers"),
    ("Pod", {"spec": {"containers": [CONTAINER, CONTAINER]}}, "spec.containers[1].name"),
    ("Pod", pod(image=""), "spec.containers[0].image"),
    ("Pod", pod(name="Bad_Name"), "spec.containers[0].name"),
    ("Pod", pod(ports=[{"containerPort": 0}]), "spec.containers[0].ports[0].containerPort"),
    ("Pod", pod(ports=[{"containerPort": 1}, {"containerPort": 1}]), "spec.containers[0].ports[1]"),
    ("Pod", pod(env=[{"name": "A=B"}]), "spec.containers[0].env[0].name"),
    ("Pod", pod(env=[{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]), "spec.containers[0].env[0].valueFrom"),
    ("Pod", pod(env=[{"name": "A", "valueFrom": {}}]), "spec.containers[0].env[0].valueFrom"),
    ("Pod", pod(volumeMounts=[{"name": "v", "mountPath": "/v"}]), "spec.containers[0].volumeMounts[0].name"),
    ("Pod", pod(resources={"limits": {"cpu": "many"}}), "spec.containers[0].resources.limits.cpu"),
    ("Pod", pod(resources={"limits": {"cpu": "-1"}}), "spec.containers[0].resources.limits[cpu]"),
    ("Pod", pod(resources={"limits": {"cpu": 1}, "requests": {"cpu": "1001m"}}), "spec.containers[0].resources.requests"),
    ("Pod", {"spec": {"containers": [CONTAINER], "restartPolicy": "Sometimes"}}, "spec.restartPolicy"),
    ("Pod", {"spec": {"containers": [CONTAINER], "terminationGracePeriodSeconds": -1}}, "spec.terminationGracePeriodSeconds"),
    ("ConfigMap", {"data": {"a/b": "x"}}, "data[a/b]"),
    ("ConfigMap", {"binaryData": {"a": "%"}}, "binaryData[a]"),
    ("Secret", {"data": {"a": "plain text"}}, "data[a]"),
    ("PersistentVolumeClaim", {"spec": {}}, "spec.accessModes"),
    ("PersistentVolumeClaim", {"spec": {"accessModes": ["ReadWriteOnce"]}}, "spec.resources[storage]"),
    ("Node", {"spec": {"taints": [{"key": "-", "effect": "NoSchedule"}]}}, "spec.taints[0].key"),
    ("Node", {"status": {"capacity": {"cpu": "-1"}}}, "status.capacity.limits[cpu]"),
    ("Event", {"involvedObject": {"namespace": "other"}}, "involvedObject.namespace"),
    ("Event", {"lastTimestamp": "yesterday"}, "lastTimestamp"),
    ("Lease", {"spec": {"leaseDurationSeconds": 0}}, "spec.leaseDurationSeconds"),
    ("Lease", {"spec": {"leaseTransitions": 2**63}}, "spec.leaseTransitions"),
    ("Lease", {"spec": {"renewTime": "0001-01-01T00:00:00+10:00"}}, "spec.renewTime"),
    ("Workload", {"spec": {}}, "spec"),
    ("Workload", {"spec": {"image": "x", "preset": {"name": "redis", "version": "7"}}}, "spec"),
    ("Workload", {"spec": {"image": "x", "replicas": 1001}}, "spec.replicas"),
    ("Workload", {"spec": {"image": "x", "storage": {"size": "-1Gi"}}}, "spec.storage.requests[storage]"),
]


@pytest.mark.parametrize(("kind", "body", "field"), REFUSED)
def test_refused(kind, body, field):
    with pytest.raises(errors.InvalidError) as caught:
        create(kind, body)
    assert field in [cause.field for cause in caught.value.causes]


def test_workload_names_leave_room_for_their_pods():
    create("Workload", {"spec": {"image": "x"}}, name="a" * 40)
    with pytest.raises(errors.InvalidError, match="Pod names are made of it"):
        create("Workload", {"spec": {"image": "x"}}, name="a" * 41)


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("busybox", "Always"),
        ("busybox:latest", "Always"),
        ("busybox:1.36", "IfNotPresent"),
        ("r.dev:5000/a", "Always"),
        ("a@sha256:0", "IfNotPresent"),
    ],
)
def test_pod_defaults(image, policy):
    made = create("Pod", pod(image=image))
    assert made["spec"]["containers"][0]["imagePullPolicy"] == policy
    assert (made["spec"]["restartPolicy"], made["spec"]["terminationGracePeriodSeconds"]) == ("Always", 30)
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}


def test_event_times_are_stored_in_whole_seconds():
    who = {"reportingComponent": "c", "reportingInstance": "i", "action": "A", "reason": "R"}
    when = {"firstTimestamp": "2026-11-21T10:00:00.123456+02:00", "eventTime": "2026-11-21T10:00:00.123456+00:00"}
    made = create("Event", {**who, **when})
    assert made["firstTimestamp"] == "2026-11-21T08:00:00Z"


def test_lists_of_built_in_types_may_have_duplicates_and_those_of_definitions_not():
    twice = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    made = create("Pod", pod(env=twice))
    assert made["spec"]["containers"][0]["env"] == twice
    with pytest.raises(errors.InvalidError):
        create("Workload", {"spec": {"image": "x", "env": twice}})


def test_status_is_kept_apart():
    old = create("Workload", {"spec": {"image": "x"}, "status": {"phase": "Running"}})
    assert "status" not in old
    new = update("Workload", old, {"spec": {"image": "y"}, "status": {"phase": "Running"}}, "status")
    assert (new["spec"], new["status"], new["metadata"]["generation"]) == (old["spec"], {"phase": "Running"}, 1)
    after = update("Workload", new, {"spec": {"image": "y"}, "status": {"phase": "Failed"}})
    assert (after["spec"]["image"], after["status"], after["metadata"]["generation"]) == ("y", {"phase": "Running"}, 2)


CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
CHANGES = [
    ("Secret", {"type": "a"}, {"type": "b"}),
    ("Secret", {"immutable": True}, {"data": {"a": "YQ=="}}),
    ("ConfigMap", {"immutable": True}, {"immutable": False}),
    ("Node", {"spec": {"providerID": "lattice://a"}}, {"spec": {"providerID": "lattice://b"}}),
    ("PersistentVolumeClaim", {"spec": CLAIM}, {"spec": {**CLAIM, "accessModes": ["ReadOnlyMany"]}}),
    ("PersistentVolume", {"spec": {"csi": {"driver": "d", "volumeHandle": "a"}}}, {"spec": {"csi": {"driver": "d", "volumeHandle": "b"}}}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body", "change"), CHANGES)
def test_what_may_not_change(kind, body, change):
    with pytest.raises(errors.InvalidError):
        update(kind, create(kind, body), change)


def test_a_claim_is_bound_once():
    old = create("PersistentVolumeClaim", {"spec": CLAIM})
    bound = update("PersistentVolumeClaim", old, {"spec": {**old["spec"], "volumeName": "v"}})
    with pytest.raises(errors.InvalidError):
        update("PersistentVolumeClaim", bound, {"spec": {**old["spec"], "volumeName": "w"}})


def test_scale():
    obj = {
        "metadata": {"name": "w", "namespace": "default", "resourceVersion": "3"},
        "spec": {"image": "x", "replicas": 1},
        "status": {"replicas": 1, "selector": "a=b"},
    }
    scale = scale_of(TABLE["Workload"], obj)
    assert (scale["spec"], scale["status"]) == ({"replicas": 1}, {"replicas": 1, "selector": "a=b"})
    changed = apply_scale(TABLE["Workload"], obj, {**scale, "spec": {"replicas": 4}})
    assert (changed["spec"], changed["metadata"]["resourceVersion"]) == ({"image": "x", "replicas": 4}, "3")
    below_zero = apply_scale(TABLE["Workload"], obj, {"spec": {"replicas": -1}})
    assert [cause.field for cause in check_scale(TABLE["Workload"], below_zero)] == [".spec.replicas"]
    for replicas in (True, "1", 2**31):
        with pytest.raises(errors.BadRequestError):
            apply_scale(TABLE["Workload"], obj, {"spec": {"replicas": replicas}})
    with pytest.raises(errors.BadRequestError):
        apply_scale(TABLE["Workload"], obj, [])


def test_binding():
    assert parse_binding({"metadata": {"name": "p", "uid": "u"}, "target": {"kind": "Node", "name": "n"}}, name="p") == ("n", "u")
    assert parse_binding({"target": {"name": "n"}}, name="p") == ("n", "")
    for body in ({}, {"target": {"name": ""}}, {"target": {"kind": "Pod", "name": "n"}}):
        with pytest.raises(errors.InvalidError):
            parse_binding(body, name="p")
    for body in ([], {"kind": "Pod"}, {"metadata": {"name": "q"}, "target": {"name": "n"}}):
        with pytest.raises(errors.BadRequestError):
            parse_binding(body, name="p")
