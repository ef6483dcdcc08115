"""Times as the local API and the records write them: RFC 3339 in UTC, in whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime


def stamp(at: datetime | None) -> str:
    """Return a time as text, empty for none."""
    return "" if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
