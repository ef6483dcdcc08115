"""``/healthz``, ``/livez``, ``/readyz`` and ``/version``: open to everybody, also while the store is away."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Final

from controller.apiserver.request import ApiRequest, ApiResponse, json_response, text_response

VERSION: Final = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.4+lattice",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": f"python{platform.python_version()}",
    "compiler": platform.python_implementation(),
    "platform": f"{platform.system().lower()}/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(platform.machine(), platform.machine()) }",
}
"""The Kubernetes release whose API machinery we speak; kubectl chooses its own version by it."""


def answer(request: ApiRequest, *, ready: bool, synced: Mapping[str, bool]) -> ApiResponse | None:
    """Return the answer if the path is one of these, else ``None``. ``synced``: store to whether its caches are filled."""
    path = request.path.rstrip("/")
    if path == "/version":
        return json_response(VERSION)
    name = path[1:]
    if name not in {"healthz", "livez", "readyz"}:
        return None
    checks = {"ping": True}
    if name == "readyz":
        checks |= {f"cache-{store}": state for store, state in synced.items()}
        checks["shutdown"] = ready or not all(synced.values())
    good = all(checks.values())
    if good and "verbose" not in request.query:
        return text_response("ok")
    lines = [f"[+]{check} ok" if state else f"[-]{check} failed" for check, state in checks.items()]
    return text_response("\n".join(lines) + f"\n{name} check {'passed' if good else 'failed'}\n", 200 if good else 503)
