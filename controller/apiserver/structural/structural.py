"""One structural schema, compiled: what the write and read paths do with objects of one served version of a kind.

``normalise`` ▸ (the server sets its fields) ▸ ``check`` for writes; ``default`` for reads. Objects are plain decoded JSON; ``normalise``
and ``default`` change them in place. Made once a kind and version, by whoever serves it; holds no state of requests. A valid object is
checked in microseconds by the compiled JSON schema; only an invalid one takes the slow way that finds the words.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

from controller.apiserver import shaping
from controller.apiserver.structural import checking, embedded, fast, lists, normalising, rules
from controller.apiserver.structural.complaints import Complainer
from controller.apiserver.structural.correlation import Old
from lattice.api.errors import Cause

_STATUS: Final = "status"
_NOT_CHECKED: Final = shaping.invalid(
    "<nil>",
    None,
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
)


class Structural:
    """The compiled schema of one version of a kind.

    Args:
        schema: the full structural schema of the object, ``metadata`` included. It is kept and must not be changed.

    Raises:
        ValueError: it is nested too deeply, or is no schema; from ``check``: one of its rules is no CEL. The schema of a definition
            that passed ``check_definition`` never raises.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema
        self._node = normalising.Node(schema)
        self._fast = fast.FastCheck(schema)
        self._lists = lists.Lists(schema)
        self._embedded = embedded.Embedded(schema)
        self._sieves: dict[int, fast.FastCheck] = {}
        self._has_rules = rules.present(schema)

    @cached_property
    def _rules(self) -> rules.Rules:
        return rules.Rules(self.schema, root=True)

    @cached_property
    def _fast_status(self) -> fast.FastCheck:
        return fast.FastCheck(self._status_schema)

    @property
    def _status_schema(self) -> Mapping[str, Any]:
        found = (self.schema.get("properties") or {}).get(_STATUS)
        return found if isinstance(found, Mapping) else {}

    def normalise(self, obj: dict[str, Any]) -> list[str]:
        """Fill in defaults, drop nulls and unknown fields, in place. Returns the paths of unknown fields, sorted, at most 100.

        Raises:
            errors.InternalError: its defaults would make it larger than any store takes.
        """
        return sorted(path.removeprefix(".") for path in self._node.shape(obj))

    def renew(self, obj: dict[str, Any]) -> None:
        """Bring an object that was stored under an older schema into the shape of this one, in place. Never refuses it."""
        self._node.shape(obj, strict=False)

    def default(self, obj: dict[str, Any]) -> None:
        """Fill in defaults of an object that was stored under an older schema, in place."""
        self._node.complete(obj)

    def check(self, obj: Mapping[str, Any], old: Mapping[str, Any] | None = None, *, subresource: str = "") -> list[Cause]:
        """Return what is wrong with ``obj``; nothing for a valid object.

        Args:
            obj: a normalised object.
            old: what it replaces. What was invalid there and has not changed is tolerated.
            subresource: ``status`` checks only the status, with the texts that a write to that subresource gets.
        """
        causes = self._check_schema(obj, old, subresource)
        if self._embedded.present:
            causes += self._embedded.check(obj)
        if self._lists.present and (found := self._lists.check(obj)) and not (old is not None and self._lists.check(old)):
            causes += found
        if self._has_rules:
            causes += [_NOT_CHECKED] if any(cause.reason in rules.BLOCKING for cause in causes) else self._rules.check(obj, old)
        return causes

    def _check_schema(self, obj: Mapping[str, Any], old: Mapping[str, Any] | None, subresource: str) -> list[Cause]:
        if subresource == _STATUS:
            if _STATUS not in obj or self._fast_status.is_valid(obj[_STATUS]):
                return []
            before = Old(old).field(_STATUS) if old is not None else None
            return checking.Checker(Complainer(_STATUS), self._sieves).explain(self._status_schema, obj[_STATUS], before)
        if self._fast.is_valid(obj):
            return []
        before = Old(old) if old is not None else None
        return checking.Checker(Complainer(), self._sieves).explain(self.schema, obj, before)
