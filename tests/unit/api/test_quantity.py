"""Quantities: what Kubernetes accepts, exactly, and nothing else."""

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.api import quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", Fraction(0)),
        ("1", Fraction(1)),
        ("100m", Fraction(1, 10)),
        ("1.5", Fraction(3, 2)),
        (".5", Fraction(1, 2)),
        ("5.", Fraction(5)),
        ("-1", Fraction(-1)),
        ("+2k", Fraction(2000)),
        ("512Mi", Fraction(512 * 2**20)),
        ("2G", Fraction(2 * 10**9)),
        ("1e3", Fraction(1000)),
        ("1E3", Fraction(1000)),
        ("1E", Fraction(10**18)),
        ("1e-3", Fraction(1, 1000)),
        ("3n", Fraction(3, 10**9)),
        ("1Ei", Fraction(2**60)),
    ],
)
def test_parses_what_kubernetes_parses(text: str, value: Fraction) -> None:
    assert quantity.parse_quantity(text) == value


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "1\n", "m", "1mm", "1MI", "1e", "0x10", "1_0", "one", "--1", "1.2.3", "\u0663", "9" * 65, "1e9999"]
)
def test_refuses_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        quantity.parse_quantity(text)


def test_rounds_up_to_the_unit_asked_for() -> None:
    assert quantity.to_millis("1n") == 1
    assert quantity.to_millis("1500u") == 2
    assert quantity.to_units("1500m") == 2
    assert quantity.to_units("0") == 0


@pytest.mark.parametrize("text", ["1e1.5", "1" * 31, "1e999", "1\n", "0." + "1" * 31])
def test_the_schema_lets_nothing_through_that_cannot_be_parsed(text: str) -> None:
    assert re.search(quantity.PATTERN.replace("$", r"\Z"), text) is None
    with pytest.raises(ValueError, match="is not a quantity"):
        quantity.parse_quantity(text)


@given(st.from_regex(quantity.PATTERN.replace("$", r"\Z")))
def test_whatever_the_schema_lets_through_can_be_parsed_and_counted(text: str) -> None:
    assert quantity.to_millis(text) <= quantity.MAX_AMOUNT
    assert quantity.to_units(text) <= quantity.MAX_AMOUNT


@given(st.integers(min_value=0, max_value=2**53))
def test_formats_bytes_without_loss(size_bytes: int) -> None:
    assert quantity.to_units(quantity.format_bytes(size_bytes)) == size_bytes


@given(st.integers(min_value=0, max_value=10**9))
def test_formats_millis_without_loss(millis: int) -> None:
    assert quantity.to_millis(quantity.format_millis(millis)) == millis
