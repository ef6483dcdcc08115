"""How much the server takes on: who gives way, and what is counted."""

import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.apiserver.limits import Connections, Limits, Work, fitted
from lattice.api import errors


class Bench:
    """Connections with numbers; remembers which were aborted."""

    def __init__(self, connections, strangers):
        self.aborted = []
        self.limits = Limits(connections=connections, strangers=strangers)
        self.counted = Connections(self.limits)

    def open(self, *keys):
        for key in keys:
            self.counted.opened(key, lambda key=key: self.aborted.append(key))


def test_the_longest_silent_stranger_gives_way():
    bench = Bench(connections=10, strangers=2)
    bench.open(1, 2)
    bench.counted.authenticated(1)
    bench.open(3)
    assert bench.aborted == []
    bench.open(4)
    assert bench.aborted == [2]
    bench.counted.closed(2)
    assert len(bench.counted) == 3


def test_who_has_authenticated_is_never_closed_for_a_newcomer():
    bench = Bench(connections=2, strangers=2)
    bench.open(1, 2)
    bench.counted.authenticated(1)
    bench.counted.authenticated(2)
    bench.open(3)
    assert bench.aborted == [3]
    assert bench.counted.refused == 1


@given(st.lists(st.tuples(st.sampled_from(["open", "known", "close"]), st.integers(0, 30)), max_size=100))
def test_never_more_than_allowed(steps):
    bench = Bench(connections=5, strangers=3)
    opened, known = set(), set()
    for step, key in steps:
        if step == "open" and key not in opened:
            bench.open(key)
            opened.add(key)
        elif step == "known":
            bench.counted.authenticated(key)
            known |= {key} & (opened - set(bench.aborted))
        elif step == "close":
            bench.counted.closed(key)
        assert len(bench.counted) <= 5
    assert not known & set(bench.aborted)


def test_requests_in_work_are_limited_and_given_back():
    work = Work(Limits(requests=2))
    work.begin()
    work.begin()
    with pytest.raises(errors.TooManyRequestsError) as caught:
        work.begin()
    assert (caught.value.status_code, caught.value.retry_after_s) == (429, 1)
    work.end()
    work.begin()
    assert work.requests == 2


def test_bytes_in_work_are_limited_and_given_back():
    work = Work(Limits(body_bytes=100))
    work.take(60)
    with pytest.raises(errors.TooManyRequestsError):
        work.take(41)
    work.take(41, refuse=False)
    work.take(-101)
    work.take(100)
    assert work.body_bytes == 100


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ((1024, 1024), (768, 384)),
        ((1024, 20_000), (16_384, 1_024)),
        ((20_000, 20_000), (16_384, 1_024)),
        ((300, 300), (64, 32)),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), (16_384, 1_024)),
        ((1024, resource.RLIM_INFINITY), (16_384, 1_024)),
    ],
)
def test_there_are_no_more_connections_than_files(monkeypatch, files, expected):
    asked = []
    monkeypatch.setattr(resource, "getrlimit", lambda _what: files)
    monkeypatch.setattr(resource, "setrlimit", lambda _what, values: asked.append(values))
    limits = fitted(Limits())
    assert (limits.connections, limits.strangers) == expected
    assert all(soft <= 65_536 for soft, _ in asked)


def test_a_system_that_refuses_more_files_is_lived_with(monkeypatch):
    def refuse(_what, _values):
        raise ValueError

    monkeypatch.setattr(resource, "getrlimit", lambda _what: (1024, 20_000))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert fitted(Limits()).connections == 768
