"""The journal of results: what was added is there after any end of the agent, numbers only grow, damage costs one line."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.api import meta, pod
from nodeagent.journal import Journal, Result, results_of


def status(phase: str = "Running", *, restarts: int = 0, ended: int | None = None, code: int = 1) -> pod.PodStatus:
    """Return the status of a Pod of one container, which has ended ``ended`` times before."""
    container: dict[str, Any] = {"name": "main", "image": "i", "imageID": "", "ready": True, "restartCount": restarts}
    if ended is not None:
        end = {"exitCode": code, "containerID": f"docker://c{ended}", "finishedAt": "2026-11-01T10:00:00Z"}
        container["lastState"] = {"terminated": end}
    return pod.PodStatus.model_validate({"phase": phase, "containerStatuses": [container]})


def result(uid: str = "u1", **fields: Any) -> Result:
    return Result(uid=meta.Uid(uid), namespace="default", name=f"pod-{uid}", status=status(**fields), ports="")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def opened(path: Path) -> Journal:
    journal = Journal(path)
    journal.open()
    return journal


def add(journal: Journal, what: Result) -> int:
    number = journal.number()
    journal.add(number, what)
    return number


def test_what_was_added_is_there_after_a_kill_in_its_order(path: Path) -> None:
    first = opened(path)
    numbers = [add(first, result("u1", ended=1)), add(first, result("u2", phase="Failed")), add(first, result("u1", ended=2))]
    first.done(numbers[1])
    second = opened(path)  # the first was never closed
    assert list(second.pending) == [numbers[0], numbers[2]]
    assert [held.status for held in second.pending.values()] == [status(ended=1), status(ended=2)]


def test_numbers_only_grow_over_lives_that_wrote_nothing_else(path: Path) -> None:
    seen = []
    for _ in range(4):
        journal = opened(path)
        seen += [journal.number() for _ in range(3)]
    assert seen == sorted(set(seen))


def test_a_number_that_the_server_has_seen_is_passed(path: Path) -> None:
    journal = opened(path)
    journal.raise_to(70_000)
    assert journal.number() == 70_001
    assert opened(path).number() > 70_001


def test_a_torn_line_costs_that_line_only(path: Path) -> None:
    journal = opened(path)
    numbers = [add(journal, result(f"u{n}", ended=n)) for n in range(3)]
    path.write_bytes(path.read_bytes()[:-20])
    again = opened(path)
    assert list(again.pending) == numbers[:2]
    later = add(again, result("u9", ended=9))
    assert list(opened(path).pending) == [*numbers[:2], later]


@given(st.data())
def test_any_damage_loses_no_other_line(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("j") / "journal"
    journal = opened(path)
    kept = {add(journal, result(f"u{n}", ended=n)) for n in range(5)}
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    found = set(opened(path).pending)
    assert found <= kept
    assert len(found) >= 3  # a newline that is gone joins two lines
    assert opened(path).number() >= max(found)


def test_many_results_of_one_pod_are_bounded_and_the_newest_stay(path: Path) -> None:
    journal = opened(path)
    other = add(journal, result("other", phase="Succeeded"))
    numbers = [add(journal, result("crasher", ended=n, restarts=n)) for n in range(500)]
    assert list(journal.pending) == [other, *numbers[-10:]]
    assert list(opened(path).pending) == [other, *numbers[-10:]]


def test_the_file_stays_small_however_much_goes_through_it(path: Path) -> None:
    journal = opened(path)
    stays = add(journal, result("stays", phase="Failed"))
    for n in range(3000):
        journal.done(add(journal, result("goes", ended=n)))
    assert path.stat().st_size < 600_000
    assert list(opened(path).pending) == [stays]
    assert path.stat().st_mode & 0o077 == 0


async def test_a_full_disk_loses_no_result_and_is_made_up_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(path)
    real = os.write

    def short(handle: int, content: bytes) -> int:
        return real(handle, content[: len(content) // 2])

    with monkeypatch.context() as disk:
        disk.setattr(os, "write", short)
        number = add(journal, result("u1", ended=1))
        await journal.sync()
        assert list(journal.pending) == [number]
    await journal.sync()
    assert list(opened(path).pending) == [number]


def test_a_result_is_an_end_that_was_not_told_before() -> None:
    assert results_of(status(ended=1)) - results_of(status())
    assert not results_of(status(ended=1, restarts=1)) - results_of(status(ended=1))
    assert results_of(status(ended=2)) - results_of(status(ended=1))
    assert results_of(status(phase="Failed", ended=1)) - results_of(status(ended=1))
    assert not results_of(status(restarts=3))


def test_any_series_of_calls_and_kills_keeps_exactly_what_is_not_done(tmp_path: Path) -> None:
    rng, path = random.Random(7), tmp_path / "journal"
    journal, expected = opened(path), dict[int, str]()
    for step in range(400):
        match rng.randrange(4):
            case 0 | 1:
                uid = f"u{step}"
                expected[add(journal, result(uid, ended=step))] = uid
            case 2 if expected:
                gone = rng.choice([*expected])
                journal.done(gone)
                del expected[gone]
            case _:
                journal = opened(path)
        assert {number: held.uid for number, held in journal.pending.items()} == expected
