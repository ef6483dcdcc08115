"""Prometheus' text format, and what every process says of itself. Used by the server's and the agent's ``/metrics``.

A :class:`Metric` is declared once, in a table of its half; the page ``docs/reference/metrics.md`` has all of them, and a test holds the two
together. Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4). Pure but for :func:`process_samples`.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SELF: Final = Path("/proc/self")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. Units are in the name, as Prometheus wants it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    """One sentence."""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One value. ``values`` are those of the metric's labels, in their order."""

    value: float
    values: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Distribution:
    """The value of a histogram."""

    bounds: Sequence[float]
    """Upper bounds of the buckets, rising, without infinity."""
    counts: Sequence[int]
    """One for each bucket, not added up, and a last one for what is above all bounds."""
    total: float
    """Sum of all observations."""
    values: Sequence[str] = ()


Values = Mapping[Metric, Iterable[Sample | Distribution]]


def render(values: Values) -> bytes:
    """Return the text of metrics, by name."""
    lines: list[str] = []
    for metric in sorted(values, key=lambda one: one.name):
        rows = [line for value in values[metric] for line in _lines(metric, value)]
        if rows:
            lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}", *rows]
    return ("\n".join(lines) + "\n").encode()


def _lines(metric: Metric, value: Sample | Distribution) -> Iterable[str]:
    if isinstance(value, Sample):
        yield f"{metric.name}{_labels(metric.labels, value.values)} {_number(value.value)}"
        return
    below = 0
    for bound, count in zip((*map(_number, value.bounds), "+Inf"), value.counts, strict=True):
        below += count
        yield f"{metric.name}_bucket{_labels((*metric.labels, 'le'), (*value.values, bound))} {below}"
    yield f"{metric.name}_sum{_labels(metric.labels, value.values)} {_number(value.total)}"
    yield f"{metric.name}_count{_labels(metric.labels, value.values)} {below}"


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}" if pairs else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(float(value))


PROCESS_CPU: Final = Metric("process_cpu_seconds_total", "counter", "CPU time that this process has used.")
PROCESS_MEMORY: Final = Metric("process_resident_memory_bytes", "gauge", "Memory of this process.")
PROCESS_FILES: Final = Metric("process_open_fds", "gauge", "Open files and connections of this process.")
PROCESS_START: Final = Metric("process_start_time_seconds", "gauge", "When this process was started, Unix time.")
PROCESS: Final = (PROCESS_CPU, PROCESS_MEMORY, PROCESS_FILES, PROCESS_START)


def process_samples(proc: Path = _SELF) -> dict[Metric, list[Sample]]:
    """Return what the process says of itself; what the system does not tell is left out."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = {PROCESS_CPU: [Sample(round(used.ru_utime + used.ru_stime, 3))]}
    try:
        found[PROCESS_MEMORY] = [Sample(int((proc / "statm").read_text().split()[1]) * resource.getpagesize())]
        found[PROCESS_FILES] = [Sample(len(os.listdir(proc / "fd")))]  # noqa: PTH208 - the names alone
        started_s = int((proc / "stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        found[PROCESS_START] = [
            Sample(round(time.clock_gettime(time.CLOCK_REALTIME) - time.clock_gettime(time.CLOCK_BOOTTIME) + started_s, 2))
        ]
    except (OSError, ValueError, IndexError, AttributeError):
        pass
    return found
