"""The node's key, and what is sealed with it: the one door to libsodium.

Used by the checkpoint for the Secrets of the last desired set. The key is 32 random bytes in ``node.key`` (0600), made at the first seal
and never sent anywhere. It keeps Secrets out of every copy of the other files: a backup of the data directory without the key, a support
bundle, a disk that is given away after the key was removed. It does not keep them from root on this machine: root can ask Docker.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from nacl import exceptions, secret, utils

_SIZE: Final = secret.SecretBox.KEY_SIZE


class SealError(ValueError):
    """What was sealed cannot be opened: it was sealed with another key, or is damaged."""


class NodeKey:
    """Seals and opens with XSalsa20-Poly1305; every seal has a fresh random nonce, which is part of it.

    Args:
        path: file of the key.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._box: secret.SecretBox | None = None

    def seal(self, plain: bytes) -> bytes:
        """Return ``plain`` sealed. Makes the key where there is none, or none that can be used.

        Raises:
            OSError: the key cannot be read or written.
        """
        if self._box is None:
            self._box = self._load() or self._make()
        return bytes(self._box.encrypt(plain))

    def open(self, sealed: bytes) -> bytes:
        """Return what was sealed.

        Raises:
            SealError: it cannot be opened; the message says why.
        """
        if self._box is None:
            try:
                self._box = self._load()
            except OSError as error:
                raise SealError(f"cannot read {self._path}: {error.strerror}") from error
        if self._box is None:
            raise SealError(f"{self._path} is missing or damaged: it is not the key that this was sealed with")
        try:
            return bytes(self._box.decrypt(sealed))
        except (exceptions.CryptoError, ValueError) as error:  # ValueError: shorter than a nonce
            raise SealError(f"it was sealed with another key than {self._path}, or is damaged") from error

    def _load(self) -> secret.SecretBox | None:
        try:
            key = self._path.read_bytes()
        except FileNotFoundError:
            return None
        return secret.SecretBox(key) if len(key) == _SIZE else None

    def _make(self) -> secret.SecretBox:
        key = utils.random(_SIZE)
        temporary = self._path.with_name(f".{self._path.name}.new")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(key)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(self._path)
        return secret.SecretBox(key)
