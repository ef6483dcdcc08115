"""What the benchmarks print: Markdown tables, the state of the machine, quantiles, resources of processes."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; all columns but the first are numbers."""
    return [
        f"| {' | '.join(headers)} |",
        f"|---|{'---:|' * (len(headers) - 1)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def machine() -> str:
    """Return one sentence about where and when this runs."""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"load average {os.getloadavg()[0]:.1f} at the end"
    )


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of the values lies; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def middle(values: Sequence[float]) -> float:
    """Return the median; 0 of none."""
    return statistics.median(values) if values else 0.0


def number(value: float) -> str:
    """Return a number with three digits that mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def publish(lines: Iterable[str], out: Path | None, *, append: bool = False) -> None:
    """Print a report, and write it to ``out``."""
    text = "\n".join(lines) + "\n"
    print(text)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a" if append else "w") as file:
            file.write(text)


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, ())
    return found


def cpu_ms(pid: int) -> float:
    """Return the CPU time that a process and its descendants have used."""
    ticks = 0
    for member in family(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks * 1000 / _TICKS


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process and its descendants in MiB; what they share counts for each."""
    return sum(int(Path(f"/proc/{member}/statm").read_text().split()[1]) for member in family(pid)) * _PAGE_BYTES / 2**20


class Neighbours:
    """How much of the machine other programs use: the first thing to look at when two runs differ."""

    def __init__(self) -> None:
        self._began = _busy_and_all()
        self._own = sum(os.times()[:4])

    def share(self) -> float:
        """Return the share of all cores that others have used since; this program's children count as its own once they have ended."""
        busy, total = (now - then for now, then in zip(_busy_and_all(), self._began, strict=True))
        return max(0.0, busy - (sum(os.times()[:4]) - self._own) * _TICKS) / max(total, 1)


def _busy_and_all() -> tuple[int, int]:
    ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)
