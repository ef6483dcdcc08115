# ruff: noqa: E501 - tables: one case, one row
"""What a CustomResourceDefinition must fulfil."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from controller.apiserver.structural import definition, schematypes
from lattice.testing import schemas
from lattice.testing.schemas import INTEGER, STRING, make_list, make_object

ROOT = "spec.validation.openAPIV3Schema"
Change = Callable[[dict[str, Any]], object]


def make_definition(**properties: Any) -> dict[str, Any]:
    schema = make_object(spec=make_object(**(properties or {"image": STRING})))
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "specimens.example.dev"},
        "spec": {
            "group": "example.dev",
            "scope": "Namespaced",
            "names": {"kind": "Specimen", "plural": "specimens", "singular": "specimen", "listKind": "SpecimenList"},
            "conversion": {"strategy": "None"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}
            ],
        },
        "status": {"storedVersions": ["v1"], "conditions": [{"type": "Established", "status": "True"}]},
    }


def complaints(new: dict[str, Any], old: dict[str, Any] | None = None) -> set[str]:
    return {f"{cause.field}: {cause.message}" for cause in definition.check_definition(new, old)}


def test_singular_list_kind_and_conversion_are_filled_in() -> None:
    obj = {"spec": {"names": {"kind": "Specimen", "plural": "specimens"}, "preserveUnknownFields": False}}
    definition.default_definition(obj)
    assert obj == {
        "spec": {
            "names": {"kind": "Specimen", "plural": "specimens", "singular": "specimen", "listKind": "SpecimenList"},
            "conversion": {"strategy": "None"},
        }
    }


def test_a_new_definition_has_the_recorded_status() -> None:
    assert definition.initial_status(make_definition()) == {
        "conditions": None,
        "acceptedNames": {"plural": "", "kind": ""},
        "storedVersions": ["v1"],
    }


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[4] / "crds").glob("*.yaml")), ids=lambda path: path.name)
def test_our_own_definitions_pass(path: Path) -> None:
    obj = yaml.safe_load(path.read_text(encoding="utf-8"))
    definition.default_definition(obj)
    assert complaints({**obj, "status": {"storedVersions": ["v1"]}}) == set()


def _second(spec: dict[str, Any], **fields: Any) -> None:
    spec["versions"].append({**copy.deepcopy(spec["versions"][0]), "name": "v2", **fields})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: d["metadata"].update(name="x"), 'metadata.name: Invalid value: "x": must be spec.names.plural+"."+spec.group'),
        (lambda d: d["spec"]["names"].update(listKind="Specimen"),
         'spec.names.listKind: Invalid value: "Specimen": kind and listKind may not be the same'),
        (lambda d: d["spec"]["names"].update(shortNames=["X"]), 'spec.names.shortNames[0]: Invalid value: "X": a DNS-1035 label must'),
        (lambda d: d["spec"]["names"].update(singular=""), "spec.names.singular: Required value"),
        (lambda d: d["spec"]["versions"][0].update(storage=False), "must have exactly one version marked as storage version"),
        (lambda d: _second(d["spec"]), "must have exactly one version marked as storage version"),
        (lambda d: _second(d["spec"], name="v1", storage=False), "must contain unique version names"),
        (lambda d: d["spec"]["versions"][0].update(name="V1"), 'spec.versions[0].name: Invalid value: "V1": a DNS-1035 label must'),
        (lambda d: d["spec"]["versions"][0].pop("schema"), "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required"),
        (lambda d: d["spec"].update(conversion={"strategy": "Webhook"}), "spec.conversion.strategy: Forbidden: conversion by webhook"),
        (lambda d: d["spec"].update(conversion={"strategy": "Magic"}),
         'spec.conversion.strategy: Unsupported value: "Magic": supported values: "None", "Webhook"'),
        (lambda d: d["spec"].update(preserveUnknownFields=True), "spec.preserveUnknownFields: Invalid value: true: must be false"),
        (lambda d: d["spec"]["versions"][0].update(subresources={"scale": {"statusReplicasPath": "status.x"}}),
         "spec.subresources.scale.specReplicasPath: Required value"),
        (lambda d: d["spec"]["versions"][0].update(subresources={"scale": {"specReplicasPath": ".spec.x", "statusReplicasPath": ".spec.x"}}),
         'spec.subresources.scale.statusReplicasPath: Invalid value: ".spec.x": should be a json path under .status'),
        (lambda d: d["spec"]["versions"][0].update(additionalPrinterColumns=[{"name": "A", "type": "text", "jsonPath": ".a"}]),
         'spec.additionalPrinterColumns[0].type: Invalid value: "text": must be one of boolean,date,integer,number,string'),
        (lambda d: d["spec"]["versions"][0].update(additionalPrinterColumns=[{"name": "A", "type": "string", "jsonPath": "a"}]),
         'spec.additionalPrinterColumns[0].JSONPath: Invalid value: "a": must be a simple json path starting with .'),
        (lambda d: d["spec"]["versions"][0].update(selectableFields=[{"jsonPath": ".spec.nope"}]),
         'spec.selectableFields[0].jsonPath: Invalid value: ".spec.nope": is an invalid path: does not refer to a valid field'),
        (lambda d: d["spec"]["versions"][0].update(selectableFields=[{"jsonPath": ".spec"}]), "must point to a field of type string, boolean or integer"),
        (lambda d: d["spec"]["versions"][0].update(deprecationWarning="x"), "can only be set for deprecated versions"),
    ],
)  # fmt: skip
def test_the_frame_of_a_definition_is_checked(change: Change, expected: str) -> None:
    obj = make_definition()
    change(obj)
    assert any(expected in text for text in complaints(obj)), complaints(obj)


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({}, "type: Required value: must not be empty for specified object fields"),
        ({"type": "text"}, 'type: Unsupported value: "text": supported values: "array", "boolean", "integer", "number", "object", "string"'),
        ({"type": "array"}, "items: Required value: must be specified"),
        (make_list({}), "items.type: Required value: must not be empty for specified array items"),
        ({"type": 5}, 'type: Invalid value: "integer": spec.validation.openAPIV3Schema.properties[spec].properties[x].type in body must be of type string: "integer"'),
        ({"type": "object", "properties": {"a": STRING}, "additionalProperties": STRING},
         "additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"),
        ({**make_list(STRING), "uniqueItems": True}, "uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"),
        ({**STRING, "pattern": "("}, "must be a valid regular expression, but isn't: error parsing regexp: missing ): ("),
        ({**STRING, "$ref": "#/x"}, "$ref: Forbidden: $ref is not supported"),
        ({**STRING, "anyOf": [{"type": "string"}]}, "anyOf[0].type: Forbidden: must be empty to be structural"),
        ({**STRING, "not": {"default": 1}}, "not.default: Forbidden: must be undefined to be structural"),
        ({**make_object(a=STRING), "anyOf": [{"properties": {"b": {"minLength": 1}}}]},
         "properties[b]: Required value: because it is defined in spec.validation.openAPIV3Schema.properties[spec].properties[x].anyOf[0].properties[b]"),
        ({"type": "string", "x-kubernetes-embedded-resource": True}, 'type: Invalid value: "string": must be object if x-kubernetes-embedded-resource is true'),
        ({"type": "object", "x-kubernetes-preserve-unknown-fields": False},
         "x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined"),
        ({**STRING, "x-kubernetes-list-type": "set"}, 'type: Invalid value: "string": must be array if x-kubernetes-list-type is specified'),
        ({**make_list(STRING), "x-kubernetes-list-type": "bag"}, 'Unsupported value: "bag": supported values: "atomic", "set", "map"'),
        (make_list(make_object(a=STRING), keys=("a",)),
         "items.properties[a].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"),
        (make_list(make_object(a=STRING, required=["a"]), keys=("b",)), "entries must all be names of item properties"),
        (make_list(make_object(a=STRING, required=["a"]), kind="map"), "must not be empty if x-kubernetes-list-type is map"),
        (make_list(make_object(a=STRING), kind="set"), "must be atomic as item of a list with x-kubernetes-list-type=set"),
        ({**STRING, "x-kubernetes-map-type": "atomic"}, "must be object if x-kubernetes-map-type is specified"),
        ({**INTEGER, "default": "x"}, 'default: Invalid value: "string": '),
        ({**INTEGER, "minimum": 5, "default": 1}, "should be greater than or equal to 5"),
        ({**make_object(a=STRING), "default": {"b": 1}}, 'default: Invalid value: {"b":1}: must not have unknown fields'),
        ({**STRING, "x-kubernetes-validations": [{"rule": " "}]}, "x-kubernetes-validations[0].rule: Required value: rule is not specified"),
        ({**STRING, "x-kubernetes-validations": [{"rule": "true", "message": "a\nb"}]}, "message must not contain line breaks"),
        ({**STRING, "x-kubernetes-validations": [{"rule": "self > 1"}]}, "compilation failed: ERROR: <input>:1:6: found no matching overload for '_>_'"),
        ({**make_object(a=STRING), "x-kubernetes-validations": [{"rule": "self.b == ''"}]}, "undefined field 'b'\n | self.b == ''\n | ....^"),
        ({**make_object(a=STRING), "x-kubernetes-validations": [{"rule": "self.a"}]}, "cel expression must evaluate to a bool"),
        ({**STRING, "x-kubernetes-validations": [{"rule": "true", "messageExpression": "1"}]}, "messageExpression must evaluate to a string"),
        ({**STRING, "x-kubernetes-validations": [{"rule": "true", "reason": "Bad"}]}, 'reason: Unsupported value: "Bad"'),
        ({**make_object(a=STRING), "x-kubernetes-validations": [{"rule": "true", "fieldPath": ".b"}]}, "fieldPath must be a valid path"),
        ({**STRING, "x-kubernetes-validations": [{"rule": "true", "optionalOldSelf": True}]}, "may not be set if oldSelf is not used in rule"),
        (make_list({**STRING, "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}),
         "oldSelf cannot be used on the uncorrelatable portion of the schema within spec.validation.openAPIV3Schema.properties[spec].properties[x]"),
        ({**make_list(STRING), "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, self.all(c, a == b + c)))"}]},
         "estimated rule cost exceeds budget by factor of more than 100x"),
    ],
)  # fmt: skip
def test_a_schema_that_is_not_structural_is_refused(node: dict[str, Any], expected: str) -> None:
    found = complaints(make_definition(x=node))
    assert any(expected in text for text in found), found


@pytest.mark.parametrize("node", [
    schemas.int_or_string(pattern="^[0-9]+$"),
    {"x-kubernetes-int-or-string": True},
    {"x-kubernetes-int-or-string": True, "type": "integer", "pattern": "^.*"},
    {"x-kubernetes-preserve-unknown-fields": True},
    {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
    {**make_object(a=STRING, b=STRING), "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
    {**make_list(make_object(k=STRING, required=["k"]), keys=("k",)), "maxItems": 16, "x-kubernetes-validations": [
        {"rule": "self.all(a, self.exists_one(b, b.k == a.k))"}]},
    make_list({**make_object(p=schemas.int_or_string(), s=STRING), "x-kubernetes-validations": [
        {"rule": "!has(self.p) || self.p == 'TCP' || self.p == 6"},
        {"rule": "!has(self.s) || self.s.startsWith('a') || size(self.s) < 100 || duration(self.s) > duration('1ms')"}]}),
    {**make_list(STRING), "x-kubernetes-validations": [{"rule": "self.all(x, x.endsWith('z') && size(x) < 9)"}]},
    make_list({**make_object(n=STRING, m=make_list(STRING), required=["n"]), "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}, keys=("n",)),
    {**STRING, "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "is immutable", "reason": "FieldValueForbidden"}]},
    {**make_object(a={**make_object(b={**STRING, "default": "x"}), "default": {}}), "default": {}},
])  # fmt: skip
def test_ordinary_schemas_pass(node: dict[str, Any]) -> None:
    assert complaints(make_definition(x=node)) == set()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: d["spec"].update(scope="Cluster"), 'spec.scope: Invalid value: "Cluster": field is immutable'),
        (lambda d: d["spec"]["names"].update(kind="Other"), 'spec.names.kind: Invalid value: "Other": field is immutable'),
        (lambda d: d["spec"]["names"].update(plural="others"), 'spec.names.plural: Invalid value: "others": field is immutable'),
        (lambda d: d["spec"].update(group="other.dev"), 'spec.group: Invalid value: "other.dev": field is immutable'),
        (lambda d: d["spec"]["versions"][0].update(name="v2"),
         'status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was previously a storage version, and must remain'),
        (lambda d: d["status"].update(storedVersions=[]), "status.storedVersions: Invalid value: []: must have at least one stored version"),
    ],
)  # fmt: skip
def test_what_objects_depend_on_cannot_change(change: Change, expected: str) -> None:
    old = make_definition()
    new = copy.deepcopy(old)
    change(new)
    assert any(expected in text for text in complaints(new, old)), complaints(new, old)


def test_a_new_storage_version_is_remembered() -> None:
    obj = make_definition()
    obj["spec"]["versions"][0]["storage"] = False
    _second(obj["spec"], storage=True)
    definition.remember_storage(obj)
    assert obj["status"]["storedVersions"] == ["v1", "v2"]
    assert complaints(obj) == set()


def test_versions_with_different_schemas_are_reported_apart() -> None:
    obj = make_definition()
    _second(obj["spec"], storage=False)
    obj["spec"]["versions"][1]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["image"] = {}
    assert complaints(obj) == {
        "spec.versions[1].schema.openAPIV3Schema.properties[spec].properties[image].type: Required value: "
        "must not be empty for specified object fields"
    }


def test_a_schema_that_was_accepted_before_is_not_judged_again() -> None:
    old = make_definition(x={})
    new = copy.deepcopy(old)
    new["metadata"]["labels"] = {"a": "b"}
    assert complaints(new, old) == set()


def test_a_bottomless_schema_is_refused_without_harm() -> None:
    node: dict[str, Any] = STRING
    for _ in range(500):
        node = make_object(a=node)
    assert any("levels deep" in text for text in complaints(make_definition(x=node)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([
        "type", "properties", "items", "additionalProperties", "required", "anyOf", "allOf", "not", "default", "pattern", "enum", "format",
        "x-kubernetes-validations", "rule", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "minimum", "nullable", "a", "spec",
    ]), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
def test_any_json_as_a_schema_is_answered_not_failed_on(value: Any) -> None:
    obj = make_definition()
    obj["spec"]["versions"][0]["schema"] = {"openAPIV3Schema": value}
    definition.check_definition(obj)
    schematypes.check(value, ROOT)
