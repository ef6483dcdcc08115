"""A row of the table: what becomes of one field of a Pod."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Class = Literal["honoured", "inert", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What becomes of a field.

    ``honoured``: as in Kubernetes, with the difference in ``note``. ``inert``: stored and returned without effect; whoever sets it gets
    a Warning. ``refused``: a 422 that names the field, because the Pod would run otherwise, or less isolated, than it asks.
    """

    path: str
    """Path from ``spec``, or from the container; ``[]`` stands for any item."""
    kind: Class
    note: str = ""
    """Sentence for the page; of an inert or refused field also for the answer of the server, so it says why or what to do."""
    test: str = ""
    """For honoured fields: ``file::function`` of a test that shows it on real Docker."""
    harmless: tuple[Any, ...] = ()
    """Values that ask for nothing, so that nobody is told: the default."""
    whole: bool = False
    """Whether the row stands for all fields below too."""


def honoured(test: str, *paths: str, note: str = "", whole: bool = False) -> tuple[Row, ...]:
    """Return rows of fields that one test shows."""
    return tuple(Row(path=path, kind="honoured", note=note, test=test, whole=whole) for path in paths)


def inert(path: str, note: str, *harmless: Any) -> Row:
    """Return the row of a field without effect, with all below it."""
    return Row(path=path, kind="inert", note=note, harmless=harmless, whole=True)


def refused(path: str, note: str, *harmless: Any) -> Row:
    """Return the row of a field that is refused, with all below it."""
    return Row(path=path, kind="refused", note=note, harmless=harmless, whole=True)
