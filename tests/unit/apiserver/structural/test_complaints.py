"""What a wrong object is answered with, word by word, as a kube-apiserver 1.36 does."""

from typing import Any

import pytest

from controller.apiserver.structural import scale
from controller.apiserver.structural.structural import Structural
from lattice.testing import schemas
from lattice.testing.schemas import INTEGER, STRING, make_list, make_object

SPECIMEN = Structural(schemas.specimen_schema())


def found(schema: dict[str, Any], value: Any) -> set[str]:
    """Return ``field: message`` of each cause for ``{"field": value}``."""
    obj = {"field": value}
    return {f"{cause.field}: {cause.message}" for cause in Structural(make_object(field=schema)).check(obj)}


def complaints(obj: dict[str, Any], **options: Any) -> set[str]:
    SPECIMEN.normalise(obj)
    return {f"{cause.field}: {cause.message}" for cause in SPECIMEN.check(obj, **options)}


def test_every_wrong_field_of_an_object_is_named_at_once() -> None:
    obj = schemas.specimen(
        image="", replicas=-1, mode="Other", ports=[{"containerPort": 99999}, {"containerPort": 99999}], env=[{"value": "x"}],
        resources={"cpu": "zz"},
    )  # fmt: skip
    assert complaints(obj) == {
        r"""spec.resources.cpu: Invalid value: "zz": spec.resources.cpu in body should match '^[0-9]+(\.[0-9]+)?m?$'""",
        "spec.env[0].name: Required value",
        'spec.image: Invalid value: "": spec.image in body should be at least 1 chars long',
        'spec.mode: Unsupported value: "Other": supported values: "Fast", "Slow"',
        "spec.ports[0].containerPort: Invalid value: 99999: spec.ports[0].containerPort in body should be less than or equal to 65535",
        "spec.ports[1].containerPort: Invalid value: 99999: spec.ports[1].containerPort in body should be less than or equal to 65535",
        "spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0",
        'spec.ports[1]: Duplicate value: {"containerPort":99999,"protocol":"TCP"}',
    }


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"image": ...}, {"spec.image: Required value"}),
        ({"image": 5}, {'spec.image: Invalid value: "integer": spec.image in body must be of type string: "integer"'}),
        (
            {"replicas": "x", "env": "y"},
            {
                'spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"',
                'spec.env: Invalid value: "string": spec.env in body must be of type array: "string"',
            },
        ),
        (
            {"replicas": 1.5},
            {
                'spec.replicas: Invalid value: "float64": spec.replicas in body must be of type int32: "float64"',
                '<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.replicas',
            },
        ),
        (
            {"replicas": 2**31},
            {'<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.replicas'},
        ),
        (
            {"ports": [{"containerPort": 80}, {"containerPort": 80}]},
            {'spec.ports[1]: Duplicate value: {"containerPort":80,"protocol":"TCP"}'},
        ),
        ({"replicas": None, "mode": None}, set()),
        ({"replicas": 3.0}, set()),
    ],
)
def test_recorded_objects_get_the_recorded_texts(spec: dict[str, Any], expected: set[str]) -> None:
    assert complaints(schemas.specimen(**spec)) == expected


