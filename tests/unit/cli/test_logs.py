"""Log lines: one a line, with the fields that say something."""

import logging

from lattice.cli.logs import LineFormatter
from lattice.machinery.logcontext import ContextFilter, reconciling


def line_of(message: str, **fields: object) -> str:
    record = logging.makeLogRecord({"name": "part", "levelname": "INFO", "msg": message, "created": 0.0, **fields})
    assert ContextFilter().filter(record)
    return LineFormatter().format(record)


def test_a_line_of_a_reconcile_names_it() -> None:
    with reconciling("workload", "default/web") as context:
        line = line_of("made a pod", pod="web-0")
    assert line == (
        f"1970-01-01T00:00:00.000Z INFO part: made a pod pod=web-0 controller=workload key=default/web reconcile_id={context.reconcile_id}"
    )


def test_another_line_does_not() -> None:
    assert line_of("listening", port=0) == "1970-01-01T00:00:00.000Z INFO part: listening port=0"


def test_no_line_is_forged() -> None:
    assert "\n" not in line_of("a\nb", name_of="c\nd")
