"""`hack/test`: every check of this repository, with all of its set-up. CI runs exactly this.

The stages, in order: lint, unit, contract, integration, coverage of those three, e2e. `hack/test fast` is lint and unit,
needs no Docker and is for the inner loop; any list of stages works. An engine that was started here is stopped at the
end, whatever happens in between.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kit.console import HackError, main_guard, say
from kit.etcd import ensure_program as ensure_etcd
from kit.kubectl import find_kubectl
from kit.official_images import OFFICIAL
from kit.packages import ensure_programs
from kit.paths import REPOSITORY, VENV
from kit.setup import Machine, ensure_machine
from kit.venv import ensure_venv

STAGES = ("lint", "unit", "contract", "integration", "coverage", "e2e")
GROUPS: Mapping[str, tuple[str, ...]] = {"fast": ("lint", "unit"), "all": STAGES}
NEEDS_MACHINE = frozenset({"contract", "integration", "e2e"})
LOWEST_COVERAGE_PERCENT = 85

CLOSING_LINE = re.compile(r"^=+ (.*\b(?:passed|failed|error|errors|skipped|deselected|no tests ran)\b.*) in [\d.]+s")


@dataclass
class Run:
    """One run of `hack/test`."""

    environment: dict[str, str]
    enter: list[str] = field(default_factory=list)
    """Prefix that brings tests to the network namespace of the engine."""
    outcomes: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    def command(self, title: str, argv: list[str], *, needs_machine: bool = False) -> None:
        """Run one command, with its output shown and pytest's closing line counted."""
        say(f"--- {title}")
        prefix = self.enter if needs_machine else []
        closing = ""
        with subprocess.Popen(
            [*prefix, *argv],
            cwd=REPOSITORY,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(line, end="", flush=True)
                closing = line if CLOSING_LINE.match(line) else closing
        for count, outcome in re.findall(r"(\d+) (\w+)", closing.split(" in ")[0]):
            self.outcomes[outcome.removesuffix("s") if outcome == "errors" else outcome] += int(count)
        if process.returncode != 0:
            self.failed.append(title)

    def pytest(self, stage: str, *options: str) -> None:
        """Run the tests of a stage under coverage, but e2e, whose processes are not ours to measure."""
        measured = ["-m", "coverage", "run"] if stage != "e2e" else []
        argv = [str(VENV / "bin/python"), *measured, "-m", "pytest", f"tests/{stage}", *options]
        self.command(stage, argv, needs_machine=stage in NEEDS_MACHINE)


def _lint(run: Run) -> None:
    bin_dir = VENV / "bin"
    run.command("ruff check", [str(bin_dir / "ruff"), "check"])
    run.command("ruff format", [str(bin_dir / "ruff"), "format", "--check"])
    run.command("mypy", [str(bin_dir / "mypy")])
    run.command(
        "mypy hack", ["env", "MYPYPATH=hack", str(bin_dir / "mypy"), "--explicit-package-bases", "hack/kit", "hack/live", "hack/check.py"]
    )
    run.command("mypy examples", [str(bin_dir / "mypy"), *map(str, sorted((REPOSITORY / "examples").glob("*/*.py")))])
    run.command("import contracts", [str(bin_dir / "lint-imports")])
    run.command("generated files", ["hack/gen", "--check"])
    scripts = [path for path in (REPOSITORY / "hack").iterdir() if path.is_file() and _is_shell(path)]
    run.command("shellcheck", ["shellcheck", "-x", *map(str, sorted(scripts)), ".ci/run", *_image_scripts()])


def _is_shell(path: Path) -> bool:
    with path.open("rb") as file:
        return b"bash" in file.readline()


def _image_scripts() -> list[str]:
    return [str(path) for path in sorted((REPOSITORY / "hack/kit/images/files").glob("*.sh"))]


def _coverage(run: Run) -> None:
    coverage = [str(VENV / "bin/python"), "-m", "coverage"]
    run.command("coverage data", [*coverage, "combine", "--quiet"])
    run.command("coverage", [*coverage, "report", "--skip-covered", f"--fail-under={LOWEST_COVERAGE_PERCENT}"])


ACTIONS: Mapping[str, Callable[[Run], None]] = {
    "lint": _lint,
    "unit": lambda run: run.pytest("unit", "-n", "auto"),
    "contract": lambda run: run.pytest("contract"),
    "integration": lambda run: run.pytest("integration"),
    "coverage": _coverage,
    "e2e": lambda run: run.pytest("e2e"),
}


def main(arguments: list[str]) -> int:
    """Run the stages; see `hack/test --help`."""
    parser = argparse.ArgumentParser(prog="hack/test", description="Every check of this repository, with all set-up.")
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"{', '.join((*STAGES, *GROUPS))} (default: all)")
    asked: list[str] = parser.parse_args(arguments).stages or ["all"]
    wanted = [stage for name in asked for stage in GROUPS.get(name, (name,))]
    if unknown := sorted(set(wanted) - set(STAGES)):
        parser.error(f"no such stage: {', '.join(unknown)}")
    started = time.monotonic()
    ensure_venv("clients")
    run = Run(environment={**os.environ, "PYTHONUNBUFFERED": "1"})
    machine = _set_up(run, wanted)
    try:
        if "unit" in wanted:
            subprocess.run([VENV / "bin/python", "-m", "coverage", "erase"], cwd=REPOSITORY, check=False)
        for stage in STAGES:
            if stage in wanted:
                ACTIONS[stage](run)
    finally:
        _tear_down(machine)
    return _close(run, time.monotonic() - started)


def _set_up(run: Run, wanted: list[str]) -> Machine | None:
    if "lint" in wanted:
        ensure_programs({"shellcheck": "shellcheck"})
    if not NEEDS_MACHINE & set(wanted):
        return None
    run.environment["LATTICE_ETCD"] = ensure_etcd()
    ensure_programs({"docker-registry": "docker-registry"})
    try:
        run.environment["LATTICE_KUBECTL"] = str(find_kubectl())
    except HackError as error:
        if "e2e" in wanted and os.environ.get("CI"):
            raise
        say(f"{error}; tests that need it are skipped")
    machine = ensure_machine(OFFICIAL, always_own=True)
    run.environment["LATTICE_DOCKER_HOST"] = machine.api.host
    run.environment["PATH"] = f"{VENV / 'bin'}:{run.environment.get('PATH', '')}:/usr/sbin:/sbin"
    run.enter = machine.enter
    return machine


def _tear_down(machine: Machine | None) -> None:
    if machine is None or not machine.started or machine.own_engine is None:
        return
    for container in machine.api.call("GET", "/containers/json", {"all": "1"}) or []:
        say(f"a test left the container {container['Names'][0]} ({container['Image']}); removing it")
        machine.api.call("DELETE", f"/containers/{container['Id']}", {"force": "1", "v": "1"})
    machine.own_engine.down()


def _close(run: Run, elapsed_s: float) -> int:
    """The last lines: what failed, and the sum of pytest's closing lines in pytest's own form."""
    if run.failed:
        say(f"failed: {', '.join(run.failed)}")
    counts = ", ".join(f"{run.outcomes[name]} {name}" for name in sorted(run.outcomes)) or "no tests ran"
    say(f"===== {counts} in {elapsed_s:.2f}s =====")
    return 1 if run.failed else 0


if __name__ == "__main__":
    main_guard("hack/test", main)
