"""Takes the values of Secrets out of what is kept of a failure. Pure.

A program that fails often prints how it was configured. Its log stays on the node, where it was written; the record of a failure leaves it,
in an Event and to whoever may read the Pod, who need not be allowed to read the Secret.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Final

from lattice.api import configmap

HIDDEN: Final = "***"
MIN_LENGTH: Final = 6
"""Shorter values are words of any log (``true``, ``admin``): hiding them would hide the failure, and protect nobody."""


def secret_values(secrets: Iterable[configmap.Secret]) -> tuple[str, ...]:
    """Return the texts to hide, the longest first: each value, and each line of one that has several; as they are and in base64."""
    found: set[str] = set()
    for secret in secrets:
        for encoded in secret.data.values():
            try:
                text = base64.b64decode(encoded, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                continue
            found.update(part for line in (text, *text.splitlines()) if len(part := line.strip()) >= MIN_LENGTH)
            if len(text) >= MIN_LENGTH:
                found.add(encoded)
    return tuple(sorted(found, key=lambda value: (-len(value), value)))


def redact(text: str, values: Iterable[str]) -> str:
    """Return the text without the values."""
    for value in values:
        if value in text:
            text = text.replace(value, HIDDEN)
    return text
