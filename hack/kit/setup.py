"""Which engine and which images a run uses; the whole decision in one place.

1. The user's engine runs, and has the official images or can pull them: use it, with them.
2. It runs and no registry answers: stand-ins must not get into it, so start one of ours beside it, which then lives in
   a network namespace of its own.
3. None runs: start ours, in our network namespace; official images if a registry answers, stand-ins else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from kit import engine, official_images
from kit.console import say
from kit.engine import Engine
from kit.engine_api import EngineApi
from kit.images.build import STAND_IN_LABEL, ensure_images
from kit.images.recipes import RECIPES


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What was set up.

    Attributes:
        api: The engine to use.
        own_engine: It, if it is one of ours.
        started: Whether this run started it, and so has to stop it.
    """

    api: EngineApi
    own_engine: Engine | None
    started: bool

    @property
    def enter(self) -> list[str]:
        """Prefix of every command that needs the ports that the engine publishes on 127.0.0.1."""
        namespace = self.own_engine.namespace if self.own_engine else None
        if namespace is None:
            return []
        enter = ["nsenter", f"--net={namespace}"]
        if os.geteuid() == 0:
            return enter
        return [
            "sudo",
            "-E",
            *enter,
            "setpriv",
            f"--reuid={os.getuid()}",
            f"--regid={os.getgid()}",
            "--init-groups",
            "--",
        ]


def ensure_machine(images: Iterable[str], *, always_own: bool = False) -> Machine:
    """Have an engine running that holds these images.

    Args:
        images: Names as `hack/images` takes them.
        always_own: Never use the user's engine. Tests kill and remove things: they get their own.
    """
    names = tuple(images)
    own = Engine()
    users = None if always_own or own.api.answers() else engine.users_engine()
    if users is not None and engine.is_ours(users):
        users = None
    if users is not None:
        if official_images.pull(users, names):
            say(f"using the Docker engine that runs: {users.host}")
            return Machine(api=users, own_engine=None, started=False)
        say("no image registry answers the Docker engine that runs: using one of hack's own, with stand-in images")
    started = own.up()
    _ensure_images(own.api, names)
    return Machine(api=own.api, own_engine=own, started=started)


def _ensure_images(api: EngineApi, names: tuple[str, ...]) -> None:
    present = [api.labels(official_images.OFFICIAL[name]) for name in names]
    official = all(labels is not None and STAND_IN_LABEL not in labels for labels in present)
    stand_ins = any(labels is not None and STAND_IN_LABEL in labels for labels in present)
    if official:
        return
    # Once on stand-ins, an engine stays on them until it is wiped: a name must not change its meaning in between.
    if not stand_ins and official_images.pull(api, names):
        return
    say("no image registry answers: using stand-ins for the official images, made from Debian packages")
    ensure_images(api, RECIPES)  # all of them: what an agent cannot pull later has to be there
