"""Schemas, defaults, pruning, definitions, certificates."""

import random
import ssl
from datetime import timedelta

import jsonschema_rs
import pytest
import yaml
from cryptography import x509

from controller.apiserver import bodies, shaping, tls
from controller.apiserver.encoding import Codec
from controller.apiserver.metadata import fill_new
from controller.apiserver.resources import build_table
from controller.apiserver.structural.structural import Structural
from lattice.api import crds, errors, pod, schema, scheme, validation, workload
from lattice.machinery.clock import SystemClock

FORBIDDEN = {"$ref", "$defs", "title", "const", "exclusiveMinimum", "oneOf", "allOf"}


def nodes(node):
    yield node
    for child in (*node.get("properties", {}).values(), node.get("items"), node.get("additionalProperties")):
        if isinstance(child, dict):
            yield from nodes(child)


@pytest.mark.parametrize("kind", scheme.KINDS, ids=lambda kind: kind.KIND)
def test_schemas_are_structural(kind):
    for node in nodes(schema.object_schema(kind)):
        assert not FORBIDDEN & node.keys()
        assert "type" in node or node.get("x-kubernetes-int-or-string")
        assert not ("properties" in node and "additionalProperties" in node)
    jsonschema_rs.Draft202012Validator(schema.object_schema(kind))


@pytest.mark.parametrize("kind", scheme.KINDS, ids=lambda kind: kind.KIND)
def test_every_field_is_described(kind):
    spec = schema.object_schema(kind)["properties"]
    for name, child in spec.items():
        for node in nodes(child):
            for field, inner in node.get("properties", {}).items():
                assert inner.get("description"), f"{kind.KIND}.{name}…{field}"


def test_definitions_are_up_to_date():
    assert crds.stale_files() == []


def test_definitions_say_how_to_write_status_and_scale():
    definition = yaml.safe_load(crds.render_all()["workloads.lattice.dev.yaml"])
    (version,) = definition["spec"]["versions"]
    assert definition["metadata"]["name"] == "workloads.lattice.dev"
    assert version["subresources"]["scale"]["specReplicasPath"] == ".spec.replicas"
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert spec["x-kubernetes-validations"][0]["rule"] == "has(self.preset) != has(self.image)"


def test_defaults_nulls_and_unknown_fields():
    shape = Structural(schema.object_schema(pod.Pod))
    obj = {
        "metadata": {"name": "x", "bogus": 1},
        "spec": {
            "containers": [
                {
                    "name": "a",
                    "image": None,
                    "ports": [{"containerPort": 80, "protocol": None}],
                    "zap": 1,
                    "resources": {"limits": {"cpu": 0.5, "memory": 1024}},
                }
            ],
            "nodeSelector": {"a": None, "b": "c"},
        },
    }
    assert shape.normalise(obj) == ["metadata.bogus", "spec.containers[0].zap"]
    (container,) = obj["spec"]["containers"]
    assert container == {
        "name": "a",
        "ports": [{"containerPort": 80, "protocol": "TCP"}],
        "resources": {"limits": {"cpu": "0.5", "memory": "1024"}},
    }
    assert obj["spec"]["nodeSelector"] == {"b": "c"}


def test_normalising_twice_changes_nothing():
    shape = Structural(schema.object_schema(workload.Workload))
    obj = {"metadata": {}, "spec": {"image": "x", "ports": [{"containerPort": 1}], "storage": {}}}
    shape.normalise(obj)
    again = yaml.safe_load(yaml.safe_dump(obj))
    assert shape.normalise(again) == []
    assert again == obj


def test_long_values_are_not_echoed():
    assert len(shaping.invalid("f", "x" * 10_000, "no").message) < 400


def test_served_form_is_a_splice():
    resource = build_table().find("", "v1", "configmaps")
    codec = Codec(resource)
    obj = {"metadata": {"name": "a", "resourceVersion": "3"}, "data": {"x": "1"}}
    stored = codec.encode(obj)
    assert b"resourceVersion" not in stored
    assert codec.decode(codec.served(stored, 7), 7) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "resourceVersion": "7"},
        "data": {"x": "1"},
    }
    foreign = b'{"metadata": {"name": "a"}, "kind": "ConfigMap"}'
    assert b'"resourceVersion":"7"' in codec.served(foreign, 7)


@pytest.mark.parametrize("text", ["a: &x [1]\nb: *x\n", "a: [", "!!python/object:os.system {}", "a: !!set {x}\n", "[" * 5000])
def test_yaml_that_is_no_json_is_refused(text):
    with pytest.raises(errors.BadRequestError):
        bodies.parse(text.encode(), "application/yaml", what="Pod")


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (validation.check_subdomain, ["a", "a.b", "a-b.c", "1"], ["", "A", "a_b", "-a", "a.", "a..b", "a" * 254, "a\n"]),
        (validation.check_label, ["a", "a-b"], ["", "a.b", "a" * 64, "a\n"]),
        (validation.check_label_value, ["", "A_b.c"], ["-", "a b", "a" * 64, "a\n"]),
        (validation.check_qualified_name, ["a", "x.dev/A"], ["", "/a", "a/", "A/b", "x.dev/a/b", "a\n"]),
    ],
)
def test_syntax(check, good, bad):
    assert [value for value in good if check(value)] == []
    assert [value for value in bad if not check(value)] == []


def test_the_servers_fields_win_over_the_clients():
    clock = SystemClock()
    metadata = {
        "generateName": "g" * 80,
        "uid": "mine",
        "creationTimestamp": "2000-01-01T00:00:00Z",
        "deletionTimestamp": "x",
        "generation": 7,
    }
    fill_new(metadata, now=clock.now(), rng=random.Random(1))
    assert len(metadata["name"]) == 63
    assert metadata["uid"] != "mine"
    assert "deletionTimestamp" not in metadata
    assert metadata["creationTimestamp"] > "2026"


class Later(SystemClock):
    def __init__(self, days):
        self.days = days

    def now(self):
        return super().now() + timedelta(days=self.days)


def test_certificates_are_kept_renewed_and_private(tmp_path):
    directory = tmp_path / "tls"

    def serial(days=0, addresses=("10.0.0.1", "example.dev")):
        made = tls.ensure_certificates(directory, addresses=addresses, clock=Later(days))
        assert made.server_context().minimum_version >= ssl.TLSVersion.TLSv1_2
        return made.ca_pem, x509.load_pem_x509_certificate(made.certificate.read_bytes()).serial_number

    first = serial()
    assert serial() == first
    ca, renewed = serial(days=tls.LEAF_DAYS - tls.RENEW_BEFORE_DAYS + 1)
    assert (ca == first[0], renewed == first[1]) == (True, False)
    assert serial(addresses=("10.0.0.2",))[1] != renewed
    (directory / "server.key").write_bytes(b"damaged")
    assert serial()[0] == first[0]
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    assert directory.stat().st_mode & 0o777 == 0o700
