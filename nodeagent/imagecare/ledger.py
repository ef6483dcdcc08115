"""Which images this agent has pulled: ``<data dir>/images.json``, ``{"format": 1, "pulled": {<image id>: <Unix time>}}``.

What is not in it was brought by the owner of the machine and is never removed. A ledger that is lost or damaged therefore means that
nothing is ours: disk is wasted, nothing is lost.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

import orjson

logger = logging.getLogger(__name__)

FORMAT: Final = 1


class Ledger:
    """See the module's docstring."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pulled = self._load()

    @property
    def pulled_at_s(self) -> Mapping[str, float]:
        """Image id to when it was pulled, Unix time."""
        return self._pulled

    def add(self, image_id: str, at_s: float) -> None:
        """Note a pull; the disk being full is no reason for it to fail."""
        self._pulled[image_id] = at_s
        self._save()

    def keep_only(self, image_ids: Collection[str]) -> None:
        """Forget images that are gone: who brings one again is its owner."""
        gone = self._pulled.keys() - set(image_ids)
        for image_id in gone:
            del self._pulled[image_id]
        if gone:
            self._save()

    def _load(self) -> dict[str, float]:
        try:
            data = orjson.loads(self._path.read_bytes())
            if data["format"] > FORMAT:
                logger.warning("the list of pulled images is a newer agent's: none is collected")
                return {}
            return {str(image_id): float(at_s) for image_id, at_s in data["pulled"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("the list of pulled images cannot be read: none is collected", extra={"error": str(error)[:200]})
            return {}

    def _save(self) -> None:
        temporary = self._path.with_name(f".{self._path.name}.new")
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as stream:
                stream.write(orjson.dumps({"format": FORMAT, "pulled": self._pulled}))
            temporary.replace(self._path)
        except OSError as error:
            logger.warning("cannot write the list of pulled images", extra={"error": str(error)[:200]})
