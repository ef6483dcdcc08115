"""Which reconcile a log line belongs to.

The worker enters :func:`reconciling` around each reconcile. A handler with :class:`ContextFilter` then stamps
``controller``, ``key`` and ``reconcile_id`` on every record that is logged inside, in whatever module, because context
variables follow the task and the tasks it starts. Outside a reconcile the three are empty strings, so that a format
string may name them always.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from typing import NamedTuple


class ReconcileContext(NamedTuple):
    """The reconcile that runs now."""

    controller: str = ""
    key: str = ""
    reconcile_id: str = ""
    """Unique in this process: the controller's name and a running number."""


_NOWHERE = ReconcileContext()
_current: ContextVar[ReconcileContext] = ContextVar("lattice_reconcile", default=_NOWHERE)
_numbers = itertools.count(1)


def current() -> ReconcileContext:
    """Return the reconcile that the caller runs in."""
    return _current.get()


@contextlib.contextmanager
def reconciling(controller: str, key: object) -> Iterator[ReconcileContext]:
    """Give the block a fresh ``reconcile_id``."""
    context = ReconcileContext(controller, str(key), f"{controller}-{next(_numbers)}")
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)


class ContextFilter(logging.Filter):
    """Add it to handlers (not loggers: a logger's filter does not see its children's records). Drops nothing."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Stamp the record. What a call passed as ``extra`` wins."""
        for name, value in _current.get()._asdict().items():
            record.__dict__.setdefault(name, value)
        return True
