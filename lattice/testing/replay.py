"""The recorded answers of a real kube-apiserver, asked for again: what ``hack/replay`` and tests/e2e/test_replay.py run.

    async with replayed_server(tmp_path) as plane:
        outcome = await replay(plane, "wire", tmp_path)
    problems = compare(outcome, listed_differences())

tests/data/replay has the tool (its README says what is sent and compared) and the recordings. Here they are unpacked, a server with the
users of the recordings is started, the tool is run on it in a process of its own, and its result is held against
tests/replay-differences.toml: what differs must stand there with its reason, and what no longer differs must not. The tool wants an
empty store: one server for each mode.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lattice.client import kubeconfig
from lattice.testing.controlplane import ControlPlane

MODES = ("wire", "kubectl")
LEAST_EQUAL_PERCENT = 95.0
BUDGET_S = 200
"""What has not been sent by then counts as different; both modes take 30 to 60 seconds on two cores that have little else to do."""

_TESTS = Path(__file__).resolve().parents[2] / "tests"
_DATA = _TESTS / "data" / "replay"
DIFFERENCES = _TESTS / "replay-differences.toml"

Item = tuple[str, str, int]
"""Mode, scenario and place in it."""


class RecordedPlane(ControlPlane):
    """A control plane with the users that the recordings were made with."""

    USERS = ('admin-token,admin,u-admin,"system:masters"', "alice-token,alice,u-alice,")


@dataclass(frozen=True)
class Outcome:
    """What the tool found.

    Attributes:
        differing: what was asked and the first differences, of each that differs.
        equal: how many are as recorded.
        compared: how many were compared.
        text: the tool's own report.
    """

    differing: Mapping[Item, str]
    equal: int
    compared: int
    text: str

    @property
    def percent(self) -> float:
        """Return the share that is as recorded."""
        return 100 * self.equal / self.compared if self.compared else 0.0


@asynccontextmanager
async def replayed_server(directory: Path) -> AsyncIterator[RecordedPlane]:
    """Run an empty server with the users of the recordings, for one replay."""
    async with RecordedPlane(directory / "plane") as plane:
        await plane.start_server()
        yield plane


def unpack(directory: Path) -> None:
    """Write the recordings, and the manifests that they were made with (crd.yaml, s1.yaml, s2.yaml), into a directory."""
    with tarfile.open(_DATA / "recordings.tar.xz") as archive:
        archive.extractall(directory, filter="data")


async def replay(plane: ControlPlane, mode: str, directory: Path, *, options: tuple[str, ...] = ()) -> Outcome:
    """Run the tool on an empty server and read its result.

    Args:
        plane: the server.
        mode: ``wire`` or ``kubectl``.
        directory: files of the tool are kept there.
        options: more for the tool, such as ``-v`` or ``--only``.

    Raises:
        RuntimeError: the tool could not run; the message is its output.
    """
    recordings, authority, result = directory / "recordings", directory / "ca.pem", directory / f"{mode}.json"
    unpack(recordings)
    authority.write_bytes(kubeconfig.load(plane.kubeconfig).ca_data or b"")
    argv = [sys.executable, str(_DATA / "replay.py"), mode, "--server", plane.url, "--ca", str(authority), "--given", str(recordings)]
    argv += ["--token-admin", "admin-token", "--token-alice", "alice-token", "--budget", str(BUDGET_S), "--json", str(result)]
    if mode == "kubectl" and (program := _kubectl()):
        argv += ["--kubectl", program]
    text = await _run([*argv, *options])
    if not result.exists():
        raise RuntimeError(f"the replay did not run:\n{text}\n{plane.server.tail()}")
    return _read(json.loads(result.read_bytes()), text)


class Listed(NamedTuple):
    """A difference that tests/replay-differences.toml knows."""

    reason: str
    race: bool = False
    """Whether the answer depends on how far a reconciler has come: it may differ or not."""


def listed_differences(path: Path = DIFFERENCES) -> dict[Item, Listed]:
    """Return what tests/replay-differences.toml says may differ, and why.

    Raises:
        ValueError: an entry stands there twice or gives no reason.
    """
    listed: dict[Item, Listed] = {}
    for entry in tomllib.loads(path.read_text())["difference"]:
        item = (str(entry["mode"]), str(entry["scenario"]), int(entry["item"]))
        if item in listed or item[0] not in MODES or len(entry["reason"].split()) < 4:
            raise ValueError(f"{path.name}: {' '.join(map(str, item))}: needs a mode, a sentence as its reason, and to stand there once")
        listed[item] = Listed(entry["reason"], race=bool(entry.get("race")))
    return listed


def compare(outcome: Outcome, listed: Mapping[Item, Listed], mode: str) -> list[str]:
    """Return what is wrong: differences without an entry, entries without a difference, too few that are equal."""
    problems = [f"differs and is not listed: {_shown(item)}\n{what}" for item, what in outcome.differing.items() if item not in listed]
    problems += [
        f"differs no longer, delete its entry: {_shown(item)}"
        for item, entry in listed.items()
        if item[0] == mode and item not in outcome.differing and not entry.race
    ]
    if outcome.percent < LEAST_EQUAL_PERCENT:
        problems.append(f"{mode}: only {outcome.equal} of {outcome.compared} are equal, {LEAST_EQUAL_PERCENT:g} % are wanted")
    return problems


def _shown(item: Item) -> str:
    mode, scenario, place = item
    return f'mode = "{mode}", scenario = "{scenario}", item = {place}'


def _read(result: Mapping[str, Any], text: str) -> Outcome:
    differing: dict[Item, str] = {}
    for scenario in result["scenarios"]:
        for item in scenario["items"]:
            if item["state"] in {"fail", "not run"}:
                lines = [f"    {item['what']}", *(f"    {item[key]}" for key in ("reason",) if key in item)]
                lines += [f"      {where}: expected {_short(old)}, got {_short(new)}" for where, old, new in item.get("diffs", [])[:6]]
                differing[str(result["mode"]), str(scenario["id"]), int(item["i"])] = "\n".join(lines)
    totals = result["totals"].values()
    return Outcome(differing, sum(each["pass"] for each in totals), sum(each["compared"] for each in totals), text)


def _short(value: object, most: int = 300) -> str:
    text = json.dumps(value)
    return text if len(text) <= most else f"{text[:most]}…"


def _kubectl() -> str | None:
    """The kubectl of the recordings (1.32) if it stands beside the one that tests use, else that one; None: the tool looks for it."""
    if not (given := os.environ.get("LATTICE_KUBECTL")):
        return None
    beside = Path(given).resolve().with_name("kubectl.1.32")
    return str(beside) if beside.exists() else given


async def _run(argv: list[str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
    )
    try:
        output, _ = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # nothing after a normal end
        await process.wait()
    return output.decode(errors="replace")


async def _main(options: argparse.Namespace) -> int:
    more = (["--only", options.only] if options.only else []) + ["-v"] * options.verbose
    problems: list[str] = []
    for mode in options.modes or MODES:
        with tempfile.TemporaryDirectory(prefix="lattice-replay-") as directory:
            async with replayed_server(Path(directory)) as plane:
                outcome = await replay(plane, mode, Path(directory), options=tuple(more))
        print(outcome.text, flush=True)  # noqa: T201 - its output
        if not options.only:
            problems += compare(outcome, listed_differences(), mode)
    if not options.only:
        print("\n".join(problems) or f"all that differs stands in {DIFFERENCES.name}")  # noqa: T201 - its output
    return 1 if problems else 0


def main() -> int:
    """Run; see ``hack/replay --help``."""
    what = "Asks a server of this clone what was asked of a real kube-apiserver, and says what it answers otherwise."
    parser = argparse.ArgumentParser(prog="hack/replay", description=what)
    parser.add_argument("modes", nargs="*", metavar="MODE", help="wire or kubectl (default: both, each on a server of its own)")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="show each difference; twice: also what is ignored")
    parser.add_argument("--only", metavar="RE", help="only scenarios whose number begins so; nothing is held against the list then")
    options = parser.parse_args()
    if unknown := set(options.modes) - set(MODES):
        parser.error(f"no such mode: {', '.join(unknown)}")
    return asyncio.run(_main(options))


if __name__ == "__main__":
    sys.exit(main())
