"""Selectors of labels and fields: round trips, a naive evaluator that shares no code, and the sentences for what does not parse."""

import itertools
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.api import selectortext
from lattice.api.selectortext import LabelSelector, Requirement

KEYS = st.sampled_from(["a", "b", "in", "notin", "A-1_x.y", "example.com/a", "x" * 63])
VALUES = st.sampled_from(["", "a", "in", "notin", "1", "-", "12", "007", "A.b_c-d", "9223372036854775807", "9223372036854775808"]).filter(
    lambda value: value != "-"
)
NUMBERS = st.integers(-(2**63), 2**63 - 1).map(str).filter(lambda text: not text.startswith("-"))
DEMANDS = st.one_of(
    st.builds(Requirement, KEYS, st.sampled_from(["exists", "!"])),
    st.builds(Requirement, KEYS, st.sampled_from(["=", "!="]), VALUES.map(lambda value: frozenset({value}))),
    st.builds(Requirement, KEYS, st.sampled_from([">", "<"]), NUMBERS.map(lambda value: frozenset({value}))),
    st.builds(Requirement, KEYS, st.sampled_from(["in", "notin"]), st.frozensets(VALUES, min_size=1, max_size=3)),
)
SELECTORS = st.lists(DEMANDS, max_size=4).map(lambda demands: LabelSelector(tuple(sorted(demands, key=lambda demand: demand.key))))
LABELS = st.dictionaries(KEYS, VALUES, max_size=4)
SPACE = st.sampled_from(["", " ", "\t ", "\r\n"])


def naive(demand: Requirement, labels: dict[str, str]) -> bool:
    """Say what the API reference says, word by word."""
    has, value = demand.key in labels, labels.get(demand.key, "")
    if demand.operator in {">", "<"}:
        if not has or not value.isdigit() or int(value) > 2**63 - 1:
            return False
        (bound,) = demand.values
        return int(value) > int(bound) if demand.operator == ">" else int(value) < int(bound)
    return {
        "exists": has,
        "!": not has,
        "=": has and value in demand.values,
        "in": has and value in demand.values,
        "!=": not has or value not in demand.values,
        "notin": not has or value not in demand.values,
    }[demand.operator]


@given(SELECTORS, LABELS)
def test_matches_what_a_naive_evaluator_matches(selector, labels):
    assert selector.matches(labels) is all(naive(demand, labels) for demand in selector.requirements)


@given(SELECTORS)
def test_its_text_parses_to_an_equal_selector(selector):
    assert selectortext.parse_label_selector(str(selector)) == selector


@given(SELECTORS, st.data())
def test_blanks_do_not_matter(selector, data):
    tokens = []
    for demand in selector.requirements:
        tokens += [",", *{"exists": [demand.key], "!": ["!", demand.key]}.get(demand.operator, [demand.key, demand.operator])]
        if demand.operator in {"in", "notin"}:
            tokens += ["(", *[token for value in sorted(demand.values) for token in (value, ",")][:-1], ")"]
        else:
            tokens += list(demand.values)
    text = data.draw(SPACE)
    for token, after in itertools.pairwise([*tokens[1:], ""]):
        text += token + (" " if token[-1:].isalnum() and after[:1].isalnum() else "") + data.draw(SPACE)
    assert selectortext.parse_label_selector(text) == selector


@given(st.text(alphabet="ab!=<>,() \tin-notin/._1\\\0\u00e9", max_size=20))
def test_any_text_is_a_selector_or_a_value_error(text):
    for parse in (selectortext.parse_label_selector, selectortext.parse_field_selector):
        try:
            parse(text)
        except ValueError as error:
            assert str(error)  # noqa: PT017 - a selector is as good


