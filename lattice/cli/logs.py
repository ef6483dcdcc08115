"""Log lines of the long-lived verbs: one line each, the ``extra`` fields as ``key=value`` after the message."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime

from lattice.machinery.logcontext import ContextFilter

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LineFormatter(logging.Formatter):
    """``2026-01-02T03:04:05.678Z INFO controller.main: listening port=7443``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and a traceback below it where there is one."""
        stamp = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        # Empty: a field that says nothing here, such as the reconcile of a line that belongs to none.
        fields = "".join(f" {key}={value}" for key, value in vars(record).items() if key not in _STANDARD and value != "")
        # A message may carry text from outside: no line of ours is forged by a newline in it.
        line = f"{stamp} {record.levelname} {record.name}: {record.getMessage()}{fields}".replace("\n", "\\n").replace("\r", "\\r")
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(*, verbose: bool = False) -> None:
    """Send log lines to standard error. ``$LATTICE_LOG_LEVEL`` wins over the default level."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    handler.addFilter(ContextFilter())
    level = os.environ.get("LATTICE_LOG_LEVEL", "DEBUG" if verbose else "INFO").upper()
    known = logging.getLevelNamesMapping()
    logging.basicConfig(level=known.get(level, logging.INFO), handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
