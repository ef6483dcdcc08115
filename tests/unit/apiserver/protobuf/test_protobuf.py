"""The protobuf form of objects: recorded bodies, shapes of fields, and what must be refused."""

import base64
import json
from pathlib import Path

import pytest

from controller.apiserver.protobuf import decode, encode, wire
from lattice.api import errors

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())


def envelope(api_version: str, kind: str, raw: bytes, *rest: bytes) -> bytes:
    type_meta = wire.bytes_field(1, api_version.encode()) + wire.bytes_field(2, kind.encode())
    return b"k8s\0" + wire.bytes_field(1, type_meta) + wire.bytes_field(2, raw) + b"".join(rest)


@pytest.mark.parametrize("case", RECORDED, ids=[f"{number}-{case['what']}" for number, case in enumerate(RECORDED)])
def test_recorded_bytes_come_back_to_the_byte(case):
    body = base64.b64decode(case["base64"])
    assert encode(decode(body)) == body


def test_recorded_request_reads_as_the_json_form():
    assert decode(base64.b64decode(RECORDED[4]["base64"])) == {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "metadata": {},
        "spec": {
            "resourceAttributes": {
                "namespace": "other",
                "verb": "get",
                "group": "example.dev",
                "resource": "specimens",
                "subresource": "status",
                "name": "web",
            }
        },
    }


POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "web",
        "labels": {"b": "2", "a": "1"},
        "creationTimestamp": "2026-11-21T02:46:49Z",
        "deletionGracePeriodSeconds": 0,
        "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": False}],
    },
    "spec": {
        "containers": [
            {
                "name": "c",
                "image": "nginx",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": False}}}],
                "resources": {"limits": {"cpu": "100m"}},
                "livenessProbe": {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 3},
                "readinessProbe": {"tcpSocket": {"port": 80}},
                "securityContext": {"runAsUser": 0, "privileged": False},
            }
        ],
        "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "configMap": {"name": "cm", "defaultMode": 420}}],
        "securityContext": {"supplementalGroups": [0, -1, 5]},
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "hostNetwork": True,
        "tolerations": [{"key": "k", "tolerationSeconds": -1}],
    },
    "status": {"podIPs": [{"ip": "10.0.0.1"}], "startTime": "2026-11-21T02:46:49Z"},
}
EVENT = {
    "apiVersion": "v1",
    "kind": "Event",
    "metadata": {"generateName": "e-"},
    "involvedObject": {"kind": "Pod", "name": "web"},
    "eventTime": "2026-11-21T02:46:49.000007Z",
    "firstTimestamp": "1969-12-31T23:59:59Z",
    "count": 2,
}
NEW_EVENT = {
    "apiVersion": "events.k8s.io/v1",
    "kind": "Event",
    "metadata": {"name": "e"},
    "eventTime": "2026-11-21T02:46:49.000007Z",
    "series": {"count": 2, "lastObservedTime": "2026-11-21T02:46:50.000000Z"},
    "reportingController": "c",
    "regarding": {"kind": "Pod", "name": "web"},
    "note": "n",
    "deprecatedCount": 2,
}
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "AAH/", "empty": ""}, "immutable": False}
LEASE = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": "l"},
    "spec": {"holderIdentity": "", "leaseDurationSeconds": 15, "renewTime": "2026-11-21T02:46:49.123456Z"},
}
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "c"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": ""},
}
OPTIONS = {
    "apiVersion": "apps/v1",
    "kind": "DeleteOptions",
    "metadata": {},
    "gracePeriodSeconds": 0,
    "propagationPolicy": "Orphan",
    "preconditions": {"uid": "u"},
}
REVIEW = {
    "apiVersion": "authorization.k8s.io/v1",
    "kind": "SubjectAccessReview",
    "metadata": {},
    "spec": {"user": "u", "groups": ["a", ""], "extra": {"scopes": ["x", "y"], "none": []}},
    "status": {"allowed": True},
}


@pytest.mark.parametrize("obj", [POD, EVENT, NEW_EVENT, SECRET, LEASE, CLAIM, OPTIONS, REVIEW], ids=lambda obj: obj["kind"])
def test_object_survives_the_way_there_and_back(obj):
    encoded = encode(obj if obj is not OPTIONS else {key: value for key, value in obj.items() if key != "metadata"})
    assert encoded is not None
    assert decode(encoded) == obj


def test_zero_values_held_by_pointer_are_kept_and_others_read_as_absent():
    decoded = decode(envelope("v1", "Pod", wire.bytes_field(2, wire.integer_field(11, 0) + wire.integer_field(21, 0))))
    assert decoded["spec"] == {"automountServiceAccountToken": False}


def test_list_items_may_have_a_kind_of_their_own():
    items = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]
    encoded = encode({"apiVersion": "v1", "kind": "NamespaceList", "metadata": {"resourceVersion": "7"}, "items": items})
    assert encoded is not None
    assert decode(encoded)["items"] == [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]


