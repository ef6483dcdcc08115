"""Values and bytes, made wrong. All randomness is the caller's ``Random``: the same one makes the same mistakes.

A body is built in two steps: :func:`damage` changes a tree of Python values, in which :class:`Raw` and :class:`Pairs` stand for what
no decoder would give back (a number of 400 digits, one member twice, a lone surrogate); :func:`render` writes it; :func:`corrupt` may then
change bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Raw:
    """Text that is written as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Pairs:
    """An object that may have a member twice."""

    members: tuple[tuple[Any, Any], ...]


def nested(depth: int, *, kind: str = "object") -> Raw:
    """Return a value that is nested so deep."""
    if kind == "object":
        return Raw('{"a":' * depth + "1" + "}" * depth)
    if kind == "mixed":
        return Raw('[{"a":' * (depth // 2) + "1" + "}]" * (depth // 2))
    return Raw("[" * depth + "]" * depth)


SCALARS: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 2**31, 2**53, 2**63, -(2**63), 2**64 - 1, 1e308, -0.0, 0.1, "", "a", "\0", "a\0b", "../..", "%2F",
    "\u202e", "\U0001f600", "\ufeff", "a" * 300, "9" * 400, "1e999", "-1Gi", "0x10", "true", "null", "0001-01-01T00:00:00Z",
    "10000-99-99T99:99:99Z", "2026-02-30T00:00:00Z", "2026-01-01T00:00:00+99:99", "::1", "0", "{}", "[]", "=a", "!", "*", "$(x)", "\\",
    [], {}, [[]], [None], [{}], {"": None}, {"a": {"b": []}}, Raw("1" + "0" * 400), Raw("-0"), Raw("1e400"), Raw("0.1e-999"),
    Raw('"\\ud800"'), Raw('"\\udc00\\ud800"'), Raw('"\\u0000"'), Raw("NaN"), Raw("-Infinity"), Raw("9223372036854775808"),
    Raw("1.0"), Raw("00"), Raw('"\x01"'),
)  # fmt: skip
KEYS: Final = (
    "", "\0", "$patch", "$setElementOrder/containers", "$retainKeys", "$deleteFromPrimitiveList/finalizers", "k" * 400, "a/b/c", "uid",
    "resourceVersion", "generateName", "deletionTimestamp", "ownerReferences", "managedFields", "finalizers", "namespace", "status",
    "apiVersion", "Kind", "é", "\u202e", "-", "~1", "x-kubernetes-preserve-unknown-fields", "__proto__", "f:metadata",
)  # fmt: skip
BODIES: Final = (
    b"", b"null", b"[]", b"{}", b"0", b'"x"', b"{", b"\xff\xfe", b"\0", b"NaN", b'{"metadata":NaN}', b'{"metadata":{"name":"a","name":1}}',
    b'{"metadata":{"name":"\\ud800"}}', b'{"kind":"\\udfff\\ud800"}', b'{"metadata":{"name":"a"},"spec":' + b'{"a":' * 10_000 + b"1"
    + b"}" * 10_001, b"[" * 10_000, b'{"metadata":{"generation":' + b"9" * 5_000 + b"}}", b'{"metadata":{"name":1e999}}',
    b'\xef\xbb\xbf{"metadata":{}}', '{"metadata":{"name":"a"}}'.encode("utf-16"), b'{"metadata":{}} {"metadata":{}}', b'{"a":1,}',
    b"a: &a [*a, *a]", b"a: " + b"[" * 3_000, b"!!python/object/apply:os.system [id]", b"--- 1\n--- 2", b"? {a: b}\n: 1",
    b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d "
    b"[*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f]",
    b"kind: 2026-01-01\nmetadata: {1: 2}", b"metadata:\n  name: a\n  name: b\n", b"a: !!binary _", b"a: 0o7\nb: 1_000\nc: 190:20:30",
    b"metadata: {<<: {name: a}}", b"\x89PNG", b"%YAML 9.9\n---\na", b"\x1f\x8b\x08\0\0\0\0\0", b"a" * 70_000, b"- " * 20_000,
)  # fmt: skip
DEPTHS: Final = (20, 100, 500, 1000, 5000, 20_000)


def render(value: Any) -> bytes:
    """Write a tree as JSON. Lone surrogates in strings come out as escapes."""
    return _text(value).encode()


def _text(value: Any) -> str:
    match value:
        case Raw(text):
            return text
        case Pairs(members):
            return "{" + ",".join(f"{_text(key)}:{_text(item)}" for key, item in members) + "}"
        case dict():
            return "{" + ",".join(f"{_text(key)}:{_text(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_text, value)) + "]"
        case _:
            return json.dumps(value)


def has_raw(value: Any) -> bool:
    """Return whether only :func:`render` can write this."""
    if isinstance(value, dict):
        return any(map(has_raw, value.values()))
    if isinstance(value, list | tuple):
        return any(map(has_raw, value))
    return isinstance(value, Raw | Pairs)


def damage(value: Any, random: Random) -> Any:
    """Return ``value`` with one thing wrong somewhere: mostly deep inside, where the interesting checks are."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        if random.random() < 0.2:
            return random.choice(_OBJECT_MISTAKES)(value, key, random)
        return {**value, key: damage(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.8:
        if random.random() < 0.2:
            return random.choice(_LIST_MISTAKES)(value, random)
        index = random.randrange(len(value))
        return [*value[:index], damage(value[index], random), *value[index + 1 :]]
    return _other(value, random)


def _other(value: Any, random: Random) -> Any:
    kind = random.random()
    if kind < 0.02:
        return nested(random.choice(DEPTHS), kind=random.choice(("object", "mixed", "list")))
    if kind < 0.25:
        match value:
            case str():
                return random.choice(
                    (value * 2, value.upper(), value + "\n", " " + value, value[:-1], value + "\0", [value], {value: value})
                )
            case bool():
                return random.choice((str(value).lower(), int(value), [value]))
            case int() | float():
                return random.choice((value + 1, -value, str(value), float(value) + 0.5, value * 2**40, [value]))
            case dict():
                return random.choice((list(value.items()), list(value.values()), [value], str(value)))
            case list():
                return random.choice((dict(enumerate(map(str, value))), value * 2, [value], {"items": value}))
            case _:
                pass
    return random.choice(SCALARS)


_OBJECT_MISTAKES: Final[tuple[Callable[[dict[str, Any], str, Random], Any], ...]] = (
    lambda value, key, _random: {name: item for name, item in value.items() if name != key},
    lambda value, _key, random: {**value, random.choice(KEYS): random.choice(SCALARS)},
    lambda value, key, random: Pairs((*value.items(), (key, random.choice(SCALARS)))),
    lambda value, key, _random: Pairs(tuple((Raw('"\\ud800"') if name == key else name, item) for name, item in value.items())),
    lambda value, key, _random: {(str(name).swapcase() if name == key else name): item for name, item in value.items()},
    lambda value, key, _random: {**value, key: None},
    lambda value, key, random: {**value, key: {f"k{number}": random.choice("abc") for number in range(random.choice((50, 2000)))}},
)  # fmt: skip
_LIST_MISTAKES: Final[tuple[Callable[[list[Any], Random], Any], ...]] = (
    lambda value, random: [*value, random.choice(value)],
    lambda value, random: value[: random.randrange(len(value))],
    lambda value, random: [*value, random.choice(SCALARS)],
    lambda value, random: value * random.choice((3, 100, 3000)),
    lambda value, _random: value[::-1],
    lambda value, _random: [*value, None],
)


def corrupt(body: bytes, random: Random) -> bytes:
    """Return the bytes with something wrong that no decoder knows of."""
    if not body:
        return body
    data = bytearray(body)
    place = random.randrange(len(data))
    match random.randrange(7):
        case 0:
            return bytes(data[:place])
        case 1:
            for _ in range(random.randint(1, 8)):
                data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        case 2:
            for _ in range(random.randint(1, 5)):
                data[random.randrange(len(data))] = random.randrange(256)
        case 3:
            data[place:place] = random.choice((b"\0", b"\xff", b"\xed\xa0\x80", b"\\u0000", b"{", b"}", b'"', b"//x\n", b"\xc0\x80"))
        case 4:
            end = min(len(data), place + random.randint(1, 200))
            data[place:place] = data[place:end]
        case 5:
            del data[place : place + random.randint(1, 20)]
        case _:
            return bytes(data) + random.choice((b"\0", b"x", b"\n\n", bytes(data), b"}", b"---\n"))
    return bytes(data)
