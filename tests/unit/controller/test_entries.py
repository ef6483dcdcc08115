"""Log entries from a node, and going on after a break: every new entry once, none twice, and no loss in silence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.relay.entries import MAX_ENTRY_BYTES, Cursor, Entry, Framing
from lattice.api import errors


def stamp(number: int) -> bytes:
    return f"2026-01-01T00:00:00.{number:09}Z".encode()


def framed(entry: Entry) -> bytes:
    text = entry.time + b" " + entry.data
    return bytes((entry.channel, 0, 0, 0)) + len(text).to_bytes(4, "big") + text


entries = st.lists(st.builds(Entry, st.sampled_from([1, 2]), st.integers(0, 20).map(stamp), st.binary(max_size=30)), max_size=20)


@given(entries, st.data())
def test_entries_come_out_as_they_went_in_whatever_the_pieces(written: list[Entry], data: st.DataObject) -> None:
    sent, framing, found = b"".join(framed(entry) for entry in written), Framing(), []
    while sent:
        size = data.draw(st.integers(1, len(sent)))
        found += framing.feed(sent[:size])
        sent = sent[size:]
    assert found == written


@pytest.mark.parametrize(
    "sent",
    [
        b"\1\0\0\0" + (MAX_ENTRY_BYTES + 1).to_bytes(4, "big"),
        b"\1\0\0\1\0\0\0\5hello",
        b"\1\0\0\0\0\0\0\0",
        b"\1\0\0\0\0\0\0\5hello",
    ],
)
def test_what_is_no_log_is_refused(sent: bytes) -> None:
    with pytest.raises(errors.UnavailableError):
        list(Framing().feed(sent))


moments = st.lists(st.integers(0, 6), min_size=1, max_size=20).map(sorted)


@given(moments, st.data())
def test_after_a_break_every_entry_comes_once_and_no_gap_is_told(times: list[int], data: st.DataObject) -> None:
    log = [Entry(1, stamp(moment), str(place).encode()) for place, moment in enumerate(times)]
    cursor, taken = Cursor(), []
    reached = data.draw(st.integers(0, len(log)))
    for entry in log[:reached]:
        assert cursor.take(entry) == (True, False)
        taken.append(entry)
    again = [entry for entry in log if entry.time >= cursor.time]  # as an engine answers `since`
    cursor.resume()
    for entry in again:
        new, gap = cursor.take(entry)
        assert not gap
        taken += [entry] * new
    assert taken == log


@given(moments, st.data())
def test_a_gap_is_told_when_the_last_entry_that_was_seen_is_gone(times: list[int], data: st.DataObject) -> None:
    log = [Entry(1, stamp(moment), str(place).encode()) for place, moment in enumerate(times)]
    cursor = Cursor()
    reached = data.draw(st.integers(1, len(log)))
    for entry in log[:reached]:
        cursor.take(entry)
    rotated = [entry for entry in log if entry.time > log[reached - 1].time]
    cursor.resume()
    answers = [cursor.take(entry) for entry in rotated]
    assert answers == [(True, place == 0) for place in range(len(rotated))]
