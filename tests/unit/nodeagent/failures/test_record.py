"""What is a failure, what is kept of it, and that it stays within its bounds."""

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.api import configmap
from nodeagent.failures import record, redaction
from nodeagent.failures.record import Failure
from nodeagent.failures.store import FailureStore


def failure(number: int = 0, *, pod: str = "p", container: str = "c", **more: object) -> Failure:
    fields: dict[str, object] = {"exit_code": 3, "image": "x:1", "image_digest": "x@sha256:aa", "finished_at": f"t{number:04}", **more}
    return Failure(namespace="ns", pod=pod, pod_uid=f"u-{pod}", container=container, container_id="i", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("exit_code", "oom", "probe", "asked", "is_one"),
    [
        (0, False, "", False, False),
        (3, False, "", False, True),
        (137, True, "", False, True),
        (0, True, "", False, False),  # only a child was killed, and the program ended well
        (143, False, "", True, False),
        (137, False, "", True, False),
        (143, False, "Liveness probe failed", False, True),
        (0, False, "Liveness probe failed", False, True),
        (None, False, "", False, False),
    ],
)
def test_what_is_a_failure(exit_code: int | None, oom: bool, probe: str, asked: bool, is_one: bool) -> None:
    assert record.is_failure(exit_code=exit_code, oom_killed=oom, probe_output=probe, asked_to_end=asked) is is_one


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"))))
def test_the_last_lines_are_kept_within_bounds(lines: list[str]) -> None:
    kept, cut = record.last_lines("\n".join(lines))
    assert len(kept) <= record.MAX_LINES
    assert sum(len(line.encode()) + 1 for line in kept) <= record.MAX_LOG_BYTES
    if not cut:
        assert list(kept) == "\n".join(lines).splitlines()


def test_long_logs_and_lines_are_cut_at_the_front_and_say_so() -> None:
    assert record.last_lines("a\n" * 300) == (("a",) * 100, True)
    kept, cut = record.last_lines("first\n" + "é" * 5000 + "\nlast\n")
    assert cut is True
    assert kept[-1] == "last"
    assert kept[1].endswith("…")
    assert len(kept[1].encode()) <= record.MAX_LINE_BYTES
    many, cut = record.last_lines("\n".join("x" * 1000 for _ in range(50)))
    assert (len(many), cut) == (16, True)


def test_a_crash_loop_pushes_nothing_else_out() -> None:
    quiet = failure(0, pod="quiet")
    loop = [failure(number, pod="loop") for number in range(1, 500)]
    kept = record.kept([quiet, *loop])
    assert kept[0] == quiet
    assert [each.finished_at for each in kept[1:]] == [f"t{number:04}" for number in range(495, 500)]
    assert len(record.kept([failure(number, pod=str(number)) for number in range(500)])) == record.TOTAL


def test_the_event_is_one_line_within_its_limit() -> None:
    text = record.event_message(failure(log=("one", "", "two"), probe_output="Liveness probe failed: no\nanswer"))
    assert text == ("Container c failed: exit code 3; probe: Liveness probe failed: no answer; image x@sha256:aa; last lines: one | two")
    long = record.event_message(failure(log=tuple("y" * 400 for _ in range(100)), oom_killed=True, exit_code=137))
    assert "killed for want of memory (exit code 137)" in long
    assert len(long.encode()) <= 1024
    assert len(record.event_message(failure(log=("z" * 2000,))).encode()) <= 1024


def secret(**values: str) -> configmap.Secret:
    data = {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}
    return configmap.Secret.model_validate({"metadata": {"name": "s", "namespace": "ns"}, "data": data})


def test_values_of_secrets_are_hidden_as_they_are_and_in_base64() -> None:
    values = redaction.secret_values([secret(password="sw0rdfish-9", short="yes", key="line-one\nline-two\n")])
    encoded = base64.b64encode(b"sw0rdfish-9").decode()
    text = redaction.redact(f"url=postgres://u:sw0rdfish-9@h yes {encoded}\nline-two!", values)
    assert text == "url=postgres://u:***@h yes ***\n***!"


def test_records_outlive_the_agent_and_a_damaged_line_costs_only_itself(tmp_path: Path) -> None:
    store = FailureStore(tmp_path)
    store.load()
    assert store.add(failure(1, log=("a",))) is True
    assert store.add(failure(1)) is False  # the same end again
    assert store.add(failure(2, pod="q")) is True
    path = tmp_path / "failures.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"{broken\n[1]\n{}\n" + path.read_bytes())
    again = FailureStore(tmp_path)
    again.load()
    assert again.all() == store.all()
    assert [each.pod for each in again.of_pod("u-q")] == ["q"]
    assert [each.pod for each in again.of_pod(namespace="ns", name="p")] == ["p"]


def test_a_person_reads_the_newest_first() -> None:
    lines = record.lines_of([failure(1), failure(2, log=("boom",), log_cut=True, restarts=1, message="why")])
    assert lines[0] == "t0002 ns/p container c: exit code 3"
    assert "  Log (earlier lines left out):" in lines
    assert "    boom" in lines
    assert lines[-1] == "  Log:     empty"
