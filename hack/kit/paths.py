"""Where the scripts keep their things.

* `.venv/` the virtual environment.
* `.cache/` what is expensive to get and may be deleted at any time: image tars, Debian packages, the engine's data
  root. `LATTICE_CACHE` moves it.
* `.lattice/` the state of `hack/up`: store, kubeconfig, logs, etcd's data.
* `/run/lattice-hack/<key>/` sockets, pid files and exec roots. A Unix socket's path may have 107 bytes only, so these
  cannot live below an arbitrarily deep clone; and they have no meaning after a reboot, when `/run` is empty too.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
VENV = REPOSITORY / ".venv"
CACHE = Path(os.environ.get("LATTICE_CACHE") or REPOSITORY / ".cache").absolute()
STATE = REPOSITORY / ".lattice"

KEY = hashlib.sha256(str(CACHE).encode()).hexdigest()[:8]
"""Tells the engines of one clone (strictly: of one cache) from those of another on the same machine."""

RUN = Path("/run/lattice-hack") / KEY
