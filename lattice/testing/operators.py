"""A kopf operator in a process of its own, for end-to-end tests: started, killed, started again, and asked what it was told.

    operator = KopfOperator(script, kubeconfig, directory=tmp_path, env={"STORY_GROUP": group})
    operator.start()
    await operator.told("created", "web")

The script appends one JSON object a line, with ``what`` and ``name``, to the file that ``STORY_JOURNAL`` names.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from lattice.testing.polling import eventually
from lattice.testing.processes import Process


class KopfOperator(Process):
    """``kopf run SCRIPT`` with a journal. Start it as often as it was stopped or killed: the journal goes on.

    Args:
        script: the operator.
        kubeconfig: where it finds the server, and who it is.
        directory: for its journal and its log.
        name: of both; operators that run at the same time need different ones.
        options: of ``kopf run``; by default it minds all namespaces and no peers.
        env: further variables.
    """

    def __init__(
        self,
        script: Path,
        kubeconfig: Path,
        *,
        directory: Path,
        name: str = "operator",
        options: Sequence[str] = ("--all-namespaces", "--standalone"),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.journal = directory / f"{name}.jsonl"
        variables = {"KUBECONFIG": str(kubeconfig), "STORY_JOURNAL": str(self.journal), **(env or {})}
        argv = (sys.executable, "-m", "kopf", "run", *options, str(script))
        super().__init__(argv, log=directory / f"{name}.log", env=variables)

    def entries(self, what: str | None = None, name: str | None = None) -> list[dict[str, Any]]:
        """Return what it was told so far, perhaps only of one sort or one object."""
        if not self.journal.exists():
            return []
        found = [orjson.loads(line) for line in self.journal.read_bytes().splitlines()]
        return [entry for entry in found if what in {None, entry["what"]} and name in {None, entry["name"]}]

    async def told(self, what: str, name: str, *, times: int = 1, deadline_s: float = 20.0) -> list[dict[str, Any]]:
        """Wait until it was told something at least so many times, and return those entries."""

        def enough() -> list[dict[str, Any]]:
            if not self.running:
                raise RuntimeError(f"the operator ended:\n{self.tail()}")
            found = self.entries(what, name)
            assert len(found) >= times, [entry for entry in self.entries(name=name) if entry["what"] != "ticked"]
            return found

        return await eventually(enough, deadline_s, f"the operator to be told {what!r} of {name} {times}x")