@pytest.mark.parametrize(
    "obj",
    [
        {},
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}},
        {"apiVersion": "v2", "kind": "Namespace", "metadata": {}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "colour": "red"}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": 7}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generation": 1 << 63}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"creationTimestamp": "yesterday"}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": "n"},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"labels": ["a"]}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"finalizers": {"a": 1}}},
        {"apiVersion": "v1", "kind": "Secret", "data": {"a": "not base64!"}},
        {"apiVersion": "v1", "kind": "Pod", "spec": {"hostNetwork": "yes"}},
        {"apiVersion": "v1", "kind": "Pod", "spec": {"priority": True}},
        {"apiVersion": 1, "kind": "Pod"},
    ],
)
def test_object_that_would_lose_something_has_no_protobuf_form(obj):
    assert encode(obj) is None


NAME = wire.bytes_field(1, wire.bytes_field(1, b"n"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "expected prefix"),
        (b"{}", "expected prefix"),
        (b"k8s\0", 'no kind "" is registered'),
        (envelope("v1", "Nonesuch", b""), 'no kind "Nonesuch" is registered for version "v1"'),
        (envelope("v2", "Namespace", NAME), 'no kind "Namespace" is registered for version "v2"'),
        (envelope("v1", "Namespace", NAME, wire.bytes_field(3, b"gzip")), "is encoded"),
        (envelope("v1", "Namespace", NAME, wire.bytes_field(4, b"application/json")), "does not have a protobuf message"),
        (b"k8s\0" + wire.integer_field(2, 5), "wrong wire type 0 of field 2 of the envelope"),
        (envelope("v1", "Namespace", NAME)[:-1], "unexpected end"),
        (envelope("v1", "Namespace", b"\x0a\x05\x0a"), "unexpected end"),
        (envelope("v1", "Namespace", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), "unexpected end"),
        (envelope("v1", "Namespace", b"\x80" * 11), "more than 64 bits"),
        (envelope("v1", "Namespace", b"\x00\x00"), "illegal field number 0"),
        (envelope("v1", "Namespace", b"\x0b\x0c"), "illegal wire type 3"),
        (envelope("v1", "Namespace", wire.integer_field(1, 5)), "wrong wire type 0 of Namespace.metadata"),
        (envelope("v1", "Namespace", NAME + NAME), "Namespace.metadata is there twice"),
        (envelope("v1", "Namespace", wire.bytes_field(77, b"x")), "Namespace has no field 77"),
        (envelope("v1", "Namespace", wire.integer_field(77, 1)), "Namespace has no field 77"),
        (envelope("v1", "Pod", wire.bytes_field(2, wire.bytes_field(39, b"x"))), "PodSpec has no field 39"),
        (envelope("v1", "Namespace", wire.bytes_field(1, wire.bytes_field(1, b"\xff"))), "not UTF-8"),
        (envelope("v1", "Namespace", wire.bytes_field(1, wire.bytes_field(8, wire.integer_field(1, 1 << 62)))), "out of range"),
        (
            envelope("v1", "Namespace", wire.bytes_field(1, wire.bytes_field(17, wire.bytes_field(7, wire.bytes_field(1, b"{"))))),
            "not JSON",
        ),
        (
            envelope("v1", "Namespace", wire.bytes_field(1, wire.bytes_field(17, wire.bytes_field(7, wire.bytes_field(1, b"[" * 9999))))),
            "JSON",
        ),
        (envelope("v1", "ConfigMap", wire.integer_field(2, 1)), "wrong wire type 0 of ConfigMap.data"),
    ],
)
def test_bytes_that_are_no_object_are_a_bad_request(body, message):
    with pytest.raises(errors.BadRequestError, match=message):
        decode(body)


def test_unknown_field_that_is_zero_is_what_a_newer_client_sends():
    zeros = wire.bytes_field(77, b"") + wire.integer_field(78, 0)
    assert decode(envelope("v1", "Namespace", NAME + zeros)) == {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}


def test_body_of_very_many_tiny_messages_is_refused_before_it_fills_the_memory():
    spec = wire.bytes_field(2, b"") * 1_500_000  # empty containers: 3 MB that would be a hundred times that as objects
    with pytest.raises(errors.BadRequestError, match="more than 20000 fields"):
        decode(envelope("v1", "Pod", wire.bytes_field(2, spec)))


def test_refusal_does_not_quote_the_body():
    with pytest.raises(errors.BadRequestError) as caught:
        decode(envelope("v1", "Secret", wire.bytes_field(2, b"s3cret")))
    assert "s3cret" not in str(caught.value)


def test_packed_integers_are_read():
    packed = wire.bytes_field(4, wire.varint(7) + wire.varint(-1))
    decoded = decode(envelope("v1", "Pod", wire.bytes_field(2, wire.bytes_field(14, packed))))
    assert decoded["spec"]["securityContext"]["supplementalGroups"] == [7, -1]
