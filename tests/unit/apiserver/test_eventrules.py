"""What Events must fulfil: little in the core group, more where they have an eventTime, most through events.k8s.io."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from controller.apiserver import eventrules
from controller.apiserver.renaming import EVENTS

TIME = "2026-11-21T09:00:00.000000Z"
EVENT: dict[str, Any] = {
    "metadata": {"name": "e", "namespace": "prod"},
    "eventTime": TIME,
    "reportingController": "example.dev/operator",
    "reportingInstance": "operator-1",
    "action": "Scale",
    "reason": "Scaled",
    "type": "Normal",
    "note": "scaled to 3",
    "regarding": {"kind": "Pod", "namespace": "prod", "name": "web"},
}


def changed(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in {**copy.deepcopy(EVENT), **fields}.items() if value is not None}


def texts(causes: list[Any]) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in causes]


def test_a_complete_event_passes_both_ways():
    assert eventrules.check_new(EVENT) == eventrules.check(EVENT) == eventrules.check_core(EVENTS.to_stored(EVENT)) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"reportingController": None}, "reportingController: Required value"),
        ({"reportingController": "a b"}, 'reportingController: Invalid value: "a b": '),
        ({"reportingInstance": ""}, "reportingInstance: Required value"),
        ({"reportingInstance": "x" * 129}, 'reportingInstance: Invalid value: "": can have at most 128 characters'),
        ({"action": None}, "action: Required value"),
        ({"action": "x" * 129}, 'action: Invalid value: "": can have at most 128 characters'),
        ({"reason": None}, "reason: Required value"),
        ({"reason": "é" * 65}, 'reason: Invalid value: "": can have at most 128 characters'),
        ({"note": "x" * 1025}, 'message: Invalid value: "": can have at most 1024 characters'),
        ({"regarding": {"kind": "Node", "name": "n"}}, 'involvedObject.namespace: Invalid value: "": does not match event.namespace'),
    ],
)
def test_an_event_with_a_time_must_be_complete(fields: dict[str, Any], expected: str):
    obj = changed(**fields)
    assert any(text.startswith(expected) for text in texts(eventrules.check(obj)))
    through_core = expected.replace("reportingController", "reportingComponent")
    assert any(text.startswith(through_core) for text in texts(eventrules.check_core(EVENTS.to_stored(obj))))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"eventTime": None}, "eventTime: Required value"),
        ({"type": "Great"}, 'type: Invalid value: "": has invalid value: Great'),
        ({"deprecatedCount": 1}, 'count: Invalid value: "": needs to be unset'),
        ({"deprecatedFirstTimestamp": TIME}, 'firstTimestamp: Invalid value: "": needs to be unset'),
        ({"deprecatedLastTimestamp": TIME}, 'lastTimestamp: Invalid value: "": needs to be unset'),
        ({"deprecatedSource": {"host": "n"}}, 'source: Invalid value: "": needs to be unset'),
        ({"series": {"count": 1, "lastObservedTime": TIME}}, 'series.count: Invalid value: "": should be at least 2'),
        ({"series": {"count": 2}}, "series.lastObservedTime: Required value"),
    ],
)
def test_a_new_event_has_nothing_of_the_old_sort(fields: dict[str, Any], expected: str):
    assert texts(eventrules.check_new(changed(**fields))) == [expected]


@pytest.mark.parametrize("fields", [{"deprecatedSource": {}}, {"deprecatedCount": 0}, {"deprecatedSource": {"host": ""}}])
def test_zero_values_of_the_old_sort_are_nothing(fields: dict[str, Any]):
    assert eventrules.check_new(changed(**fields)) == []


def test_only_the_series_of_an_event_changes():
    assert eventrules.check_update(changed(series={"count": 2, "lastObservedTime": TIME}), EVENT) == []
    found = eventrules.check_update(changed(note="other", reportingController="x", regarding={}, series={"count": 0}), EVENT)
    assert [cause.field for cause in found] == [
        "involvedObject", "message", "reportingController", "series.count", "series.lastObservedTime",
    ]  # fmt: skip


def test_an_event_of_the_old_sort_needs_only_the_right_namespace():
    old: dict[str, Any] = {"metadata": {"namespace": "prod"}, "involvedObject": {"namespace": "prod"}}
    assert eventrules.check_core(old) == []
    assert eventrules.check_core({**old, "involvedObject": {"namespace": "other"}}) != []
    assert eventrules.check_core({**old, "involvedObject": {}}) != []
    assert eventrules.check_core({"metadata": {"namespace": "default"}}) == []
