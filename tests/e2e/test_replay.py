"""What was recorded with a real kube-apiserver is answered the same here, but for the differences that are listed with their reasons."""

from pathlib import Path

import pytest

from lattice.testing.replay import MODES, Listed, Outcome, compare, listed_differences, replay, replayed_server

pytestmark = [pytest.mark.e2e]


@pytest.mark.slow
@pytest.mark.timeout(270)
@pytest.mark.parametrize("mode", [pytest.param(mode, marks=pytest.mark.kubectl if mode == "kubectl" else ()) for mode in MODES])
async def test_the_recordings_are_answered_as_recorded(mode: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if mode == "kubectl":
        request.getfixturevalue("kubectl")
    async with replayed_server(tmp_path) as plane:
        outcome = await replay(plane, mode, tmp_path)
        assert "Traceback" not in (plane.directory / "server.log").read_text()
    print(outcome.text)
    problems = compare(outcome, listed_differences(), mode)
    assert not problems, "\n".join(problems)


def test_the_list_can_only_shrink() -> None:
    """A difference that is not listed fails, and so does one that is listed and gone."""
    outcome = Outcome(differing={("wire", "006", 0): "  what", ("wire", "007", 1): "  what"}, equal=98, compared=100, text="")
    listed = {
        ("wire", "007", 1): Listed("It is so."),
        ("wire", "008", 2): Listed("It was so."),
        ("wire", "009", 3): Listed("It is so at times.", race=True),
        ("kubectl", "001", 0): Listed("Of the other mode."),
    }
    problems = compare(outcome, listed, "wire")
    assert [problem.split(":")[0] for problem in problems] == ["differs and is not listed", "differs no longer, delete its entry"]
    assert 'scenario = "006", item = 0' in problems[0]
    assert 'scenario = "008", item = 2' in problems[1]


def test_too_few_equal_answers_fail_whatever_is_listed() -> None:
    outcome = Outcome(differing={("wire", "006", 0): "  what"}, equal=94, compared=100, text="")
    assert compare(outcome, {("wire", "006", 0): Listed("It is so.")}, "wire") == ["wire: only 94 of 100 are equal, 95 % are wanted"]
