"""The owner's pause: what it holds, what the Node says of it, and what its file says."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from lattice.api import errors, pod
from lattice.testing.clock import FakeClock
from nodeagent.controls.pause import Pause
from nodeagent.runtime import base
from nodeagent.workloads.observed import ContainerTable


def make_pod(uid: str) -> pod.Pod:
    return pod.Pod.model_validate({"metadata": {"name": uid, "uid": uid}, "spec": {"containers": [{"name": "a", "image": "b"}]}})


def make_pause(root: Path, told: list[int] | None = None) -> Pause:
    table = ContainerTable("n")
    labels = {base.LABEL_NODE: "n", base.LABEL_POD_UID: "old"}
    at, state = datetime(2026, 1, 1, tzinfo=UTC), base.ContainerState.EXITED
    table.put(base.Container(id=base.ContainerId("c"), name="c", image="b", image_id="i", labels=labels, state=state, created_at=at))
    pause = Pause(root, table, FakeClock(), lambda: None if told is None else told.append(1))
    pause.load()
    return pause


def test_what_is_here_goes_on_and_what_is_new_waits_unless_all_is_to_stop(tmp_path: Path) -> None:
    told: list[int] = []
    pause = make_pause(tmp_path, told)
    assert (pause.hold(make_pod("new")), pause.facts()) == (None, ())
    pause.pause(stop=False, reason="quiet")
    assert pause.hold(make_pod("old")) is None
    wait = pause.hold(make_pod("new"))
    assert wait is not None
    assert (wait.reason, wait.message) == ("NodePaused", "the owner of this machine has paused it: quiet")
    [fact] = pause.facts()
    assert (fact.type, fact.status, fact.message) == ("Paused", "True", "the owner of this machine lets nothing new start here: quiet")
    pause.pause(stop=True, reason="")
    assert pause.hold(make_pod("old")) is not None
    assert pause.resume() is True
    assert pause.resume() is False
    assert pause.hold(make_pod("new")) is None
    assert len(told) == 4


def test_a_pause_outlives_the_agent_and_keeps_the_time_at_which_it_began(tmp_path: Path) -> None:
    began = make_pause(tmp_path).pause(stop=False, reason="a").since
    again = make_pause(tmp_path)
    assert again.state is not None
    assert (again.state.since, again.state.reason, again.state.stop) == (began, "a", False)
    assert again.pause(stop=True, reason="b").since == began
    assert (tmp_path / "paused.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"since": "x"}', b"\xff"])
def test_a_damaged_file_still_pauses(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "paused.json").write_bytes(damage)
    pause = make_pause(tmp_path)
    assert pause.hold(make_pod("new")) is not None
    pause.resume()
    assert make_pause(tmp_path).state is None


def test_a_pause_that_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    pause = make_pause(tmp_path)
    (tmp_path / "paused.new").mkdir()
    with pytest.raises(errors.UnavailableError, match="cannot write the pause"):
        pause.pause(stop=False, reason="")
    assert pause.state is None
