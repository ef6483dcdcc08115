"""What is kept of a failure, and the bounds of it. Pure.

A record is made when a container ends otherwise than well: with a code other than 0, for want of memory, or stopped by its probe. It is
small enough to be kept by the hundred, and says what a person asks first: how it ended, what it said last, which image it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

MAX_LINES: Final = 100
MAX_LOG_BYTES: Final = 16 * 1024
"""Of the lines of one record together: 100 lines of a usual log are about 10 KiB."""
MAX_LINE_BYTES: Final = 2 * 1024
MAX_PROBE_BYTES: Final = 1024
PER_CONTAINER: Final = 5
"""Records of one container of one Pod: a crash loop must not push everything else out."""
TOTAL: Final = 200
"""Records of the node. With the bounds above they are below 4 MiB."""
_SHOWN_LINES: Final = 5
_SHOWN_BYTES: Final = 900
"""Of the message of an Event, which is 1 KiB at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One record. Times are RFC 3339 texts, empty where not known."""

    namespace: str
    pod: str
    pod_uid: str
    container: str
    container_id: str
    image: str
    image_digest: str
    """``name@sha256:…`` where the image came from a registry, else its id."""
    exit_code: int
    signal: int = 0
    oom_killed: bool = False
    reason: str = ""
    """``Error``, ``OOMKilled`` …: as in the status."""
    message: str = ""
    """The termination message."""
    started_at: str = ""
    finished_at: str = ""
    restarts: int = 0
    probe_output: str = ""
    """Why it was stopped, where a probe did it."""
    log: tuple[str, ...] = ()
    """The last lines, standard output and error together."""
    log_cut: bool = False
    """Whether earlier lines, or parts of long ones, are left out."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it, in the names of the API."""
        return {_camel(key): list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def from_dict(data: Mapping[str, Any]) -> Failure:
    """Return a record that was written by :meth:`Failure.to_dict`.

    Raises:
        KeyError, TypeError: it is none.
    """
    known = {_camel(name): name for name in Failure.__dataclass_fields__}
    values = {known[key]: value for key, value in data.items() if key in known}
    return Failure(**{**values, "log": tuple(str(line) for line in values.get("log", ()))})


def is_failure(*, exit_code: int | None, oom_killed: bool, probe_output: str, asked_to_end: bool) -> bool:
    """Return whether an end is a failure. One that was asked for is none, however the program took it (143, 137)."""
    if probe_output:
        return True
    return not asked_to_end and (exit_code not in (0, None) or (oom_killed and exit_code != 0))


def last_lines(text: str) -> tuple[tuple[str, ...], bool]:
    """Return the last lines of a log within the bounds, and whether anything was left out."""
    lines = text.splitlines()
    kept: list[str] = []
    size, cut = 0, len(lines) > MAX_LINES
    for line in reversed(lines[-MAX_LINES:]):
        short = cut_text(line, MAX_LINE_BYTES)
        cut = cut or short != line
        size += len(short.encode()) + 1
        if size > MAX_LOG_BYTES:
            return tuple(reversed(kept)), True
        kept.append(short)
    return tuple(reversed(kept)), cut


def cut_text(text: str, limit_bytes: int) -> str:
    """Return the text, or its beginning with an ellipsis; never half a character."""
    raw = text.encode(errors="replace")
    return text if len(raw) <= limit_bytes else raw[: limit_bytes - 3].decode(errors="ignore") + "…"


def kept(records: Iterable[Failure]) -> list[Failure]:
    """Return the records that stay, oldest first: the newest of each container, and of all."""
    seen: dict[tuple[str, str], int] = {}
    result: list[Failure] = []
    for record in reversed([*records]):
        key = (record.pod_uid, record.container)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= PER_CONTAINER and len(result) < TOTAL:
            result.append(record)
    return result[::-1]


def event_message(record: Failure) -> str:
    """Return the message of the Event: one line that ends with the last lines of the log, as many as fit."""
    parts = [f"Container {record.container} failed: {ending(record)}"]
    if record.probe_output:
        parts.append(cut_text(f"probe: {' '.join(record.probe_output.split())}", 200))
    parts.append(f"image {record.image_digest or record.image}")
    head = "; ".join(parts)
    tail: list[str] = []
    room = _SHOWN_BYTES - len(head.encode())
    for line in reversed([line.strip() for line in record.log if line.strip()][-_SHOWN_LINES:]):
        room -= len(line.encode()) + 3
        if room < 0:
            break
        tail.append(line)
    if not tail:
        return head if not record.log else f"{head}; last line: {cut_text(record.log[-1].strip(), 300)}"
    return f"{head}; last lines: {' | '.join(reversed(tail))}"


def ending(record: Failure) -> str:
    """Return how it ended, in words: ``exit code 3``, ``killed for want of memory (exit code 137)``."""
    if record.oom_killed:
        return f"killed for want of memory (exit code {record.exit_code})"
    signal = f", signal {record.signal}" if record.signal else ""
    return f"exit code {record.exit_code}{signal}"


def lines_of(records: Sequence[Failure]) -> list[str]:
    """Return records as a person reads them, the newest first. Control characters are the caller's to take out."""
    result = []
    for record in reversed(records):
        result.append(f"{record.finished_at or '-'} {record.namespace}/{record.pod} container {record.container}: {ending(record)}")
        if record.reason:
            result.append(f"  Reason:  {record.reason}")
        result.append(f"  Image:   {record.image} ({record.image_digest or 'digest unknown'})")
        if record.restarts:
            result.append(f"  Attempt: {record.restarts + 1}")
        if record.probe_output:
            result.append(f"  Probe:   {' '.join(record.probe_output.split())}")
        if record.message:
            result.append(f"  Message: {' '.join(record.message.split())[:500]}")
        result.append(f"  Log{' (earlier lines left out)' if record.log_cut else ''}:" if record.log else "  Log:     empty")
        result += [f"    {line}" for line in record.log]
    return result
