"""Where failures are kept: one file in the data directory, written anew with each record, bounded, readable by the owner alone.

::

    <data dir>/failures.jsonl      one record a line, the oldest first

A line that cannot be read is passed over: the records help a person, nothing depends on them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import orjson

from nodeagent.failures import record
from nodeagent.failures.record import Failure

logger = logging.getLogger(__name__)

FILE_NAME: Final = "failures.jsonl"
_MAX_FILE_BYTES: Final = 16 * 1024 * 1024
"""Twice what the bounds allow at the most: what is beyond is not ours."""


class FailureStore:
    """The records of a node."""

    def __init__(self, root: Path) -> None:
        self._path = root / FILE_NAME
        self._records: list[Failure] = []

    def load(self) -> None:
        """Read what an earlier agent kept."""
        try:
            with self._path.open("rb") as file:
                lines = file.read(_MAX_FILE_BYTES).splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            logger.warning("cannot read the record of failures, beginning a new one", extra={"error": str(error)[:200]})
            return
        for line in lines:
            try:
                self._records.append(record.from_dict(orjson.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
        self._records = record.kept(self._records)

    def add(self, failure: Failure) -> bool:
        """Keep a record; return ``False`` if there is one of this end already."""
        if any((each.container_id, each.finished_at) == (failure.container_id, failure.finished_at) for each in self._records):
            return False
        self._records = record.kept([*self._records, failure])
        self._write()
        return True

    def all(self) -> Sequence[Failure]:
        """Return every record, the oldest first."""
        return tuple(self._records)

    def of_pod(self, uid: str = "", *, namespace: str = "", name: str = "") -> Sequence[Failure]:
        """Return the records of a Pod by its uid, or of all Pods of a name, the oldest first."""
        if uid:
            return tuple(each for each in self._records if each.pod_uid == uid)
        return tuple(each for each in self._records if (each.namespace, each.pod) == (namespace, name))

    def _write(self) -> None:
        temporary = self._path.with_suffix(".new")
        try:
            temporary.unlink(missing_ok=True)
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(b"".join(orjson.dumps(each.to_dict()) + b"\n" for each in self._records))
            temporary.replace(self._path)
        except OSError as error:  # a full disk is a likely cause of failures: they stay in memory
            logger.warning("cannot write the record of failures", extra={"error": str(error)[:200]})