def test_a_write_of_the_status_is_checked_alone_and_named_relative_to_it() -> None:
    obj = {**schemas.specimen(image=""), "status": {"replicas": "x"}}
    assert complaints(obj, subresource="status") == {
        'status.replicas: Invalid value: "string": replicas in body must be of type integer: "string"'
    }


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"type": "object"}, None, {'field: Invalid value: "null": field in body must be of type object: "null"'}),
        ({"type": "object", "nullable": True}, None, set()),
        ({"nullable": True}, 1.2, set()),
        (INTEGER, 2**63, set()),  # no int64, and then a float without a fraction, as Go decodes it
        ({"x-kubernetes-int-or-string": True, "type": "integer"}, "50%", set()),
        ({"x-kubernetes-int-or-string": True}, True,
         {'field: Invalid value: "boolean": field in body must be of type integer,string: "boolean"'}),
        (schemas.int_or_string(), 1.2, {
            '<nil>: Invalid value: "": "field" must validate at least one schema (anyOf)',
            'field: Invalid value: "number": field in body must be of type integer,string: "number"',
            'field: Invalid value: "number": field in body must be of type integer: "number"',
        }),
        ({"x-kubernetes-int-or-string": True, "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}]}, [], {
            '<nil>: Invalid value: "": "field" must validate all the schemas (allOf). None validated',
            '<nil>: Invalid value: "": "field" must validate at least one schema (anyOf)',
            'field: Invalid value: "array": field in body must be of type integer,string: "array"',
            'field: Invalid value: "array": field in body must be of type integer: "array"',
        }),
        ({"type": "string", "oneOf": [{"pattern": "^a"}, {"pattern": "b$"}]}, "ab",
         {'<nil>: Invalid value: "": "field" must validate one and only one schema (oneOf). Found 2 valid alternatives'}),
        ({"type": "string", "oneOf": [{"pattern": "^a"}]}, "x", {
            '<nil>: Invalid value: "": "field" must validate one and only one schema (oneOf). Found none valid',
            "field: Invalid value: \"x\": field in body should match '^a'",
        }),
        ({"type": "string", "not": {"enum": ["x"]}}, "x", {'<nil>: Invalid value: "": "field" must not validate the schema (not)'}),
        ({**INTEGER, "enum": [1, 2]}, "x", {
            'field: Invalid value: "string": field in body must be of type integer: "string"',
            'field: Unsupported value: "x": supported values: "1", "2"',
        }),
        ({**STRING, "enum": ["a", "b"]}, True, {
            'field: Invalid value: "boolean": field in body must be of type string: "boolean"',
            'field: Unsupported value: true: supported values: "a", "b"',
        }),
        ({**STRING, "maxLength": 2}, "abc", {"field: Too long: may not be more than 2 bytes"}),
        ({**STRING, "maxLength": 1}, "abc", {"field: Too long: may not be more than 1 byte"}),
        ({**make_list(STRING), "maxItems": 2}, ["a", "b", "c"], {"field: Too many: 3: must have at most 2 items"}),
        ({**make_list(STRING), "minItems": 1}, [], {"field: Invalid value: 0: field in body should have at least 1 items"}),
        ({"type": "object", "maxProperties": 1, "additionalProperties": INTEGER}, {"a": 1, "b": 2},
         {"field: Too many: 2: must have at most 1 item"}),
        ({"type": "object", "minProperties": 1, "additionalProperties": INTEGER}, {},
         {"field: Invalid value: 0: field in body should have at least 1 properties"}),
        ({"type": "number", "minimum": 0.5, "exclusiveMinimum": True}, 0.5,
         {"field: Invalid value: 0.5: field in body should be greater than 0.5"}),
        ({"type": "number", "maximum": 10, "exclusiveMaximum": True}, 10,
         {"field: Invalid value: 10: field in body should be less than 10"}),
        ({**INTEGER, "multipleOf": 5}, 7, {"field: Invalid value: 7: field in body should be a multiple of 5"}),
        ({**STRING, "format": "date-time"}, "soon", {'field: Invalid value: "soon": field in body must be of type date-time: "soon"'}),
        ({**STRING, "format": "made-up"}, "x", set()),
        ({"type": "object", "additionalProperties": INTEGER}, {"a": "x"},
         {'field.a: Invalid value: "string": field.a in body must be of type integer: "string"'}),
        (make_list(STRING, kind="set"), ["a", "b", "a", "a"], {'field[2]: Duplicate value: "a"'}),
        (make_list(make_object(k=STRING), keys=("k",)), [{"k": "a"}, {}, {}, {"k": "a"}],
         {"field[2]: Duplicate value: {}", 'field[3]: Duplicate value: {"k":"a"}'}),
        ({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
          "items": {"x-kubernetes-preserve-unknown-fields": True}}, [1],
         {"field[0]: Invalid value: 1: must be an object for an array of list-type map"}),
    ],
)  # fmt: skip
def test_each_keyword_has_its_text(schema: dict[str, Any], value: Any, expected: set[str]) -> None:
    assert found(schema, value) == expected


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("date-time", ["2026-11-21T02:14:52Z", "2026-11-21t02:14:52.123456+01:00"],
         ["2026-11-21", "2026-13-01T00:00:00Z", "2026-11-21T24:00:00Z"]),
        ("date", ["2024-02-29"], ["2023-02-29", "1-1-1"]),
        ("ipv4", ["10.0.0.1"], ["10.0.0", "::1", "10.0.0.01"]),
        ("ipv6", ["::1", "fe80::1"], ["10.0.0.1", "fe80::1%eth0"]),
        ("cidr", ["10.0.0.0/8", "fd00::/64"], ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/08"]),
        ("uri", ["https://example.com/x", "/x"], ["example com", ""]),
        ("email", ["a@example.com"], ["a", "a@"]),
        ("hostname", ["example.com", "a"], ["-a", "a..b", ""]),
        ("uuid", ["eb4629c1-460d-4a7a-8873-a4addb481fbe"], ["eb4629c1", "x"]),
        ("uuid4", ["eb4629c1-460d-4a7a-8873-a4addb481fbe"], ["eb4629c1-460d-1a7a-8873-a4addb481fbe"]),
        ("byte", ["aGk="], ["a", "!!!!"]),
        ("duration", ["1h30m", "10 minutes", "0"], ["fast", ""]),
        ("password", ["anything"], []),
        ("mac", ["00:1b:63:84:45:e6"], ["00:1b"]),
        ("k8s-short-name", ["web"], ["Web", "a.b"]),
    ],
)  # fmt: skip
def test_formats_accept_and_refuse(form: str, good: list[str], bad: list[str]) -> None:
    schema = {"type": "string", "format": form}
    assert {text for text in good if found(schema, text)} == set()
    assert {text for text in bad if not found(schema, text)} == set()


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"^[[:alpha:]]+\z", "abc", "abc\n"),
        (r"^\Qa.b\E$", "a.b", "axb"),
        (r"^\d+$", "12", "١٢"),
        (r"(?i)^[\w-.]+$", "A-b.c", "ä"),
    ],
)
def test_patterns_mean_what_they_mean_in_go(pattern: str, good: str, bad: str) -> None:
    schema = {"type": "string", "pattern": pattern}
    assert found(schema, good) == set()
    assert found(schema, bad) != set()


