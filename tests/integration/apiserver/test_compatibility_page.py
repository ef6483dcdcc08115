"""docs/reference/kubernetes-compatibility.md says what the server has, and what not."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "kubernetes-compatibility.md"
TESTS = Path(__file__).resolve().parents[2]
ALL = {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading, without its head."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


@pytest.fixture
async def served(api_server) -> dict[tuple[str, str], set[str]]:
    """Verbs by group version and resource, as discovery says."""
    found: dict[tuple[str, str], set[str]] = {}
    async with api_server.session() as http:
        async with http.get("/apis") as answer:
            versions = [each["groupVersion"] for group in (await answer.json())["groups"] for each in group["versions"]]
        for path, version in (("/api/v1", "v1"), *((f"/apis/{each}", each) for each in versions)):
            async with http.get(path) as answer:
                found |= {(version, each["name"]): set(each["verbs"]) for each in (await answer.json())["resources"]}
    return found


async def test_every_kind_stands_there_with_its_verbs_and_subresources(served) -> None:
    told: dict[tuple[str, str], set[str]] = {}
    below: dict[tuple[str, str], set[str]] = {}
    for version, resource, verbs, subresources in rows("Kinds"):
        told[version, resource] = ALL if verbs == "all" else set(verbs.split(", "))
        below[version, resource] = {f"{resource}/{each}" for each in subresources.split(", ") if each}
    assert told == {key: verbs for key, verbs in served.items() if "/" not in key[1]}
    assert {(version, name) for (version, _), names in below.items() for name in names} == {key for key in served if "/" in key[1]}


async def test_what_is_said_to_be_missing_is_missing(served) -> None:
    names = {name for _, name in served}
    groups = {version.split("/")[0] for version, _ in served if "/" in version}
    missing = [each for row in rows("What is not there") for each in row[0].split(", ")]
    assert len(missing) > 15
    assert not {each for each in missing if each in names or each in groups}


def test_the_tests_it_names_exist() -> None:
    for heading in ("Clients", "Writing", "Reading and watching"):
        folder = ""
        for row in rows(heading):
            for named in re.findall(r"`([^`]*)`", row[-1]):
                folder = named.rpartition("/")[0] if "/" in named else folder
                path = named if "/" in named else f"{folder}/{named}"
                assert list(TESTS.glob(path)), f"{heading}: there is no tests/{path}"
