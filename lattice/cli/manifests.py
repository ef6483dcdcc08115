"""Manifests from files, directories and standard input: YAML with several documents, JSON, and ``List`` objects."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lattice.api import errors, meta, scheme

_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
_MAX_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object as written. ``source`` says where, for messages."""

    source: str
    kind: type[meta.Object]
    data: dict[str, Any]

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.data["metadata"]["name"])

    def namespace(self, default: str) -> str | None:
        """Return the namespace it goes to; ``None`` for a cluster-scoped kind."""
        return str(self.data["metadata"].get("namespace") or default) if self.kind.NAMESPACED else None


def read(files: Sequence[str]) -> list[Manifest]:
    """Return the manifests of files, directories (their ``*.yaml``, ``*.yml``, ``*.json``, by name) and ``-``.

    Raises:
        errors.UsageError: something cannot be read or is not a manifest; the message says where.
    """
    found = [manifest for file in files for source, text in _texts(file) for manifest in parse(source, text)]
    if not found:
        raise errors.UsageError(f"there is no object in {', '.join(files)}")
    return found


def _texts(file: str) -> Iterator[tuple[str, str]]:
    if file == "-":
        yield "standard input", sys.stdin.read(_MAX_BYTES)
        return
    path = Path(file)
    paths = sorted(each for each in path.iterdir() if each.suffix in _SUFFIXES) if path.is_dir() else [path]
    if not paths:
        raise errors.UsageError(f"the directory {file} has no *.yaml, *.yml or *.json file")
    for each in paths:
        try:
            yield str(each), each.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise errors.UsageError(f"cannot read {each}: {getattr(error, 'strerror', None) or error}") from error


def parse(source: str, text: str) -> Iterator[Manifest]:
    """Yield the manifests of a text.

    Raises:
        errors.UsageError: see :func:`read`.
    """
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise errors.UsageError(f"{source} is not YAML: {' '.join(str(error).split())}") from error
    for number, document in enumerate(documents, start=1):
        where = source if len(documents) == 1 else f"{source}, document {number}"
        if document is None:
            continue
        if isinstance(document, dict) and document.get("kind") == "List" and isinstance(document.get("items"), list):
            for index, item in enumerate(document["items"]):
                yield _manifest(f"{where}, item {index + 1}", item)
        else:
            yield _manifest(where, document)


def _manifest(where: str, data: Any) -> Manifest:
    if not isinstance(data, dict) or not isinstance(data.get("apiVersion"), str) or not isinstance(data.get("kind"), str):
        raise errors.UsageError(f"{where}: a manifest needs apiVersion and kind")
    kind = scheme.kind_of(data["apiVersion"], data["kind"])
    if kind is None:
        raise errors.UsageError(f'{where}: there is no kind "{data["kind"]}" in version "{data["apiVersion"]}"; see `lattice get --help`')
    metadata = data.get("metadata")
    if isinstance(metadata, dict) and metadata.get("generateName") and not metadata.get("name"):
        raise errors.UsageError(
            f"{where}: a {kind.KIND} has metadata.generateName, so it would be another object each time; "
            "give it a metadata.name, or make it once with `kubectl create`"
        )
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        raise errors.UsageError(f"{where}: a {kind.KIND} needs metadata.name")
    return Manifest(where, kind, data)
