r"""The one door to RE2: patterns of schemas mean what they mean in Kubernetes (Go's regexp), and take time linear in the text.

Python's own ``re`` and the engine of the JSON schema validator differ from Go in syntax (POSIX classes, ``\z``, ``\Q..\E``), and the
first backtracks: a pattern from a definition must never be able to stop the server.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import re2

_MAX_PROGRAM_BYTES: Final = 1 << 20
"""What one compiled pattern may take; ``x{1000}{1000}`` does not fit."""


def _options() -> Any:
    options = re2.Options()
    options.max_mem = _MAX_PROGRAM_BYTES
    options.log_errors = False
    return options


@lru_cache(maxsize=256)  # a program may take a megabyte; a schema keeps its own
def compile_pattern(pattern: str) -> Any:
    """Return the compiled pattern.

    Raises:
        ValueError: it is not a regular expression that Go would take; says why.
    """
    try:
        return re2.compile(pattern, _options())
    except re2.error as error:
        reason = error.args[0] if error.args else error
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"error parsing regexp: {text}") from error


def searcher(pattern: str) -> Callable[[str], bool]:
    """Return a function that says whether the pattern occurs in a text; for a broken pattern, one that always says no."""
    try:
        found = compile_pattern(pattern).search
    except ValueError:
        return lambda _text: False
    return lambda text: found(text) is not None
