"""Quantities against ``decimal``: value, canonical text, rounding, limits. Expected texts are those of apimachinery's own examples."""

import re
from decimal import ROUND_UP, Context, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.api import quantity

EXACT = Context(prec=400)
DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
SIGNS = st.sampled_from(["", "+", "-"])
DIGITS = st.text("0123456789", min_size=1, max_size=20) | st.sampled_from(["1000", "1024", "500", "8", "0008", "999999999999999999"])
NUMBERS = DIGITS | st.builds("{}.{}".format, DIGITS, DIGITS | st.just("")) | st.builds(".{}".format, DIGITS)
SUFFIXES = st.sampled_from([*DECIMAL, *BINARY]) | st.integers(-20, 30).map("e{}".format) | st.integers(0, 30).map("E+{}".format)
QUANTITIES = st.builds("{}{}{}".format, SIGNS, NUMBERS, SUFFIXES)


def value_of(text: str) -> Decimal:
    """Read a quantity with another parser and other arithmetic."""
    match = re.fullmatch(r"([+-]?[0-9.]+)(.*)", text)
    assert match
    number, suffix = Decimal(match[1]), match[2]
    if suffix in BINARY:
        return EXACT.multiply(number, Decimal(2 ** BINARY[suffix]))
    return number.scaleb(DECIMAL[suffix] if suffix in DECIMAL else int(suffix[1:]), EXACT)


def rounded(value: Decimal, unit: str) -> Decimal:
    return value.quantize(Decimal(unit), rounding=ROUND_UP, context=EXACT)


@given(QUANTITIES)
def test_parses_the_exact_value(text):
    assert quantity.parse_quantity(text) == Fraction(value_of(text))


@given(QUANTITIES)
def test_counts_are_rounded_away_from_zero_and_capped(text):
    value = value_of(text)
    cap = Decimal(quantity.MAX_AMOUNT)
    assert quantity.to_units(text) == max(-cap, min(cap, rounded(value, "1")))
    assert quantity.to_millis(text) == max(-cap, min(cap, rounded(EXACT.multiply(value, Decimal(1000)), "1")))


@given(QUANTITIES)
def test_canonical_text_is_the_same_amount_and_stays_what_it_is(text):
    once = quantity.canonical(text)
    assert quantity.canonical(once) == once
    value = value_of(text)
    if once == text:
        return
    if text.endswith("i"):
        value = max(Decimal(1 - 2**63), min(Decimal(2**63 - 1), value))
    assert value_of(once) == rounded(value, "1e-9")


@given(QUANTITIES)
def test_canonical_text_has_no_fraction_and_the_largest_suffix(text):
    once = quantity.canonical(text)
    if once == text:
        return  # also what the real parser keeps although it is not canonical, and what has too many digits
    match = re.fullmatch(r"-?([0-9]+)(|[numkMGTPE]|[KMGTPE]i|e-?[0-9]+)", once)
    assert match, once
    number, suffix = int(match[1]), match[2]
    if suffix in BINARY or (suffix == "" and text.endswith("i") and number >= 1024):
        assert suffix == "Ei" or number % 1024 != 0
    else:
        assert number == 0 or number % 1000 != 0
        assert not suffix.startswith("e") or int(suffix[1:]) % 3 == 0
    assert suffix.startswith("e") is False or re.search(r"[eE][+-]?[0-9]+$", text) or int(suffix[1:]) > 18


@given(st.lists(QUANTITIES, max_size=5))
def test_sums_are_those_of_decimals(texts):
    total = Decimal(0)
    for text in texts:
        total = EXACT.add(total, value_of(text))
    assert sum((quantity.parse_quantity(text) for text in texts), Fraction(0)) == Fraction(total)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", "0"),
        ("0m", "0"),
        ("-0", "0"),
        ("000", "0"),
        ("0.5", "500m"),
        ("1.5", "1500m"),
        ("1000m", "1"),
        ("1.5Gi", "1536Mi"),
        ("1024Mi", "1Gi"),
        ("1000Mi", "1000Mi"),
        ("0.5Ki", "512"),
        ("1.1Ki", "1126400m"),
        ("0.1n", "1n"),
        ("-0.1n", "-1n"),
        ("0.0001m", "100n"),
        ("12e4", "120e3"),
        ("1e3", "1e3"),
        ("1000e0", "1e3"),
        ("1E3", "1E3"),
        ("10e-1", "1"),
        ("1000E", "1e21"),
        ("1000k", "1M"),
        ("100000", "100k"),
        ("8Ei", "9223372036854775807"),
        ("9999999Pi", "9223372036854775807"),
        ("18446744073709551616", "18446744073709551616"),
        ("1.500", "1.500"),
        ("1.000", "1"),
        ("+1", "+1"),
        ("100m", "100m"),
        ("1025Ki", "1025Ki"),
        ("1024Ki", "1Mi"),
        ("2", "2"),
        ("128Mi", "128Mi"),
        ("10M", "10M"),
    ],
)
def test_canonical_texts_of_apimachinery(text, expected):
    assert quantity.canonical(text) == expected


@pytest.mark.parametrize("text", ["", "1.1.M", "1+1.0M", "0.1mi", "0.1am", "aoeu", ".5i", "1i", "-3.01i", "-3.01e-", " 1", "1 ", "-", "."])
def test_what_apimachinery_refuses_is_refused(text):
    with pytest.raises(ValueError, match="is not a quantity"):
        quantity.canonical(text)
