"""Rules of probes and lifecycle hooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from controller.apiserver import shaping
from controller.apiserver.pods import phrases
from lattice.api.errors import Cause

Object = Mapping[str, Any]
_NAMES: Final = (
    "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP TTIN TTOU URG "
    "USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX"
)
_SIGNALS: Final = frozenset(
    {f"SIG{name}" for name in _NAMES.split(" ")}
    | {f"SIGRTMIN+{number}" for number in range(1, 16)}
    | {f"SIGRTMAX-{number}" for number in range(1, 15)}
)


def check_probes(container: Object, where: str) -> list[Cause]:
    """Check the three probes of a container."""
    causes: list[Cause] = []
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if probe is None:
            continue
        place = f"{where}.{name}"
        causes += _check_handler(probe, ("exec", "httpGet", "tcpSocket", "grpc"), place)
        if name != "readinessProbe" and probe.get("successThreshold", 1) != 1:
            causes.append(shaping.invalid(f"{place}.successThreshold", probe["successThreshold"], "must be 1"))
        if name == "readinessProbe" and (grace := probe.get("terminationGracePeriodSeconds")) is not None:
            causes.append(shaping.invalid(f"{place}.terminationGracePeriodSeconds", grace, "must not be set for readinessProbes"))
    return causes


def check_lifecycle(lifecycle: Object, where: str, *, grace_s: int, has_os: bool) -> list[Cause]:
    """Check the hooks of a container. ``has_os``: the Pod says which operating system it is for."""
    causes: list[Cause] = []
    for name in ("postStart", "preStop"):
        hook = lifecycle.get(name)
        if hook is None:
            continue
        place = f"{where}.{name}"
        causes += _check_handler(hook, ("exec", "httpGet", "tcpSocket", "sleep"), place)
        if (sleep := hook.get("sleep")) is not None and not 0 < sleep["seconds"] <= grace_s:
            message = f"must be greater than 0 and less than terminationGracePeriodSeconds ({grace_s})"
            causes.append(shaping.invalid(f"{place}.sleep.seconds", sleep["seconds"], message))
    if (signal := lifecycle.get("stopSignal")) is not None:
        if not has_os:
            causes.append(shaping.forbidden(f"{where}.stopSignal", "may not be set for containers with empty `spec.os.name`"))
        elif signal not in _SIGNALS:
            causes.append(shaping.unsupported(f"{where}.stopSignal", signal, sorted(_SIGNALS)))
    return causes


def _check_handler(holder: Object, kinds: tuple[str, ...], where: str) -> list[Cause]:
    causes = phrases.one_of(holder, kinds, where, none="must specify a handler type", many="may not specify more than 1 handler type")
    for kind in kinds:
        if (action := holder.get(kind)) is not None and (check := _ACTIONS.get(kind)) is not None:
            causes += check(action, f"{where}.{kind}")
    return causes


def _exec(action: Object, where: str) -> list[Cause]:
    return [] if action.get("command") else [shaping.required(f"{where}.command")]


def _http(action: Object, where: str) -> list[Cause]:
    causes = [] if action.get("path") else [shaping.required(f"{where}.path")]
    causes += phrases.check_port(action["port"], f"{where}.port")
    for header in action.get("httpHeaders") or ():
        causes += phrases.check_header(header["name"], f"{where}.httpHeaders")
    return causes


def _tcp(action: Object, where: str) -> list[Cause]:
    return phrases.check_port(action["port"], f"{where}.port")


_ACTIONS: Final[Mapping[str, Callable[[Object, str], list[Cause]]]] = {"exec": _exec, "httpGet": _http, "tcpSocket": _tcp}