@pytest.mark.parametrize(
    ("text", "demands"),
    [
        ("a in (x,,y)", [("a", "in", "x", "", "y")]),
        ("a notin ()", [("a", "notin", "")]),
        ("a in (,)", [("a", "in", "")]),
        ("a in(b)", [("a", "in", "b")]),
        ("in in (in)", [("in", "in", "in")]),
        ("b,a", [("a", "exists"), ("b", "exists")]),
        ("a>1,a<9", [("a", ">", "1"), ("a", "<", "9")]),
        ("a=", [("a", "=", "")]),
        ("a=,b", [("a", "=", ""), ("b", "exists")]),
        ("   ", []),
    ],
)
def test_label_selectors_that_parse(text, demands):
    expected = tuple(Requirement(key, operator, frozenset(values)) for key, operator, *values in demands)
    assert selectortext.parse_label_selector(text).requirements == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (",", "found ',', expected: !, identifier, or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        ("a,,b", "found ',', expected: identifier after ','"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("!a=b", "found '=', expected: ',' or 'end of string'"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("a in x", "unable to parse requirement: found 'x' expected: '('"),
        ("a in (x", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a in (x y)", "unable to parse requirement: found 'y', expected: ',' or ')'"),
        ("a==(", "unable to parse requirement: found '(', expected: identifier"),
    ],
)
def test_label_selectors_that_do_not_parse(text, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        selectortext.parse_label_selector(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("-a", 'unable to parse requirement: <nil>: Invalid value: "-a": name part must consist of'),
        ("a=-b", 'unable to parse requirement: values[0][a]: Invalid value: "-b": a valid label must be'),
        ("a>x", "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer"),
        (f"{'x' * 64}=a", f'unable to parse requirement: <nil>: Invalid value: "{"x" * 64}": name part must be no more than 63'),
        (f"a={'x' * 64}", f'unable to parse requirement: values[0][a]: Invalid value: "{"x" * 64}": must be no more than 63'),
        ("a\0=b", "unable to parse requirement: <nil>: Invalid value:"),
    ],
)
def test_keys_and_values_have_the_syntax_of_labels(text, start):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        selectortext.parse_label_selector(text)
    assert str(caught.value).startswith(start)


FIELD_KEYS = st.text(alphabet=string.ascii_letters + ".", min_size=1, max_size=8)
FIELD_DEMANDS = st.lists(st.tuples(FIELD_KEYS, st.sampled_from(["=", "==", "!="]), st.text(max_size=6)), max_size=4)


@given(FIELD_DEMANDS)
def test_any_value_passes_through_a_field_selector(demands):
    text = ",".join(f"{key}{operator}{selectortext.escape_field_value(value)}" for key, operator, value in demands)
    assert selectortext.parse_field_selector(text) == tuple(
        Requirement(key, "!=" if operator == "!=" else "=", frozenset({value})) for key, operator, value in demands
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        ("a=b,c", "invalid selector: 'a=b,c'; can't understand 'c'"),
        (r"a=b\c", r"invalid field selector: invalid escape sequence: \c"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ("a=b\\", "invalid field selector: invalid escape sequence: \\"),
    ],
)
def test_field_selectors_that_do_not_parse(text, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        selectortext.parse_field_selector(text)
    assert str(caught.value) == message


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.sampled_from(["=", "!=", "in", "notin", "exists", "!", ">", "<"]), st.sampled_from(["1", "2", "3"])
        ),
        min_size=9,
        max_size=14,
    ),
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["1", "2", "3", "x"])),
)
def test_a_long_selector_selects_what_its_demands_do(demands, labels):
    requirements = tuple(
        selectortext.Requirement(key, operator, frozenset() if operator in {"exists", "!"} else frozenset({value}))
        for key, operator, value in demands
    )
    selector = selectortext.LabelSelector(requirements)
    assert selector._index is not None
    assert selector.matches(labels) is all(requirement.matches(labels) for requirement in requirements)


def test_a_long_selector_costs_an_object_what_its_labels_cost():
    """Thousands of demands against fifty thousand objects would else stand still for minutes."""
    long = selectortext.parse_label_selector(
        ",".join([f"!k{number}" for number in range(5_000)] + [f"a!=v{number}" for number in range(3_000)])
    )
    begin = time.process_time()
    assert all(long.matches({"a": "b", "c": "d"}) for _ in range(50_000))
    assert time.process_time() - begin < 2
