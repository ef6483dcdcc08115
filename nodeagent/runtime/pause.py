"""The image of a pause container: a program of about 250 bytes that holds the namespaces of a Pod and collects its orphans.

Made here, byte by byte, and handed to the engine as an archive, so that a Pod of several containers needs nothing from a registry and no
compiler was involved. The program, in C::

    struct sigaction ignore = { SIG_IGN };
    sigset_t set = SIGTERM | SIGINT;
    rt_sigaction(SIGCHLD, &ignore, 0, 8);     // the kernel collects children of a process that ignores SIGCHLD, orphans too
    rt_sigprocmask(SIG_BLOCK, &set, 0, 8);    // as process 1 it would not get signals without a handler; blocked ones can be waited for
    while (rt_sigtimedwait(&set, 0, 0, 8) < 0) {}
    exit(0);

The machine code follows the processors' manuals (Intel SDM vol. 2; Arm A64 instruction set), the file the ELF-64 specification: one header,
one segment, nothing else. Layout: header (64 bytes), program header (56), code, then the two structures.
"""

from __future__ import annotations

import io
import struct
import tarfile
from typing import Final

from nodeagent.runtime import base

PAUSE_IMAGE: Final = "lattice.dev/pause:1"
"""The number counts versions of the program: a running pause container keeps the image that it was made from."""

_SIGCHLD: Final = 17
_SIGNALS: Final = 1 << (15 - 1) | 1 << (2 - 1)
"""SIGTERM and SIGINT as a signal set."""
_SET_BYTES: Final = 8
_BASE: Final = 0x400000
_HEADERS_BYTES: Final = 64 + 56
_MACHINES: Final = {"amd64": 62, "arm64": 183}
"""``e_machine`` by the name of the architecture."""
_DATA: Final = struct.pack("<4Q", 1, 0, 0, 0) + struct.pack("<Q", _SIGNALS)
"""``struct sigaction`` (handler SIG_IGN, flags, restorer, mask), then the signal set."""
_SET_OFFSET: Final = 32


def pause_program(architecture: str) -> bytes:
    """Return the executable for ``amd64`` or ``arm64``.

    Raises:
        base.RuntimeFailedError: another architecture.
    """
    if architecture not in _MACHINES:
        text = (
            f"cannot make a pause container for a machine of type {architecture!r}: Pods of several containers run on amd64 and arm64 only"
        )
        raise base.RuntimeFailedError(text)
    make = _amd64 if architecture == "amd64" else _arm64
    code_bytes = -(-len(make(0)) // 8) * 8  # the structures lie on a multiple of eight
    code = make(_HEADERS_BYTES + code_bytes).ljust(code_bytes, b"\0")
    size = _HEADERS_BYTES + len(code) + len(_DATA)
    # ELF-64, little endian, version 1, System V; executable; entry point behind the headers; one program header; no sections.
    ident = b"\x7fELF" + bytes([2, 1, 1, 0]) + bytes(8)
    header = struct.pack("<16sHHIQQQIHHHHHH", ident, 2, _MACHINES[architecture], 1, _BASE + _HEADERS_BYTES, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x10000)  # PT_LOAD, readable and executable
    return header + segment + code + _DATA


def pause_archive(architecture: str) -> bytes:
    """Return the root filesystem of the image: one file. Equal for equal arguments."""
    program = pause_program(architecture)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        entry = tarfile.TarInfo("pause")
        entry.size, entry.mode = len(program), 0o755
        tar.addfile(entry, io.BytesIO(program))
    return stream.getvalue()


async def ensure_pause_image(runtime: base.Runtime) -> None:
    """Have the image on the engine.

    Raises:
        base.RuntimeFailedError: there is none for this machine.
    """
    if await runtime.has_image(PAUSE_IMAGE):
        return
    architecture = (await runtime.info()).architecture
    await runtime.import_image(PAUSE_IMAGE, pause_archive(architecture), entrypoint=["/pause"])


def _amd64(data: int) -> bytes:
    """Return the code, with the structures at this offset in the file. Arguments of a call: rdi, rsi, rdx, r10; number: rax."""
    ignore, signals = struct.pack("<I", _BASE + data), struct.pack("<I", _BASE + data + _SET_OFFSET)
    number = b"\xb8"  # mov eax, imm32
    first, second = b"\xbf", b"\xbe"  # mov edi, imm32; mov esi, imm32
    no_third = b"\x31\xd2"  # xor edx, edx
    fourth = b"\x41\xba" + struct.pack("<I", _SET_BYTES)  # mov r10d, imm32
    call = b"\x0f\x05"  # syscall

    def value(number: int) -> bytes:
        return struct.pack("<I", number)

    wait = number + value(128) + b"\xbf" + signals + b"\x31\xf6" + no_third + fourth + call  # rt_sigtimedwait; xor esi, esi
    again = b"\x85\xc0" + b"\x78" + struct.pack("<b", -(len(wait) + 4))  # test eax, eax; js to the wait
    return (
        number + value(13) + first + value(_SIGCHLD) + second + ignore + no_third + fourth + call  # rt_sigaction
        + number + value(14) + b"\x31\xff" + second + signals + no_third + fourth + call  # rt_sigprocmask; xor edi, edi
        + wait + again
        + number + value(60) + b"\x31\xff" + call  # exit
    )  # fmt: skip


def _arm64(data: int) -> bytes:
    """Return the code, with the structures at this offset in the file. Arguments of a call: x0 to x3; number: x8."""
    words: list[int] = []

    def load(register: int, value: int) -> None:
        words.append(0xD2800000 | value << 5 | register)  # movz

    def address(register: int, offset: int) -> None:
        relative = offset - (_HEADERS_BYTES + 4 * len(words))
        words.append(0x10000000 | (relative & 3) << 29 | (relative >> 2 & 0x7FFFF) << 5 | register)  # adr

    def call(number: int) -> None:
        load(8, number)
        words.append(0xD4000001)  # svc #0

    load(0, _SIGCHLD)
    address(1, data)
    load(2, 0)
    load(3, _SET_BYTES)
    call(134)  # rt_sigaction
    load(0, 0)
    address(1, data + _SET_OFFSET)
    load(2, 0)
    load(3, _SET_BYTES)
    call(135)  # rt_sigprocmask
    wait = len(words)
    address(0, data + _SET_OFFSET)
    load(1, 0)
    load(2, 0)
    load(3, _SET_BYTES)
    call(137)  # rt_sigtimedwait
    back = wait - (len(words))
    words.append(0xB7F80000 | (back & 0x3FFF) << 5)  # tbnz x0, #63: back to the wait while the result is negative
    load(0, 0)
    call(93)  # exit
    return struct.pack(f"<{len(words)}I", *words)
