"""The node agent with a wall clock that jumps: a program that the chaos test starts instead of ``python -m nodeagent``.

Its first argument names a file with the offset in seconds, which is read at every look at the clock; the others are the agent's.
"""

import sys
from datetime import datetime, timedelta
from pathlib import Path

from lattice.machinery.clock import SystemClock
from nodeagent.main import main

_OFFSET = Path(sys.argv[1])
_REAL = SystemClock.now


def _now(self: SystemClock) -> datetime:
    text = _OFFSET.read_text() if _OFFSET.exists() else ""
    return _REAL(self) + timedelta(seconds=float(text or 0))


if __name__ == "__main__":
    SystemClock.now = _now  # type: ignore[method-assign]
    sys.exit(main(sys.argv[2:]))