@pytest.mark.timeout(5)
def test_a_pattern_that_backtracks_elsewhere_is_linear_here() -> None:
    assert found({"type": "string", "pattern": "^(([a-z])+.)+[A-Z]([a-z])+$"}, "a" * 200_000) != set()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"spec": {"replicas": -1}}, [".spec.replicas: Invalid value: -1: should be a non-negative integer"]),
        ({"spec": {"replicas": "x"}},
         [".spec.replicas: Invalid value: 0: .spec.replicas accessor error: x is of the type string, expected int64"]),
        ({"spec": {"replicas": 1.5}},
         [".spec.replicas: Invalid value: 0: .spec.replicas accessor error: 1.5 is of the type float64, expected int64"]),
        ({"spec": {"replicas": 2**31}}, [".spec.replicas: Invalid value: 2147483648: should be less than or equal to 2147483647"]),
        ({"spec": 3}, [".spec.replicas: Invalid value: 0: .spec accessor error: 3 is of the type int64, expected map[string]interface{}"]),
        ({"spec": {"replicas": 0}}, []),
        ({}, []),
    ],
)  # fmt: skip
def test_the_scale_path_is_checked_besides_the_schema(value: dict[str, Any], expected: list[str]) -> None:
    assert [f"{cause.field}: {cause.message}" for cause in scale.check_replicas(value, ".spec.replicas")] == expected


def test_an_embedded_object_needs_its_head_and_good_labels() -> None:
    structural = Structural(
        make_object(template={"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True})
    )
    obj = {"template": {"metadata": {"labels": {"a": "b c"}, "bogus": 1}, "spec": {"anything": [1]}}}
    assert structural.normalise(obj) == ["template.metadata.bogus"]
    assert obj["template"]["spec"] == {"anything": [1]}
    assert [cause.field for cause in structural.check(obj)] == ["template.apiVersion", "template.kind", "template.metadata.labels"]


def test_what_was_invalid_before_and_did_not_change_is_tolerated() -> None:
    old = schemas.specimen(image="", mode="Gone", ports=[{"containerPort": 0, "protocol": "TCP"}])
    new = schemas.specimen(
        image="", mode="Gone", replicas=5, ports=[{"containerPort": 0, "protocol": "TCP"}, {"containerPort": 0, "protocol": "UDP"}]
    )
    assert [cause.field for cause in SPECIMEN.check(new, old)] == ["spec.ports[1].containerPort"]
    assert SPECIMEN.check(old, old) == []
    assert [cause.field for cause in SPECIMEN.check(schemas.specimen(mode="Other"), old)] == ["spec.mode"]


def test_duplicates_that_were_there_before_are_tolerated() -> None:
    twice = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    old, new = schemas.specimen(env=twice), schemas.specimen(env=twice, mode="Fast")
    assert SPECIMEN.check(new, old) == []
    assert [cause.reason for cause in SPECIMEN.check(new)] == ["FieldValueDuplicate"]


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("schema", "value", "field"),
    [
        (make_list(INTEGER), [1] * 1_000_000 + ["x"], "field[1000000]"),
        (make_list(INTEGER), ["x"] * 1_000_000, "field[0]"),
        ({"type": "object", "additionalProperties": INTEGER}, {str(n): n for n in range(300_000)} | {"last": "x"}, "field.last"),
        (make_list(make_list(INTEGER)), [[1] * 100] * 10_000 + [["x"]], "field[10000][0]"),
        (make_list(STRING, kind="set"), ["a", "b"] * 300_000, "field[2]"),
    ],
    ids=["one-bad-item", "all-bad", "one-bad-value", "nested", "duplicates"],
)
def test_one_wrong_item_among_a_million_is_found_soon_and_not_a_million_times(schema: dict[str, Any], value: Any, field: str) -> None:
    causes = Structural(make_object(field=schema)).check({"field": value})
    assert causes[0].field == field
    assert len(causes) <= 500
