"""Single values in both forms: text, numbers, and the messages that are not objects in JSON (times, quantities, ``IntOrString``, ...).

Used by ``codec.py``. Readers raise :class:`~.wire.MalformedError`, writers :class:`UnencodableError`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from controller.apiserver.protobuf import wire

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ZERO_TIME_S: Final = -62135596800
"""Go's zero time, which is "no time"."""
_LIMITS: Final = {"int32": (-(1 << 31), (1 << 31) - 1), "int64": (-(1 << 63), (1 << 63) - 1)}


class UnencodableError(ValueError):
    """A JSON value does not fit the message's field."""


def read_scalar(type_: str, value: int | memoryview) -> Any:
    """Return the JSON value of a scalar field."""
    if isinstance(value, int):
        if type_ == "bool":
            return value != 0
        return wire.to_signed(value, 32 if type_ == "int32" else 64)
    if type_ == "bytes":
        return base64.b64encode(value).decode()
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        raise wire.MalformedError("a text is not UTF-8") from error


def write_scalar(number: int, type_: str, value: Any) -> bytes:
    """Return a scalar field; ``None`` is the zero value."""
    match type_:
        case "string":
            if value is not None and not isinstance(value, str):
                raise UnencodableError
            return wire.bytes_field(number, _utf8(value or ""))
        case "bytes":
            try:
                return wire.bytes_field(number, base64.b64decode(value or "", validate=True))
            except (TypeError, ValueError, binascii.Error) as error:
                raise UnencodableError from error
        case "bool":
            if value is not None and not isinstance(value, bool):
                raise UnencodableError
            return wire.integer_field(number, int(bool(value)))
        case _:
            return wire.integer_field(number, 0 if value is None else _integer(value, type_))


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UnencodableError from error


def _integer(value: Any, type_: str) -> int:
    low, high = _LIMITS[type_]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UnencodableError
    return value


def read_special(type_: str, data: memoryview, budget: wire.Budget) -> Any:
    """Return the JSON value of one of the messages that are not objects in JSON; ``None`` where it is a zero one without text form."""
    return _READERS[type_](data, budget)


def write_special(type_: str, value: Any) -> bytes:
    """Return the content of such a message; ``None`` is its zero value."""
    return _WRITERS[type_](value)


def _values(data: memoryview, budget: wire.Budget, types: Mapping[int, str]) -> dict[int, Any]:
    """Read a small message: number to value. Fields that it does not know are skipped."""
    found: dict[int, Any] = {}
    for number, wire_type, value in wire.read_fields(data, budget):
        type_ = types.get(number)
        if type_ is None:
            continue
        if wire_type != (wire.BYTES if type_ in {"string", "raw"} else wire.VARINT):
            raise wire.MalformedError(f"wrong wire type {wire_type} of field {number}")
        found[number] = value if type_ == "raw" else read_scalar(type_, value)
    return found


def _read_time(data: memoryview, budget: wire.Budget, micros: bool = False) -> str | None:
    parts = _values(data, budget, {1: "int64", 2: "int32"})
    seconds, nanos = parts.get(1, 0), parts.get(2, 0)
    if len(data) == 0 or seconds == _ZERO_TIME_S:
        return None
    try:
        moment = _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)
    except OverflowError as error:
        raise wire.MalformedError("a time is out of range") from error
    whole = f"{moment.year:04d}-{moment:%m-%dT%H:%M:%S}"
    return f"{whole}.{moment.microsecond:06d}Z" if micros else f"{whole}Z"


def _write_time(value: Any, micros: bool = False) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, str):
        raise UnencodableError
    try:
        since = datetime.fromisoformat(value).astimezone(UTC) - _EPOCH
    except (ValueError, OverflowError) as error:
        raise UnencodableError from error
    seconds, rest = divmod(since, timedelta(seconds=1))
    # Go writes whole seconds for a Time, as it does in JSON.
    return wire.integer_field(1, seconds) + wire.integer_field(2, rest.microseconds * 1000 if micros else 0)


def _read_quantity(data: memoryview, budget: wire.Budget) -> str:
    return str(_values(data, budget, {1: "string"}).get(1, ""))


def _write_quantity(value: Any) -> bytes:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return write_scalar(1, "string", value)


def _read_int_or_string(data: memoryview, budget: wire.Budget) -> int | str:
    parts = _values(data, budget, {1: "int64", 2: "int32", 3: "string"})
    return str(parts.get(3, "")) if parts.get(1) == 1 else int(parts.get(2, 0))


def _write_int_or_string(value: Any) -> bytes:
    text = value if isinstance(value, str) else None
    kind = wire.integer_field(1, int(text is not None))
    return kind + write_scalar(2, "int32", None if text is not None else value) + write_scalar(3, "string", text)


def _read_fields_v1(data: memoryview, budget: wire.Budget) -> Any:
    raw = _values(data, budget, {1: "raw"}).get(1)
    try:
        return None if raw is None else orjson.loads(raw)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise wire.MalformedError("fieldsV1 is not JSON") from error


def _write_fields_v1(value: Any) -> bytes:
    try:
        return wire.bytes_field(1, orjson.dumps(value, option=orjson.OPT_SORT_KEYS))
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise UnencodableError from error


def _read_extra(data: memoryview, budget: wire.Budget) -> list[str]:
    items = []
    for number, wire_type, value in wire.read_fields(data, budget):
        if number == 1 and wire_type == wire.BYTES:
            items.append(read_scalar("string", value))
    return items


def _write_extra(value: Any) -> bytes:
    if not isinstance(value, list):
        raise UnencodableError
    return b"".join(write_scalar(1, "string", item) for item in value)


_READERS: Final[Mapping[str, Callable[[memoryview, wire.Budget], Any]]] = {
    "Time": _read_time,
    "MicroTime": lambda data, budget: _read_time(data, budget, micros=True),
    "Quantity": _read_quantity,
    "IntOrString": _read_int_or_string,
    "FieldsV1": _read_fields_v1,
    "ExtraValue": _read_extra,
}
_WRITERS: Final[Mapping[str, Callable[[Any], bytes]]] = {
    "Time": _write_time,
    "MicroTime": lambda value: _write_time(value, micros=True),
    "Quantity": _write_quantity,
    "IntOrString": _write_int_or_string,
    "FieldsV1": _write_fields_v1,
    "ExtraValue": _write_extra,
}
