"""What a person may call a kind on the command line, and names of objects there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lattice.api import errors, meta, scheme

SHORT_NAMES: Final = {
    "po": "Pod", "no": "Node", "ns": "Namespace", "cm": "ConfigMap", "ev": "Event", "wl": "Workload",
    "pvc": "PersistentVolumeClaim", "pv": "PersistentVolume", "sc": "StorageClass", "sa": "ServiceAccount",
    "crd": "CustomResourceDefinition",
}  # fmt: skip


def find(word: str) -> type[meta.Object]:
    """Return the kind that ``word`` names: kind, plural, short name, or plural with group; case does not matter.

    Raises:
        errors.UsageError: no kind is called so.
    """
    wanted = word.lower()
    short = SHORT_NAMES.get(wanted, "").lower()
    for kind in scheme.KINDS:
        if wanted in (kind.KIND.lower(), kind.PLURAL, f"{kind.PLURAL}.{kind.GROUP}") or short == kind.KIND.lower():
            return kind
    known = ", ".join(sorted(kind.PLURAL for kind in scheme.KINDS))
    raise errors.UsageError(f"there is no kind {word!r}; there are: {known}")


def parse(words: Sequence[str]) -> list[tuple[type[meta.Object], str | None]]:
    """Return kinds and names of ``KIND``, ``KIND,KIND``, ``KIND NAME...`` or ``KIND/NAME...``; a name of ``None`` means all.

    Raises:
        errors.UsageError: they are neither.
    """
    if not words:
        raise errors.UsageError("say what: KIND, KIND NAME or KIND/NAME, such as `workloads` or `workload/web`")
    if any("/" in word for word in words):
        pairs = [word.partition("/") for word in words]
        if not all(kind and slash and name for kind, slash, name in pairs):
            raise errors.UsageError("KIND/NAME cannot be mixed with plain names; write each as KIND/NAME")
        return [(find(kind), name) for kind, _, name in pairs]
    kinds = [find(part) for part in words[0].split(",") if part]
    if len(words) == 1:
        return [(kind, None) for kind in kinds]
    return [(kind, name) for kind in kinds for name in words[1:]]


def shown(kind: type[meta.Object], name: str) -> str:
    """Return ``kind.group/name``, as kubectl prints it."""
    return f"{kind.KIND.lower()}{f'.{kind.GROUP}' if kind.GROUP else ''}/{name}"
