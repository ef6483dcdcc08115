"""What is no keyword of a schema goes from a definition, wherever it stands."""

from __future__ import annotations

from typing import Any

import pytest

from controller.apiserver.structural import keywords

ROOT = "spec.versions[0].schema.openAPIV3Schema"


def make_definition(schema: Any) -> dict[str, Any]:
    return {"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]}}


@pytest.mark.parametrize(
    ("schema", "kept", "unknown"),
    [
        ({"type": "object", "frobnicate": 1}, {"type": "object"}, ["frobnicate"]),
        ({"properties": {"frobnicate": {"const": 1}}}, {"properties": {"frobnicate": {}}}, ["properties.frobnicate.const"]),
        ({"items": {"additionalProperties": {"if": {}}}}, {"items": {"additionalProperties": {}}}, ["items.additionalProperties.if"]),
        ({"allOf": [{}, {"not": {"then": {}}}]}, {"allOf": [{}, {"not": {}}]}, ["allOf[1].not.then"]),
        (
            {"x-kubernetes-validations": [{"rule": "true", "severity": "high"}]},
            {"x-kubernetes-validations": [{"rule": "true"}]},
            ["x-kubernetes-validations[0].severity"],
        ),
        ({"default": {"const": None}, "enum": [None, {"const": 1}], "example": {"const": 1}}, None, []),
        ({"type": "string", "maxLength": None}, {"type": "string"}, []),
        ({"properties": 5, "allOf": {"const": 1}, "additionalProperties": True}, None, []),
        ("text", None, []),
    ],
)
def test_only_keywords_are_kept(schema: Any, kept: Any, unknown: list[str]) -> None:
    definition = make_definition(schema)
    expected = make_definition(schema if kept is None else kept)
    assert keywords.prune_definition(definition) == [f"{ROOT}.{path}" for path in unknown]
    assert definition == expected


@pytest.mark.parametrize("definition", [{}, {"spec": None}, {"spec": {"versions": {}}}, {"spec": {"versions": [None, {"schema": 1}]}}])
def test_what_is_no_definition_is_left_alone(definition: dict[str, Any]) -> None:
    assert keywords.prune_definition(definition) == []


def test_a_schema_of_any_depth_is_looked_at_without_overflow() -> None:
    schema: dict[str, Any] = {"const": 1}
    for _ in range(5_000):
        schema = {"items": schema}
    assert keywords.prune_definition(make_definition(schema)) == []
