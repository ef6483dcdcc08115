"""Selectors: parse the text that kubectl sends, match as the API reference says."""

import pytest

from lattice.api import selectors, selectortext


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "b"}, True),
        ("a=b", {"a": "c"}, False),
        ("a=b", {}, False),
        ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False),
        ("a", {"a": ""}, True),
        ("!a", {"a": ""}, False),
        ("! a", {}, True),
        ("a in (x, y)", {"a": "y"}, True),
        ("a in (x,y)", {"a": "z"}, False),
        ("a notin (x,y)", {"a": "x"}, False),
        ("a notin (x,y)", {}, True),
        ("a in (x,y),b=1,!c", {"a": "x", "b": "1"}, True),
        ("example.com/a=b", {"example.com/a": "b"}, True),
        ("a=", {"a": ""}, True),
        ("in=x", {"in": "x"}, True),
    ],
)
def test_label_selector_matches(text: str, labels: dict[str, str], matches: bool) -> None:
    assert selectortext.parse_label_selector(text).matches(labels) is matches


@pytest.mark.parametrize(
    ("expression", "labels", "matches"),
    [
        ({"key": "zone", "operator": "In", "values": ["a", "b"]}, {"zone": "a"}, True),
        ({"key": "zone", "operator": "NotIn", "values": ["a"]}, {}, True),
        ({"key": "zone", "operator": "Exists"}, {"zone": ""}, True),
        ({"key": "zone", "operator": "DoesNotExist"}, {"zone": ""}, False),
        ({"key": "cores", "operator": "Gt", "values": ["4"]}, {"cores": "8"}, True),
        ({"key": "cores", "operator": "Lt", "values": ["4"]}, {"cores": "8"}, False),
        ({"key": "cores", "operator": "Gt", "values": ["4"]}, {"cores": "many"}, False),
        ({"key": "cores", "operator": "Gt", "values": ["4"]}, {"cores": "1_0"}, False),
        ({"key": "cores", "operator": "Gt"}, {"cores": "1"}, False),
    ],
)
def test_node_selector_term_matches(expression: dict[str, object], labels: dict[str, str], matches: bool) -> None:
    term = selectors.NodeSelectorTerm.model_validate({"matchExpressions": [expression]})
    assert term.matches(labels, "n") is matches


def test_an_empty_node_selector_term_matches_nothing() -> None:
    assert not selectors.NodeSelectorTerm().matches({}, "n")
