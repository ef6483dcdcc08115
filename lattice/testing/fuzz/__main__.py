"""``python -m lattice.testing.fuzz``: what ``hack/fuzz`` runs. Starts a server of its own, attacks it, prints the report."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from lattice.testing.controlplane import ControlPlane
from lattice.testing.fuzz.run import Report, attack, prepare, tls_context


def main() -> int:
    """Run; see ``hack/fuzz --help``. Returns 1 when something was found."""
    parser = argparse.ArgumentParser(prog="hack/fuzz", description="Hostile requests against a whole API server.")
    parser.add_argument("--seed", type=int, default=1, help="the same seed sends the same requests (default: 1)")
    parser.add_argument("--requests", type=int, default=50_000, help="how many (default: 50000)")
    parser.add_argument("--minutes", type=float, default=60, help="end earlier after so many minutes (default: 60)")
    parser.add_argument("--workers", type=int, default=8, help="how many at a time (default: 8)")
    parser.add_argument("--store", choices=("sqlite", "etcd"), default="sqlite", help="back end (default: sqlite)")
    parser.add_argument("--openapi", type=int, default=0, metavar="N", help="instead: N requests for each published operation that writes")
    parser.add_argument("--keep", type=Path, help="write each finding as a case for tests/data/fuzz into this directory")
    parser.add_argument("--out", type=Path, help="append the figures to this file")
    options = parser.parse_args()
    report = asyncio.run(_run(options))
    for finding in report.findings[:40]:
        print(f"FOUND {finding}")  # noqa: T201 - its output
        if options.keep is not None:
            finding.save(options.keep)
    text = "\n".join(report.lines())
    print(text)  # noqa: T201 - its output
    if options.out is not None:
        with options.out.open("a") as file:
            file.write(f"{text}\n\n")
    return 1 if report.findings else 0


async def _run(options: argparse.Namespace) -> Report:
    with tempfile.TemporaryDirectory(prefix="lattice-fuzz-") as directory:
        async with ControlPlane(Path(directory), store=options.store) as plane:
            await plane.start_server()
            if options.openapi:
                from lattice.testing.fuzz.openapi import explore  # schemathesis takes a second to import

                context = tls_context(plane)
                await prepare(plane, context)
                return await asyncio.to_thread(
                    explore,
                    "127.0.0.1",
                    plane.port,
                    context,
                    seed=options.seed,
                    examples=options.openapi,
                    within_s=options.minutes * 60,
                )
            return await attack(plane, seed=options.seed, requests=options.requests, within_s=options.minutes * 60, workers=options.workers)


if __name__ == "__main__":
    sys.exit(main())
