"""SPDY/3.1 frames: what kubectl sent is read, what is written is read again, and what is wrong or too large is refused."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.machinery.spdy import codec
from lattice.machinery.spdy.dictionary import DICTIONARY

RECORDED = Path(__file__).resolve().parents[2] / "data" / "streams" / "kubectl-1.32.json"

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Lu", "Lt"]), max_size=40)
headers = st.dictionaries(st.text("abcdefghijklmnop-", min_size=1, max_size=20), texts, max_size=6)
streams = st.integers(1, 2**31 - 1)
frames = st.one_of(
    st.builds(codec.SynStream, streams, headers, st.booleans()),
    st.builds(codec.SynReply, streams, headers, st.booleans()),
    st.builds(codec.Headers, streams, headers, st.booleans()),
    st.builds(codec.Data, streams, st.binary(max_size=300), st.booleans()),
    st.builds(codec.Reset, streams, st.integers(1, 11)),
    st.builds(codec.Ping, st.integers(0, 2**32 - 1)),
    st.builds(codec.GoAway, st.integers(0, 2**31 - 1)),
)


def test_the_dictionary_is_the_one_that_kubectl_names() -> None:
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2


def test_what_kubectl_sent_is_read() -> None:
    [recorded] = [entry for entry in json.loads(RECORDED.read_text()) if "port-forward" in entry["command"]]
    sent = b"".join(bytes.fromhex(data) for who, data in recorded["requests"][0]["frames"] if who == "client")
    [frame] = codec.Reader().feed(sent)
    assert isinstance(frame, codec.SynStream)
    assert frame.stream == 1
    assert frame.headers == {"streamtype": "error", "port": "80", "requestid": "0"}


@given(st.lists(frames, max_size=8), st.data())
def test_what_is_written_is_read_again_in_any_pieces(written: list[codec.Frame], data: st.DataObject) -> None:
    writer, reader = codec.Writer(), codec.Reader()
    sent = b"".join(writer.write(frame) for frame in written)
    found: list[codec.Frame] = []
    while sent:
        size = data.draw(st.integers(1, len(sent)))
        found += reader.feed(sent[:size])
        sent = sent[size:]
    assert found == written


@given(st.binary(max_size=400))
def test_garbage_is_refused_or_understood_and_nothing_else(garbage: bytes) -> None:
    try:
        list(codec.Reader().feed(garbage))
    except codec.SpdyError:
        return


def control(kind: int, payload: bytes, version: int = 3) -> bytes:
    return (0x8000 | version).to_bytes(2, "big") + kind.to_bytes(2, "big") + b"\0" + len(payload).to_bytes(3, "big") + payload


def packed(plain: bytes) -> bytes:
    deflate = zlib.compressobj(zdict=DICTIONARY)
    return deflate.compress(plain) + deflate.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (control(6, b"\0\0\0\1", version=2), "SPDY/2"),
        (control(1, b"\0\0\0\1"), "at least 10"),
        (control(3, b"\0\0\0\1"), "at least 8"),
        (control(6, b"\0"), "at least 4"),
        (control(1, bytes(10) + packed(bytes(4))), "stream 0"),
        (b"\0\0\0\0\0\0\0\1x", "stream 0"),
        (b"\0\0\0\1\0\xff\xff\xff", "at most 262144"),
        (control(1, b"\0\0\0\1" + bytes(6) + b"no zlib"), "cannot be decompressed"),
        (control(1, b"\0\0\0\1" + bytes(6) + packed(b"\0\0\0\1\0\0\0\1a\0\0\xff\0" + b"x" * 1_000_000)), "over 16384"),
        (control(1, b"\0\0\0\1" + bytes(6) + packed(b"\xff\xff\xff\xff")), "at most 64"),
        (control(1, b"\0\0\0\1" + bytes(6) + packed(b"\0\0\0\1\0\0\0\5ab")), "end too early"),
        (control(1, b"\0\0\0\1" + bytes(6) + packed(b"\0\0\0\1\0\0\0\1\xff\0\0\0\0")), "no text"),
    ],
)
def test_what_breaks_the_protocol_or_a_bound_is_refused(sent: bytes, why: str) -> None:
    with pytest.raises(codec.SpdyError, match=why):
        list(codec.Reader().feed(sent))


def test_settings_windows_and_unknown_frames_are_left_out() -> None:
    sent = control(4, b"\0\0\0\0") + control(9, bytes(8)) + control(200, b"x") + codec.Writer().write(codec.Ping(1))
    assert list(codec.Reader().feed(sent)) == [codec.Ping(1)]
