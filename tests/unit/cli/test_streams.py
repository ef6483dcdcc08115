"""What ``lattice logs`` and ``port-forward`` understand of their arguments."""

from __future__ import annotations

import pytest

from lattice.api import errors
from lattice.cli.podlogs import parse_duration
from lattice.cli.portforward import parse_ports


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5m", 300), ("2h30m", 9000), ("1h1m1s", 3661)])
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "5", "m", "-1s", "1.5h", "yesterday"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(errors.UsageError, match="no duration"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "ports"), [("8080:80", (8080, 80)), ("80", (80, 80)), (":80", (0, 80)), ("0:80", (0, 80))])
def test_ports(text: str, ports: tuple[int, int]) -> None:
    assert parse_ports(text) == ports


@pytest.mark.parametrize("text", ["", "0", "x", "80:", "70000", "70000:80", "1:2:3", "-1"])
def test_what_are_no_ports(text: str) -> None:
    with pytest.raises(errors.UsageError, match="LOCAL"):
        parse_ports(text)
