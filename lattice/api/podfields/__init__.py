"""What becomes of each field of a Pod: honoured, inert or refused. One table for the server, the page and the tests.

``controller/apiserver/pods/fields.py`` warns of inert fields and refuses refused ones by it; ``page.py`` writes it into
``docs/reference/pod.md``; a test fails for a field of the schema without a row, and for an honoured row whose test does not exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from lattice.api.podfields.container import CONTAINER
from lattice.api.podfields.podlevel import POD
from lattice.api.podfields.rows import Row
from lattice.api.podfields.volume import VOLUMES

__all__ = ["CONTAINER", "CONTAINER_LISTS", "POD", "ROWS", "VOLUMES", "Row", "row_of", "table"]

CONTAINER_LISTS: Final = ("containers", "initContainers", "ephemeralContainers")
ROWS: Final = (*CONTAINER, *VOLUMES, *POD)


@cache
def table() -> Mapping[str, Row]:
    """Return full path (``spec.containers[].image``) to row."""
    found = {f"spec.{row.path}": row for row in (*VOLUMES, *POD)}
    found |= {f"spec.{kind}[].{row.path}": row for kind in CONTAINER_LISTS for row in CONTAINER}
    return found


def row_of(path: str) -> Row | None:
    """Return the row of a field: its own, or that of a field above which stands for all below."""
    rows = table()
    if (row := rows.get(path)) is not None:
        return row
    parts = path.split(".")
    for length in range(len(parts) - 1, 1, -1):
        for above in (".".join(parts[:length]), ".".join(parts[:length]).removesuffix("[]")):
            if (row := rows.get(above)) is not None and row.whole:
                return row
    return None
