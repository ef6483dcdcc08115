"""What an applier is told who would take fields from others: ``409 Conflict`` with one cause for each field, in Kubernetes' words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from controller.apiserver.fieldmanager import elements, fieldset
from controller.apiserver.fieldmanager.elements import json_text
from controller.apiserver.fieldmanager.entries import UPDATE, Entry, Ident
from controller.apiserver.fieldmanager.fieldset import FieldSet, Path
from lattice.api import errors
from lattice.api.errors import Cause


class Conflict(NamedTuple):
    """A field that somebody else owns and that the apply would change."""

    ident: Ident
    path: Path


def find(table: Mapping[Ident, Entry], own: Ident, changed: FieldSet) -> list[Conflict]:
    """Return the conflicts of a change, by manager and in the order of the fields."""
    found = []
    for ident in sorted(table, key=Ident.sort_key):
        if ident != own:
            found += [Conflict(ident, path) for path in fieldset.paths(fieldset.intersection(table[ident].fields, changed))]
    return found


def error_of(conflicts: Sequence[Conflict]) -> errors.ConflictError:
    """Return the error that lists them."""
    causes = [Cause("FieldManagerConflict", f"conflict with {_shown(conflict.ident)}", _field(conflict)) for conflict in conflicts]
    details = {"causes": [cause.to_dict() for cause in causes]}
    return errors.ConflictError(_message(conflicts), details=details)


def _message(conflicts: Sequence[Conflict]) -> str:
    if len(conflicts) == 1:
        return f"Apply failed with 1 conflict: conflict with {_shown(conflicts[0].ident)}: {_field(conflicts[0])}"
    lines: dict[Ident, list[str]] = {}
    for conflict in conflicts:
        lines.setdefault(conflict.ident, [f"conflicts with {_shown(conflict.ident)}:"]).append(f"- {_field(conflict)}")
    listed = "\n".join(line for group in lines.values() for line in group)
    return f"Apply failed with {len(conflicts)} conflicts: {listed}"


def _field(conflict: Conflict) -> str:
    return "".join(elements.shown(step) for step in conflict.path)


def _shown(ident: Ident) -> str:
    text = json_text(ident.manager)
    if ident.subresource:
        text += f" with subresource {json_text(ident.subresource)}"
    return f"{text} using {ident.version}" if ident.operation == UPDATE else text
