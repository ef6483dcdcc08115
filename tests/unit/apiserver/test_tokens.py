"""Continue tokens: ours come back as they were, a real server's are read, everything else is refused in its words."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.apiserver import tokens
from controller.apiserver.tokens import Place
from lattice.api import errors


def pack(data):
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


names = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True).filter(lambda name: name not in {".", ".."})


@given(st.integers(1, 2**62) | st.just(-1), st.lists(names, min_size=1, max_size=2), st.none() | st.integers(0, 10**6))
def test_ours_come_back(revision, parts, remaining):
    place = Place(revision, "/".join(parts), remaining)
    assert tokens.decode(tokens.encode(place)) == place


def test_a_real_one():
    assert tokens.decode("eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MjYxLCJzdGFydCI6Ii9wMlx1MDAwMCJ9") == Place(261, "p2")
    assert tokens.decode(pack({"v": "meta.k8s.io/v1", "rv": 1, "start": "p2\0"})) == Place(1, "p2")


def test_a_start_without_a_zero_byte_is_in_the_page():
    after = tokens.decode(pack({"v": "meta.k8s.io/v1", "rv": 1, "start": "/b2"})).after
    assert "b1" < "b1zzz" < after < "b2"


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        ("garbage", ": invalid character '\\u0081' looking for beginning of value"),
        ("!!", ": illegal base64 data at input byte 0"),
        ("a=", ": illegal base64 data at input byte 1"),
        ("abcde", ": illegal base64 data at input byte 4"),
        (pack([]), ": json: cannot unmarshal array into Go value of type storage.continueToken"),
        (pack({"v": "v2", "rv": 1, "start": "/a"}), ': server does not recognize this encoded version "v2"'),
        (pack({"v": "meta.k8s.io/v1", "start": "/a"}), ": incorrect encoded start resourceVersion (version meta.k8s.io/v1)"),
        (pack({"v": "meta.k8s.io/v1", "rv": 1}), ": encoded start key empty (version meta.k8s.io/v1)"),
        (pack({"v": "meta.k8s.io/v1", "rv": 1, "start": "/../a"}), ": /../a"),
        (
            pack({"v": "meta.k8s.io/v1", "rv": "1", "start": "/a"}),
            ": json: cannot unmarshal string into Go struct field continueToken.rv of type int64",
        ),
        ("a" * 9000, ": it is too long"),
    ],
)
def test_others_are_refused(token, problem):
    with pytest.raises(errors.BadRequestError) as caught:
        tokens.decode(token)
    assert caught.value.message == f"invalid continue token: continue key is not valid{problem}"


@given(
    st.text()
    | st.binary().map(pack)
    | st.dictionaries(st.sampled_from(["v", "rv", "start", "rc"]), st.none() | st.integers() | st.text()).map(pack)
)
def test_no_text_does_harm(token):
    with pytest.raises(errors.BadRequestError):
        tokens.decode(token)
