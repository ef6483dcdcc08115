"""Which container a stream is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lattice.api import errors
from nodeagent.runtime import base
from nodeagent.streams import targets

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TARGET = targets.Target(pod_uid="u", pod="web", namespace="default", container="main")


def container(
    identity: str, *, name: str = "main", restarts: int = 0, state: str = "running", started: bool = True, ip: str = ""
) -> base.Container:
    return base.Container(
        id=base.ContainerId(identity),
        name=identity,
        image="i",
        image_id="i",
        labels={base.LABEL_CONTAINER: name, base.LABEL_RESTARTS: str(restarts)},
        state=base.ContainerState(state),
        created_at=NOW + timedelta(seconds=restarts),
        started_at=NOW if started else None,
        ip=ip,
    )


def test_the_running_container_of_the_name_is_meant() -> None:
    found = [container("old", state="exited"), container("new", restarts=1), container("other", name="sidecar")]
    assert targets.running(found, TARGET).id == "new"
    with pytest.raises(errors.NotFoundError, match=r'container not found \("main"\)'):
        targets.running(found[:1] + found[2:], TARGET)


def test_the_newest_that_was_started_is_logged() -> None:
    found = [container("new", restarts=2, state="created", started=False), container("old", state="exited"), container("mid", restarts=1)]
    assert targets.logged(found, TARGET, previous=False).id == "mid"
    assert targets.logged(found, TARGET, previous=True).id == "old"


def test_the_previous_one_is_what_the_status_shows_as_ended() -> None:
    waiting = [container("older", state="exited"), container("last", restarts=1, state="exited")]
    assert targets.logged(waiting, TARGET, previous=True, ended_id="last").id == "last"
    assert targets.logged(waiting, TARGET, previous=True, ended_id="gone").id == "older"


def test_what_was_never_started_has_no_log() -> None:
    with pytest.raises(errors.BadRequestError, match="is waiting to start: ContainerCreating"):
        targets.logged([container("new", state="created", started=False)], TARGET, previous=False)
    with pytest.raises(errors.BadRequestError, match='previous terminated container "main" in pod "web" not found'):
        targets.logged([container("only")], TARGET, previous=True)


def test_a_port_is_reached_through_the_container_that_has_the_address() -> None:
    found = [container("app"), container("pause", name="POD", ip="10.0.0.2"), container("dead", state="exited", ip="10.0.0.3")]
    assert targets.reachable(found, TARGET).id == "pause"
    with pytest.raises(errors.NotFoundError, match='no container of pod "web" is running'):
        targets.reachable([container("dead", state="exited")], TARGET)


@pytest.mark.parametrize("question", [{}, {"podUID": ""}, {"podUID": 1, "pod": "p", "namespace": "n", "container": "c"}, {"podUID": "u"}])
def test_a_question_without_a_container_is_refused(question: dict[str, object]) -> None:
    with pytest.raises(errors.BadRequestError):
        targets.Target.of(question)
