"""For all tests."""

import asyncio

from hypothesis import settings

# looptime asks for the main thread's event loop around every test, also around those that are not async. On Python 3.11 that question
# creates a loop which nobody closes, unless somebody has said that there is none; the warning of it would fail an unrelated test later.
asyncio.set_event_loop(None)

# How long an example takes says how busy the machine is. Nothing here is a timed test.
settings.register_profile("lattice", deadline=None)
settings.load_profile("lattice")
