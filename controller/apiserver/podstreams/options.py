"""What a request for a Pod's stream asks for, and of which container. Pure; messages and rules are kube-apiserver's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qs

from controller.apiserver.request import TRUE
from lattice.api import errors
from lattice.api.errors import Cause

_FALSE: Final = frozenset({"false", "0", "f", "F", "FALSE", "False"})
_MOST: Final = 2**63 - 1
_LISTS: Final = ("containers", "initContainers", "ephemeralContainers")
MAX_COMMAND_BYTES: Final = 128 * 1024
"""Of a command with its arguments: what Linux takes as one argument."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """Upstream's PodLogOptions."""

    container: str = ""
    follow: bool = False
    previous: bool = False
    since_seconds: int | None = None
    since_time: str = ""
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramOptions:
    """Upstream's PodExecOptions and PodAttachOptions."""

    container: str = ""
    command: tuple[str, ...] = ()
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False


def parse_log(query: Mapping[str, str], name: str) -> LogOptions:
    """Return the options of a log.

    Raises:
        errors.BadRequestError, errors.InvalidError: they are wrong.
    """
    options = LogOptions(
        container=query.get("container", ""),
        follow=_flag(query, "follow"),
        previous=_flag(query, "previous"),
        since_seconds=_number(query, "sinceSeconds"),
        since_time=_time(query.get("sinceTime", "")),
        timestamps=_flag(query, "timestamps"),
        tail_lines=_number(query, "tailLines"),
        limit_bytes=_number(query, "limitBytes"),
    )
    causes = []
    if options.tail_lines is not None and options.tail_lines < 0:
        causes.append(_invalid("tailLines", options.tail_lines, "must be greater than or equal to 0"))
    if options.limit_bytes is not None and options.limit_bytes < 1:
        causes.append(_invalid("limitBytes", options.limit_bytes, "must be greater than 0"))
    if options.since_seconds is not None and options.since_time:
        causes.append(Cause("FieldValueForbidden", "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified", ""))
    elif options.since_seconds is not None and options.since_seconds < 1:
        causes.append(_invalid("sinceSeconds", options.since_seconds, "must be greater than 0"))
    if causes:
        raise errors.InvalidError.of(kind="PodLogOptions", group="", name=name, causes=causes)
    return options


def parse_program(raw_query: str) -> ProgramOptions:
    """Return the options of an exec or attach.

    Raises:
        errors.BadRequestError: they are wrong.
    """
    try:
        every = parse_qs(raw_query, keep_blank_values=True, errors="strict", max_num_fields=4096)
    except ValueError as error:
        raise errors.BadRequestError(f"the query cannot be read: {error}") from error
    first = {key: values[0] for key, values in every.items()}
    command = tuple(every.get("command", ()))
    if sum(len(each) for each in command) > MAX_COMMAND_BYTES:
        raise errors.BadRequestError(f"the command is over {MAX_COMMAND_BYTES} bytes")
    if any("\0" in each for each in command):
        raise errors.BadRequestError("the command has a NUL character")
    options = ProgramOptions(
        container=first.get("container", ""),
        command=command,
        stdin=_flag(first, "stdin"),
        stdout=_flag(first, "stdout"),
        stderr=_flag(first, "stderr"),
        tty=_flag(first, "tty"),
    )
    if not (options.stdin or options.stdout or options.stderr):
        raise errors.BadRequestError("you must specify at least 1 of stdin, stdout, stderr")
    return options


def container_of(pod: Mapping[str, Any], wanted: str) -> str:
    """Return the container that is meant.

    Raises:
        errors.BadRequestError: the Pod has no such container, or several and none is named.
    """
    name = pod["metadata"]["name"]
    names = {each: _names(pod, each) for each in _LISTS}
    if wanted:
        if not any(wanted in each for each in names.values()):
            raise errors.BadRequestError(f"container {wanted} is not valid for pod {name}")
        return wanted
    ordinary, initial, debugging = (names[each] for each in _LISTS)
    if len(ordinary) == 1:
        return ordinary[0]
    message = f"a container name must be specified for pod {name}, choose one of: [{' '.join(ordinary)}]"
    if initial:
        message += f" or one of the init containers: [{' '.join(initial)}]"
    if debugging:
        message += f" or one of the ephemeral containers: [{' '.join(debugging)}]"
    raise errors.BadRequestError(message)


def node_of(pod: Mapping[str, Any]) -> str:
    """Return the node that a Pod is bound to, or the empty string."""
    return str((pod.get("spec") or {}).get("nodeName") or "")


def ended_container(pod: Mapping[str, Any], container: str) -> str:
    """Return the id of the container that the Pod's status shows as the last that ended, or the empty string."""
    status = pod.get("status") or {}
    for listed in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for each in status.get(listed) or ():
            if each.get("name") == container:
                ended = (each.get("lastState") or {}).get("terminated") or {}
                return str(ended.get("containerID") or "").rpartition("//")[2]
    return ""


def question_about(pod: Mapping[str, Any], kind: str, container: str, **more: Any) -> dict[str, Any]:
    """Return the question that opens a stream on the Pod's node."""
    data = pod["metadata"]
    return {"kind": kind, "podUID": data["uid"], "pod": data["name"], "namespace": data["namespace"], "container": container, **more}


def _names(pod: Mapping[str, Any], listed: str) -> Sequence[str]:
    return [str(each.get("name")) for each in (pod.get("spec") or {}).get(listed) or ()]


def _flag(query: Mapping[str, str], name: str) -> bool:
    """Return a boolean as Kubernetes reads those of options: Go's ``strconv.ParseBool``, and there without a value is true."""
    value = query.get(name)
    if value is None or value in _FALSE:
        return False
    if value in TRUE or not value:
        return True
    raise errors.BadRequestError(f'strconv.ParseBool: parsing "{value}": invalid syntax')


def _time(text: str) -> str:
    """Return a time as log entries have it."""
    if not text:
        return ""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise errors.BadRequestError(f'parsing time "{text[:64]}" as "2006-01-02T15:04:05Z07:00": cannot parse it')
    return f"{found.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}000Z"


def _number(query: Mapping[str, str], name: str) -> int | None:
    value = query.get(name)
    if not value:
        return None
    digits = value.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 19 or abs(int(value)) > _MOST:
        raise errors.BadRequestError(f'strconv.ParseInt: parsing "{value[:64]}": invalid syntax')
    return int(value)


def _invalid(field: str, value: object, why: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {value}: {why}", field)
