"""Prometheus' text format: what a scraper reads, and that the page of metrics says what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.apiserver import servermetrics
from lattice.machinery.exposition import PROCESS, Distribution, Metric, Sample, process_samples, render
from nodeagent.metrics import table

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "metrics.md"
GAUGE = Metric("g_bytes", "gauge", "A gauge.", ("name",))
LINE = re.compile(r'^[a-z_A-Z0-9]+(\{([a-z]+="(\\.|[^"\\\n])*",?)*\})? \S+$')


def test_help_type_and_values_stand_together_by_name() -> None:
    other = Metric("a_total", "counter", "Another.")
    assert render({GAUGE: [Sample(1.5, ("x",)), Sample(2, ("y",))], other: [Sample(3)]}).decode() == (
        "# HELP a_total Another.\n# TYPE a_total counter\na_total 3\n"
        '# HELP g_bytes A gauge.\n# TYPE g_bytes gauge\ng_bytes{name="x"} 1.5\ng_bytes{name="y"} 2\n'
    )


def test_a_histogram_adds_its_buckets_up() -> None:
    metric = Metric("h_seconds", "histogram", "A histogram.", ("verb",))
    text = render({metric: [Distribution((0.1, 1.0), (2, 1, 4), 30.25, ("get",))]}).decode()
    assert text.splitlines()[2:] == [
        'h_seconds_bucket{verb="get",le="0.1"} 2',
        'h_seconds_bucket{verb="get",le="1"} 3',
        'h_seconds_bucket{verb="get",le="+Inf"} 7',
        'h_seconds_sum{verb="get"} 30.25',
        'h_seconds_count{verb="get"} 7',
    ]


@given(st.text())
def test_no_label_breaks_out_of_its_line(value: str) -> None:
    lines = render({GAUGE: [Sample(1, (value,))]}).decode().split("\n")
    assert len(lines) == 4
    assert LINE.match(lines[2].replace("\r", "").replace("\x85", "").replace("\u2028", "").replace("\u2029", ""))


def test_a_process_says_what_it_uses() -> None:
    found = process_samples()
    assert set(found) == set(PROCESS)
    assert found[PROCESS[1]][0].value > 10_000_000
    assert process_samples(Path("/nowhere"))[PROCESS[0]][0].value > 0


@pytest.mark.parametrize(("section", "metrics"), [("The server", servermetrics.METRICS), ("The agent", table.METRICS)])
def test_the_page_has_every_metric_and_no_other(section: str, metrics: tuple[Metric, ...]) -> None:
    part = PAGE.read_text().partition(f"## {section}\n")[2].partition("\n## ")[0]
    told = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in part.splitlines() if line.startswith("| `")]
    assert told == [
        (f"`{metric.name}`", metric.kind, ", ".join(f"`{label}`" for label in metric.labels), metric.help) for metric in metrics
    ]


@pytest.mark.parametrize("metric", [*servermetrics.METRICS, *table.METRICS], ids=lambda metric: metric.name)
def test_names_are_as_prometheus_wants_them(metric: Metric) -> None:
    assert metric.name.endswith("_total") is (metric.kind == "counter")
    assert re.fullmatch(r"[a-z][a-zA-Z0-9_]*", metric.name)
    assert metric.help.endswith(".")
