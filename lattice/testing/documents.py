"""Commands and programs out of Markdown, so that tests can run what users will copy."""

from __future__ import annotations

import re
from pathlib import Path

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: Path, language: str) -> list[str]:
    """Return the fenced code blocks of a language, in order."""
    return [text for found, text in _BLOCK.findall(document.read_text()) if found == language]


def commands(block: str) -> str:
    """Return the lines of a ``console`` block that a user types, as a script for a shell."""
    return "".join(f"{line[2:]}\n" for line in block.splitlines() if line.startswith("$ "))
