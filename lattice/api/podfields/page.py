"""The table in ``docs/reference/pod.md``, between its two marks; the rest of the page is written by hand.

``python -m lattice.api.podfields.page [--check]``; ``hack/gen`` runs it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Final

from lattice.api import podfields
from lattice.api.podfields import Row

PAGE: Final = Path(__file__).parents[3] / "docs" / "reference" / "pod.md"
_BEGIN: Final = "<!-- fields: written by hack/gen from lattice/api/podfields -->"
_END: Final = "<!-- end of fields -->"
_SECTIONS: Final = (
    ("The Pod", "Paths begin at `spec`.", podfields.POD),
    (
        "Containers",
        "The same in `containers[]`, `initContainers[]` and `ephemeralContainers[]`, as far as Kubernetes allows the field there.",
        podfields.CONTAINER,
    ),
    ("Volumes", "Paths begin at `spec`.", podfields.VOLUMES),
)


def render_table() -> str:
    """Return the sections of the table, as Markdown."""
    return "\n".join(part for title, text, rows in _SECTIONS for part in (f"### {title}\n", f"{text}\n", *_lines(rows), ""))


def _lines(rows: Iterable[Row]) -> Iterable[str]:
    yield "| fields | class | note |"
    yield "| --- | --- | --- |"
    for (kind, note, _), group in groupby(rows, key=lambda row: (row.kind, row.note, _topic(row.path) if not row.note else "")):
        paths = ", ".join(f"`{row.path}`" for row in group)
        yield f"| {paths} | {kind} | {note} |"


def _topic(path: str) -> str:
    """Return what neighbouring fields without a note have in common, so that a line stays short."""
    return path.partition(".")[0]


def render_page(present: str) -> str:
    """Return the whole page with a fresh table.

    Raises:
        ValueError: the marks are gone.
    """
    head, begin, rest = present.partition(_BEGIN)
    _, end, tail = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} lacks its marks {_BEGIN} and {_END}")
    return f"{head}{_BEGIN}\n\n{render_table()}\n{_END}{tail}"


def main(arguments: list[str]) -> int:
    """Write the page, or with ``--check`` only say whether it is up to date."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m lattice.api.podfields.page [--check]\n")
        return 2
    present = PAGE.read_text(encoding="utf-8")
    wanted = render_page(present)
    if arguments and wanted != present:
        sys.stderr.write("out of date: docs/reference/pod.md; run `python -m lattice.api.podfields.page`\n")
        return 1
    if not arguments:
        PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
