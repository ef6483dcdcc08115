"""Keeps the packet filter rules that isolate Pods: set at the start, looked at every few seconds, set again when they are not as they were.

Run by ``shell.py``. Guarantees: nothing that asks :meth:`Isolation.require` goes on while the rules are not known to be there. Rules that
cannot be set are tried again; what runs meanwhile goes on running.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lattice.api import names
from lattice.api.errors import LatticeError
from lattice.machinery.clock import Clock
from nodeagent.facts import Fact
from nodeagent.networks import facts, nftables, rules
from nodeagent.networks.helper import Helper
from nodeagent.runtime import base

logger = logging.getLogger(__name__)

LOOK_S: Final = 5.0
"""How often the rules are looked at."""
_ENGINE_AWAY_S: Final = 0.5
_TRIES: Final = 3
_SET_AGAIN_S: Final = 600.0
"""They are set anew from time to time although they look right: the machine may have got other resolvers and routes."""
_SET_AGAIN_BLIND_S: Final = 300.0
"""As above, where the agent may not look. A run takes about 0.3 s of a core, so this is a thousandth of one."""


class NotIsolatedError(LatticeError):
    """The rules that isolate Pods are not there, so none may start."""


class Isolation:
    """See the module's docstring.

    Args:
        helper: sets rules.
        clock: time.
        node_uid: identity of the node.
        slots: how many bridges there can be.
        on: whether the provider wants it.
        engine_away: tells whether the engine does not answer now.
        changed: called when it has become possible to start Pods, or impossible.
    """

    def __init__(
        self,
        helper: Helper,
        clock: Clock,
        node_uid: str,
        slots: int,
        *,
        on: bool,
        engine_away: Callable[[], bool],
        changed: Callable[[], None],
    ) -> None:
        self._helper = helper
        self._clock = clock
        self._uid = node_uid
        self._slots = slots
        self._on = on
        self._engine_away = engine_away
        self._changed = changed
        self._table = rules.table_name(node_uid)
        self._known = False
        """Whether the rules are there, as far as we know."""
        self._removed = False
        """They were taken away, for the node is left: no Pod may start any more."""
        self._problem = ""
        """Why they could not be set the last time."""
        self._print: str | None = None
        """Fingerprint of the rules when they were set; ``None``: they cannot be looked at from here."""
        self._sees = False
        """Whether the rules have been seen from here once: then they can be, and where none is seen none is there."""
        self._set_at_s = float("-inf")
        self._lock = asyncio.Lock()
        self.machine = _own_view()
        """What is known of the machine's network."""

    @property
    def problem(self) -> str:
        """Why no Pod may start, empty if it may."""
        if not self._on or self._known:
            return ""
        return self._problem or "the rules that keep Pods out of this machine's network are being set"

    def fact(self) -> Fact:
        """Return the Node's condition."""
        kind = names.CONDITION_NETWORK_ISOLATED
        if not self._on:
            text = "isolation is switched off on this node: its Pods can reach the machine and its network"
            return Fact(type=kind, status="False", reason="IsolationOff", message=text)
        if self._known:
            return Fact(type=kind, status="True", reason="RulesSet", message="Pods can reach neither this machine nor its network")
        if not self._problem:
            return Fact(type=kind, status="Unknown", reason="SettingRules", message=f"{self.problem}; no Pod starts before")
        return Fact(type=kind, status="False", reason="RulesFailed", message=f"no Pod starts: {self._problem}")

    async def run(self) -> None:
        """Keep the rules until cancelled."""
        while True:
            if self._engine_away():
                # NB: a machine that has started anew has no rules, and only an agent that may look at them would see that.
                self._known = self._known and self._print is not None
            pause_s = LOOK_S
            if self._on and not self._removed and not self._fresh():
                try:
                    await self._ensure(again=self._known)
                except base.RuntimeUnavailableError:  # said once by who follows the engine; what it runs waits for us when it is back
                    pause_s = _ENGINE_AWAY_S
                except LatticeError as error:
                    logger.warning("cannot set the network rules, trying again", extra={"error": str(error)[:300]})
            await self._clock.sleep(pause_s)

    async def require(self) -> None:
        """Return if the rules are there; set them again if they are not.

        Raises:
            NotIsolatedError: they cannot be had.
        """
        if not self._on or (self._known and self._print in (None, nftables.fingerprint(self._table))):
            return
        try:
            await self._ensure()
        except LatticeError as error:
            raise NotIsolatedError(f"the Pod is not started: {error}") from error

    async def remove(self) -> None:
        """Take the rules away for good; nothing sets them again."""
        if not self._on:
            return
        async with self._lock:
            self._known, self._removed = False, True
            await self._helper.apply(rules.make_removal(self._uid))

    def _fresh(self) -> bool:
        age_s = self._clock.monotonic() - self._set_at_s
        if not self._known or age_s > (_SET_AGAIN_BLIND_S if self._print is None else _SET_AGAIN_S):
            return False
        if self._print is None:
            return True
        there = nftables.fingerprint(self._table) == self._print
        if not there:
            logger.warning("the network rules were changed or removed by somebody, setting them again", extra={"table": self._table})
            self._known = False
        return there

    async def _ensure(self, *, again: bool = False) -> None:
        """Set the rules, unless somebody else has just done it. ``again``: they are there, and are only brought up to date."""
        before_s = self._set_at_s
        async with self._lock:
            if self._known and self._set_at_s > before_s:
                return
            if self._removed:
                raise NotIsolatedError("the rules that isolate Pods were removed, because this node is left")
            before = self.problem
            try:
                await self._set()
            except base.RuntimeUnavailableError as error:
                if not again:  # else they are there as far as we know, and the engine that is away starts no Pod
                    self._failed(before, error)
                raise
            except LatticeError as error:
                self._failed(before, error)
                raise
            self._known, self._problem, self._set_at_s = True, "", self._clock.monotonic()
            if before:
                logger.info("the network rules are set", extra={"table": self._table, "seen": self._print is not None})
                self._changed()

    async def _set(self) -> None:
        """Set the rules, and again with what the first time has taught of the machine, or where somebody removes them at the same time."""
        for _ in range(_TRIES):
            resolvers = self.machine.resolvers
            self.machine = _with_stub(await self._helper.apply(rules.make_rules(self._uid, self._slots, resolvers)))
            seen = nftables.fingerprint(self._table) or None
            gone = seen is None and self._sees
            if set(self.machine.resolvers) == set(resolvers) and not gone:
                self._print, self._sees = seen, seen is not None
                return
        raise NotIsolatedError("somebody removes the network rules on this machine as soon as they are set")

    def _failed(self, before: str, error: LatticeError) -> None:
        self._known, self._problem = False, str(error)[:300]
        if self._problem != before:
            self._changed()


def _own_view() -> facts.MachineFacts:
    """Return what this process sees, which is what the engine sees if both live side by side."""
    return _with_stub(
        facts.MachineFacts(routes=facts.parse_routes(_read(facts.ROUTES)), resolvers=facts.parse_resolvers(_read(facts.RESOLVERS)))
    )


def _with_stub(machine: facts.MachineFacts) -> facts.MachineFacts:
    """Return the resolvers behind the one on the loopback interface, where there is only that."""
    if machine.resolvers:
        return machine
    return facts.MachineFacts(routes=machine.routes, resolvers=facts.parse_resolvers(_read(facts.STUB_RESOLVERS)))


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
