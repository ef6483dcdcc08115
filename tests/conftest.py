"""For all tests."""

import asyncio

# looptime asks for the main thread's event loop around every test, also around those that are not async. On Python 3.11 that question
# creates a loop which nobody closes, unless somebody has said that there is none; the warning of it would fail an unrelated test later.
asyncio.set_event_loop(None)
